"""Shared by all commands: consoles, JSON output, and errors as one line with an exit code."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from fastnn.cli._signals import Interrupted, interruptible, show_cursor
from fastnn.cli._streams import OUTPUT, discard_output
from fastnn.errors import FastnnError, cannot_write, fault
from fastnn.storage import user_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

P = ParamSpec("P")
T = TypeVar("T")

_PIECE = 1 << 20


def out() -> Console:
    """Return a console for results. Each call makes a new one, so that it uses the current standard output."""
    return Console(file=sys.stdout, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 120)


def err() -> Console:
    """Return a console on standard error for progress, notes and errors."""
    return Console(file=sys.stderr, highlight=False, emoji=False, soft_wrap=True)


def can_encode(console: Console, text: str) -> bool:
    """Return whether a console's encoding has all characters of a text."""
    try:
        text.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def note(text: str) -> None:
    """Print a note on standard error."""
    err().print(f"[yellow]note:[/yellow] {escape(text)}")


def print_json(result: dict[str, Any]) -> None:
    """Print `result` as one line of strict JSON on standard output."""
    sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_content(content: BinaryIO) -> None:
    """Print a file of ASCII on standard output, some of it at a time, and close it."""
    with content:
        while text := content.read(_PIECE):
            sys.stdout.write(text.decode("ascii"))
    sys.stdout.flush()


def report_error(message: str) -> None:
    """Print an error message as one line on standard error."""
    err().print(f"[bold red]fastnn:[/bold red] {escape(' '.join(message.split()))}")


def fail(message: str, code: int) -> NoReturn:
    """Print an error message as one line on standard error and exit with `code`."""
    report_error(message)
    raise typer.Exit(code)


def _describe(error: OSError) -> tuple[str, int]:
    """Return the message and the exit code for an error of the system: the file's name, the fault and the fix."""
    if error.filename is None:
        return fault(error), 1
    failed = cannot_write(error.filename, error, words="cannot be used", remedy="check its name and permissions")
    return str(failed), failed.exit_code


def command(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a command so that errors become one line on standard error and an exit code.

    A :class:`FastnnError` exits with its own code, errors of the system and a lack of memory with 1, a signal with 128
    plus its number and no line, and any other exception, which is a fault of fastnn, with 70 and a log.

    A ``~`` in an option that is a path stands for the home folder.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        for name, value in kwargs.items():
            if isinstance(value, Path):
                kwargs[name] = user_path(value)
        try:
            with interruptible():
                return function(*args, **kwargs)
        except Interrupted as interrupt:
            show_cursor()
            raise typer.Exit(128 + interrupt.signal) from None
        except FastnnError as error:
            fail(str(error), error.exit_code)
        except BrokenPipeError:
            # The reader of the output has closed the pipe (`fastnn ... | head`).
            discard_output()
            raise typer.Exit(1) from None
        except OSError as error:
            if error.filename == OUTPUT:
                discard_output()
            fail(*_describe(error))
        except MemoryError:
            fail("not enough memory", 1)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            from fastnn.cli._crash import CRASHED, crash_message

            fail(crash_message(error), CRASHED)

    return guarded
