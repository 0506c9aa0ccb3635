"""The command line: one file a command, a thin typer function each and the plain function it calls."""

from __future__ import annotations

import gc
import importlib
import io
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

_HOMES = {
    "train": ("train", "train"),
    "evaluate": ("evaluate", "evaluate"),
    "compare": ("compare", "compare"),
    "predict": ("predict", "predict"),
    "import": ("import_", "import_original"),
    "serve": ("serve", "serve"),
    "bench": ("bench", "bench"),
    "guide": ("guide", "guide"),
    "data": ("data", "app"),
}
"""The file of each command and what it is called there."""


def make_app(names: Iterable[str] = _HOMES) -> typer.Typer:
    """Return the command line with these commands; only their files are imported."""
    made = typer.Typer(
        name="fastnn",
        help="Train small neural networks on handwritten digits, one sample at a time, as fast as one CPU core can.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_root)
    for name in names:
        file, attribute = _HOMES[name]
        found = getattr(importlib.import_module(f"fastnn.cli.{file}"), attribute)
        if isinstance(found, typer.Typer):
            made.add_typer(found, name=name)
        else:
            made.command(name)(found)
    return made


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
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; Ctrl-C outside of training leaves with 130 and no traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A file's name may hold bytes that are no text; they are shown, not stumbled over.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # With the command first, the files of the others are not needed: 50 ms.
    wanted = sys.argv[1:2] if sys.argv[1:2] and sys.argv[1] in _HOMES else list(_HOMES)
    try:
        make_app(wanted)()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        # The process ends, and Python would look for garbage among all that is left: 0.05 s.
        gc.freeze()
