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
"""With it, signals arrive after 0.66, 0.76 and 0.95 of the CPU time."""


def test_signals_end_commands_cleanly() -> None:
    known = {case.name: case for case in CASES}
    # Enough to begin training, and few epochs to train again; where the start takes longer, signals arrive later.
    for seconds in (0.9, 1.8, 3.6, 7.2):
        tally = attack(3, SEED, [replace(known[name], cpu=seconds) for name in ("convert", "train", "ensemble")])
        assert tally.findings == []
        assert tally.signals.total() == 3
        if tally.resumed:
            break
    assert tally.resumed >= 1
