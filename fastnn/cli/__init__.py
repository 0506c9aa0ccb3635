"""The command line: a file for each command, with a thin typer function and the functions that it calls."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn import __version__
from fastnn.cli._streams import OUTPUT, discard_output, ignore_impossible_size, open_streams
from fastnn.errors import cannot_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_COMMANDS = {
    "train": ("train", "train"),
    "evaluate": ("evaluate", "evaluate"),
    "compare": ("compare", "compare"),
    "cv": ("cv", "cv"),
    "sweep": ("sweep", "app"),
    "predict": ("predict", "predict"),
    "show": ("show", "show"),
    "runs": ("runs", "runs"),
    "export": ("export", "export_model"),
    "import": ("import_", "import_"),
    "serve": ("serve", "serve"),
    "bench": ("bench", "bench"),
    "guide": ("guide", "guide"),
    "data": ("data", "app"),
}
"""File of each command, and the name of its function or typer app in that file."""


def make_app(names: Iterable[str] = _COMMANDS) -> typer.Typer:
    """Return the typer app with these commands; only their files are imported."""
    made = typer.Typer(
        name="fastnn",
        help="Train small neural networks on images and tables, one sample at a time, as fast as one CPU core can.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_root)
    for name in names:
        file, attribute = _COMMANDS[name]
        found = getattr(importlib.import_module(f"fastnn.cli.{file}"), attribute)
        if isinstance(found, typer.Typer):
            made.add_typer(found, name=name)
        else:
            made.command(name)(found)
    return made


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """Return the typer app for a command line: with the command that it begins with, or with all commands.

    Importing the files of the others would take 50 ms longer, and calling the app 70 ms.
    """
    return make_app(arguments[:1] if arguments and arguments[0] in _COMMANDS else _COMMANDS)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'fastnn.cli' has no attribute {name!r}")
    globals()["app"] = made = make_app()
    return made


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastnn {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    open_streams()
    ignore_impossible_size()
    try:
        try:
            app_for(sys.argv[1:])()
        finally:
            sys.stdout.flush()
    except OSError as error:
        # Commands report their own errors; this one comes from a help text, or from what was left to write.
        discard_output()
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"fastnn: {cannot_write(error.filename or OUTPUT, error, words='cannot be used')}\n")
        sys.exit(1)
    except Exception as error:
        # Commands report their own; this one comes from an import or a help text.
        from fastnn.cli._crash import CRASHED, crash_message

        sys.stderr.write(f"fastnn: {crash_message(error)}\n")
        sys.exit(CRASHED)
    finally:
        # Skips the garbage collection at exit, which takes 0.05 s.
        gc.freeze()
