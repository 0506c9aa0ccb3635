"""A short pass of the attack kill, and its table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.attacks import kill
from tests.attacks.commands import CASES, READERS, registered_commands
from tests.helpers import needs_jit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.attacks.folders import Folders

pytestmark = [needs_jit, pytest.mark.skipif(os.name != "posix", reason="SIGKILL")]


def test_each_command_is_attacked_or_writes_nothing() -> None:
    attacked = {case.command for case in CASES.values()}
    assert attacked | READERS.keys() == registered_commands()
    assert not attacked & READERS.keys()
    assert all(READERS.values())
    assert all(" ".join(case.args).startswith(case.command) for case in CASES.values())


def attack(folders: Folders, name: str, moment: kill.Moment) -> None:
    tally = kill.Tally()
    assert kill.attack(folders, CASES[name], moment, tally), "it ended before it could be killed"
    assert tally.kills.total() == 1
    assert tally.findings == []


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("train, small", 0.3),
        ("resume, ensemble", 0.6),
        ("convert to new-images-idx3-ubyte, replaced", 0.9),
    ],
)
def test_a_killed_command_leaves_old_or_new_and_the_next_start_ends_alike(
    folders: Folders, name: str, share: float
) -> None:
    """It is killed before one of the events with which it writes: after this share of them."""
    events = folders.known(CASES[name]).events
    attack(folders, name, kill.Moment("event", 1 + int(share * len(events))))


def test_a_kill_at_a_system_call(folders: Folders) -> None:
    fault = kill.strace_fault()
    if fault is not None:
        pytest.skip(fault)
    attack(folders, "mosaic, replaced", kill.Moment("rename", 1))


def test_what_a_kill_may_not_leave_is_found(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack finds each kind of fault if there is one."""

    def damage(_: Folders, __: object, folder: Path, ___: object) -> object:
        (folder / "new.png").write_bytes(b"half a pi")
        (folder / "data.npz").write_bytes(b"")
        (folder / ".new.png.123.tmp").touch()
        return kill.Ended(-9, "", set(), ["a process"], 0.1)

    monkeypatch.setattr(kill, "kill_once", damage)
    tally = kill.Tally()
    kill.attack(folders, CASES["mosaic, replaced"], kill.Moment("event", 1), tally)
    found = "\n".join(tally.findings)
    for fault in ("still running", "new.png is neither", "data.npz was changed", "the next start failed"):
        assert fault in found
