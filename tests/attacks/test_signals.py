"""A short pass of the attack by signals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.attacks.signals import CASES, attack

pytestmark = pytest.mark.skipif(
    os.name != "posix" or not Path("/proc/self/task").is_dir(), reason="needs POSIX signals and /proc"
)


def test_signals_end_commands_cleanly() -> None:
    quick = [case for case in CASES if case.name in ("train", "ensemble", "convert")]
    tally = attack(6, 3, quick)
    assert tally.findings == []
    assert tally.signals.total() == 6
    assert tally.resumed >= 1
