"""A short pass of the attack by environments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.attacks.environment import Oddity, Trainings, oddities

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")

TOGETHER = (
    "locale C, TZ=XYZ-14:37, no such HOME, 7 BLAS threads, deleted folder, python -X dev -W error, all streams closed",
    "UTF-8 off, hash seed 0, no HOME, terminal of 20 columns, python -OO, umask 077, 32 open files, one core",
)


def test_training_in_odd_environments_gives_the_same_bytes(tmp_path: Path) -> None:
    known = {one.name: one for one in oddities(tmp_path)}
    trainings = Trainings(tmp_path)
    for names in TOGETHER:
        odd = [known[name] for name in names.split(", ") if not known[name].missing]
        assert len(odd) >= 3
        assert trainings.faults(0, odd) == [], names


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    noisy = Oddity("prints on standard error", options=("-X", "importtime"), code=3)
    code, errors = Trainings(tmp_path).faults(0, [noisy])
    assert code.startswith("exit code 0, not 3")
    assert errors.startswith("standard error: ")
