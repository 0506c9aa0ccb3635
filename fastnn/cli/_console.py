"""What every command shares: the two consoles, the JSON line, and how errors become one line and an exit code."""

from __future__ import annotations

import functools
import json
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from fastnn.errors import FastnnError

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def out() -> Console:
    """Return the console for results; made anew so that tests and pipes see the stream of the moment."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)


def err() -> Console:
    """Return the console for progress, notes and errors."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Tell the user something aside, on standard error."""
    err().print(f"[yellow]note:[/yellow] {escape(text)}")


def print_json(result: dict[str, Any]) -> None:
    """Print `result` as one line of strict JSON on standard output."""
    sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
    sys.stdout.flush()


def one_line(error: BaseException) -> str:
    """Return the message of `error` on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def fail(message: str, code: int) -> NoReturn:
    """Print one line on standard error and leave with `code`."""
    err().print(f"[bold red]fastnn:[/bold red] {escape(message)}")
    raise typer.Exit(code)


def command(function: Callable[P, T]) -> Callable[P, T]:
    """Turn a :class:`FastnnError` raised in a command into one line on standard error and its exit code."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except FastnnError as error:
            fail(one_line(error), error.exit_code)
        except BrokenPipeError:
            # The reader of our output has gone (`fastnn ... | head`); keep Python from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as error:
            fail(one_line(error), 1)
        except MemoryError:
            fail("not enough memory for this", 1)

    return guarded
