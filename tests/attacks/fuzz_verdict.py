"""What an input does to fastnn: runs it within limits, and says what it broke."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn.errors import FastnnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 5.0
"""Most CPU time of an input. Not wall time: other processes may take the core."""

MEBIBYTES = 500
"""Most memory that an input may add to the process."""

_LONGEST_DETAIL = 4000

_OURS = (f"{os.sep}fastnn{os.sep}", f"{os.sep}attacks{os.sep}")


class TooSlowError(BaseException):
    """Raised in the middle of an input that takes too long; no `except Exception` stops it."""


@dataclass(frozen=True)
class Verdict:
    """What became of an input.

    Attributes
    ----------
    outcome : str
        "accepted", or the error message without the numbers and names in it; new ones make an input interesting.
    fault : str or None
        What the input broke and where; the same text for the same fault. None if it broke nothing.
    detail : str
        A traceback or a message.
    """

    outcome: str
    fault: str | None = None
    detail: str = ""


def judge(run: Callable[[], object], printed: Callable[[], str] = str, *, longest: int = 2000) -> Verdict:
    """Run one input; return what it broke: neither success nor a FastnnError, too slow, a warning, or output.

    Parameters
    ----------
    run : callable
        Gives the input to fastnn, and raises an AssertionError if the result is not sound. A text that it returns
        is part of the outcome.
    printed : callable
        Returns what was written to standard error since the last call.
    longest : int
        Most characters of an error message.

    Returns
    -------
    Verdict
    """
    start = time.process_time()
    outcome, fault, detail = "accepted", None, ""
    with warnings.catch_warnings(record=True) as warned, _deadline():
        warnings.simplefilter("always")
        try:
            result = run()
            if isinstance(result, str):
                outcome = f"accepted {_without_values(result)}"
        except FastnnError as error:
            outcome = _without_values(str(error))
            if len(str(error)) > longest:
                fault, detail = f"message too long at {_place(error)}", str(error)[:_LONGEST_DETAIL]
        except KeyboardInterrupt:
            raise
        except MemoryError as error:
            # What the frames hold is released first; there is no memory left for a traceback.
            traceback.clear_frames(error.__traceback__)
            fault = f"MemoryError at {_place(error)}"
        except BaseException as error:
            fault, detail = f"{type(error).__name__} at {_place(error)}", _traceback(error)
    seconds = time.process_time() - start
    if fault is None and seconds > SECONDS:
        fault = f"slow: {outcome}"
        detail = f"{seconds:.1f} s of CPU time"
    if fault is None and warned:
        first = warned[0]
        fault = f"{first.category.__name__} at {_shown(first.filename, first.lineno)}"
        detail = str(first.message)
    output = printed()
    if fault is None and output:
        detail = output
        fault = f"output on standard error: {_without_values(detail)[:100]}"
    return Verdict(outcome, fault, detail)


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    """Raise TooSlowError in the block after SECONDS of CPU time, where the system can."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TooSlowError

    # The handler runs between two instructions of Python: a slow call into C is found when it has returned.
    old = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def _place(error: BaseException) -> str:
    """Return the innermost line of fastnn, or of the attack, in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if any(part in frame.filename for part in _OURS)]
    packaged = [frame for frame in ours if _OURS[1] not in frame.filename] or ours or frames
    # An assertion is the attack's own, about a result.
    frame = (ours or frames)[-1] if isinstance(error, AssertionError) else packaged[-1]
    return _shown(frame.filename, frame.lineno or 0)


def _shown(filename: str, line: int) -> str:
    path = Path(filename)
    return f"{path.parent.name}/{path.name}:{line}"


def _traceback(error: BaseException) -> str:
    with contextlib.suppress(Exception):
        return "".join(traceback.format_exception(error))[-_LONGEST_DETAIL:]
    return type(error).__name__


def _without_values(message: str) -> str:
    """Return the words of a message alone: no numbers, names of files or quoted values."""
    words = message[:300].split()
    return " ".join(word for word in words if word.strip(",;:.()").isalpha())[:120]


def memory_of_this_process() -> int:
    """Return the most memory that this process has had so far, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def limit_memory() -> None:
    """Let this process have MEBIBYTES more than it has now; then Python raises MemoryError, which is a fault."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ModuleNotFoundError, OSError):
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (MEBIBYTES << 20), hard))
