"""A short pass of the attack disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.attacks import disk
from tests.attacks.commands import CASES
from tests.attacks.folders import Folders
from tests.helpers import needs_jit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [needs_jit, pytest.mark.skipif(os.name != "posix", reason="limits and permissions of POSIX")]


@pytest.mark.parametrize(
    ("condition", "case", "seed", "ends_well"),
    [
        ("file size", "mosaic, replaced", 1, False),
        ("open files", "mosaic, replaced", 2, False),
        ("full disk", "mosaic, replaced", 3, False),
        ("read-only disk", "mosaic, replaced", 4, False),
        ("read-only folder", "mosaic, replaced", 5, False),
        ("damaged cache", "first read of data", 6, True),
        ("unwritable cache", "first read of data", 8, True),
    ],
)
def test_a_command_without_its_disk_ends_with_one_line(
    folders: Folders, condition: str, case: str, seed: int, ends_well: bool
) -> None:
    wanted = disk.CONDITIONS[condition]
    reason = wanted.missing()
    if reason is not None:
        pytest.skip(reason)
    tally = disk.Tally()
    disk.attack(folders, CASES[case], wanted, seed, tally)
    assert tally.findings == []
    assert tally.attacks == {condition: 1}
    assert tally.failed == (not ends_well)


def test_what_a_command_may_not_leave_is_found(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def damage(_: object, __: object, folder: Path) -> disk.Ended:
        (folder / "new.png").write_bytes(b"half a pi")
        (folder / "data.npz").write_bytes(b"")
        (folder / ".new.png.123.tmp").touch()
        return disk.Ended(2, "fastnn: no\n", set(), [], 0.1)

    folders.known(CASES["mosaic, replaced"])
    monkeypatch.setattr(Folders, "run_child", damage)
    tally = disk.Tally()
    disk.attack(folders, CASES["mosaic, replaced"], disk.CONDITIONS["damaged cache"], 1, tally)
    found = "\n".join(tally.findings)
    for fault in ("exit code 2", "data.npz was changed", "new.png is neither", ".new.png.123.tmp stays"):
        assert fault in found
