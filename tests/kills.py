"""Kills a copy of this process at each of its calls that change the disk; used in child processes of tests."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CALLS = ("chmod", "fsync", "mkdir", "open", "remove", "rename", "replace", "rmdir", "unlink")


# Whether the disk is reached makes no difference to a process that is killed, and takes most of the time.
os.fsync = lambda _: None


def kill_at_each_call(
    prepare: Callable[[], object], work: Callable[[], object], counts: Callable[[str], bool] = lambda _: True
) -> Iterator[bool]:
    """Do some work again and again, and kill it before its first call that changes the disk, its second, and so on.

    Parameters
    ----------
    prepare : callable
        Called each time before the work.
    work : callable
    counts : callable, optional
        Takes a call, as text, and returns whether to kill at it.

    Yields
    ------
    bool
        Whether the work was killed; at last it is done, and this is False.
    """
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
    """Make this process kill itself before its call number `step`."""
    left = step

    def killing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if counts(f"{name}{args}"):
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
            return function(*args, **kwargs)

        return wrapper

    for name in _CALLS:
        setattr(os, name, killing(name, getattr(os, name)))
