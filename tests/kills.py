"""Kills a copy of this process at each of its calls that change files; used in child processes of tests."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate")
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def before_each_write(act: Callable[[str], object]) -> None:
    """Call `act` before each event of Python that changes something below the current folder, until the process ends.

    Parameters
    ----------
    act : callable
        Takes the event and its arguments as a text.
    """
    folder = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 - called for each event

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            if not ((isinstance(flags, int) and flags & _WRITE_FLAGS) or set(mode or "") & set("wax+")):
                return
        elif event in _CHANGES:
            path = args[0]
        else:
            return
        if not isinstance(path, int) and os.path.abspath(os.fsdecode(path)).startswith(folder):  # noqa: PTH100
            act(f"{event}{args}")

    sys.addaudithook(watch)


def kill_at_each_write(
    prepare: Callable[[], object], work: Callable[[], object], counts: Callable[[str], bool] = lambda _: True
) -> Iterator[bool]:
    """Do some work again and again, and kill it before its first event that changes files, its second, and so on.

    Parameters
    ----------
    prepare : callable
        Called each time before the work.
    work : callable
    counts : callable, optional
        Takes an event, as :func:`before_each_write` gives it, and returns whether to kill at it.

    Yields
    ------
    bool
        Whether the work was killed; at last it is done, and this is False.
    """
    # Whether the disk is reached makes no difference to a process that is killed, and takes most of the time.
    os.fsync = lambda _: None
    step, killed = 0, True
    while killed:
        prepare()
        process = os.fork()
        if process == 0:
            _kill_at(step, counts)
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status)
        assert killed or os.waitstatus_to_exitcode(status) == 0
        yield killed
        step += 1


def _kill_at(step: int, counts: Callable[[str], bool]) -> None:
    """Make this process kill itself before its event number `step`, from 0."""
    left = step

    def act(event: str) -> None:
        nonlocal left
        if counts(event):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    before_each_write(act)
