"""What SIGINT, SIGTERM and SIGHUP do while a command runs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object]

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals that ask a program to end; Windows has no SIGHUP."""


class Interrupted(BaseException):
    """A signal ended the command; attribute `signal` is its number.

    Not an Exception, like KeyboardInterrupt, so that no handler treats it as a failure.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


@contextlib.contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Call `handler` on the signals of :data:`STOPPING` within the context.

    Signals that the process ignores stay ignored (``nohup``, or ``&`` in a script). Outside the main thread, where
    Python cannot handle signals, nothing changes.
    """
    numbers = STOPPING if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    # None: a handler that is not Python's, which could not be restored.
    handled = [number for number, previous in before.items() if previous not in (signal.SIG_IGN, None)]
    try:
        for number in handled:
            signal.signal(number, handler)
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise :class:`Interrupted` within the context on a signal, so that temporary files are removed.

    A second Ctrl-C ends the process at once. Python prints and discards an exception that is raised in a callback of C
    code, such as LLVM's, or in a destructor; if that happens to this one, the process ends at once as well.
    """
    received = 0

    def catch(number: int, _: FrameType | None) -> None:
        nonlocal received
        if not received:
            received = number
            # What is interrupted, such as an import, may leave files open; nobody can do anything about that.
            warnings.simplefilter("ignore", ResourceWarning)
            raise Interrupted(number)
        if number == signal.SIGINT:
            leave(number)

    def discarded(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, Interrupted):
            leave(unraisable.exc_value.signal)
        hook(unraisable)

    hook = sys.unraisablehook
    try:
        sys.unraisablehook = discarded
        with handling(catch):
            yield
    except BaseException as error:
        # Some libraries raise an exception of their own in its place.
        if received and not isinstance(error, Interrupted):
            raise Interrupted(received) from None
        raise
    finally:
        sys.unraisablehook = hook
    if received:
        raise Interrupted(received)


def leave(number: int, message: str = "") -> NoReturn:
    """End the process at once with the exit code for a signal; `message` is a line for standard error."""
    # Nothing is imported here: a signal may arrive in the middle of an import.
    temporaries = sys.modules.get("fastnn.temporaries")
    if temporaries is not None:
        temporaries.remove_own()
    show_cursor()
    if message:
        with contextlib.suppress(OSError):
            os.write(2, f"{message}\n".encode(errors="backslashreplace"))
    os._exit(128 + number)


def show_cursor() -> None:
    """Show the cursor that progress bars may have hidden, and end the line."""
    for stream in (1, 2):
        # The terminal may be gone.
        with contextlib.suppress(OSError):
            if os.isatty(stream):
                os.write(stream, b"\x1b[?25h\n")


class Signals:
    """Handles the signals that end a program; `number` is that of the signal received, or 0.

    Parameters
    ----------
    stop : callable
        Called when a signal is received.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.number = 0
        self._stop = stop
        self._message: str | None = None

    @contextlib.contextmanager
    def leave_at_once(self, message: str) -> Iterator[None]:
        """Within this context a signal ends the process with `message` on standard error, for compiling takes seconds.

        Everything must be saved already. An exception would not do: if the signal arrives in a callback of LLVM, it is
        printed and discarded, and Numba fails later or compiles everything again.
        """
        self._message = message
        try:
            if self.number:
                raise Interrupted(self.number)
            yield
        finally:
            self._message = None

    def catch(self, number: int, _: FrameType | None) -> None:
        """Handle a signal: the first one stops training, a second Ctrl-C ends the process."""
        if self.number and number == signal.SIGINT:
            leave(number)
        if self._message is not None:
            leave(number, self._message)
        self.number = number
        self._stop()


@contextlib.contextmanager
def signals(stop: Callable[[], None]) -> Iterator[Signals]:
    """Call `stop` on a signal within the context, instead of interrupting the command."""
    signalled = Signals(stop)
    with handling(signalled.catch):
        yield signalled
