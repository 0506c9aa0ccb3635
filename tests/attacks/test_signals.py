"""A short pass of the attack by signals."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks.signals import CASES, attack

pytestmark = pytest.mark.skipif(
    os.name != "posix" or not Path("/proc/self/task").is_dir(), reason="needs POSIX signals and /proc"
)


SEED = 26
"""With it, one of the signals arrives late enough for a checkpoint."""


def test_signals_end_commands_cleanly() -> None:
    known = {case.name: case for case in CASES}
    # Enough to begin training, and few epochs to train again.
    tally = attack(3, SEED, [replace(known[name], cpu=0.9) for name in ("convert", "train", "ensemble")])
    assert tally.findings == []
    assert tally.signals.total() == 3
    assert tally.resumed >= 1
