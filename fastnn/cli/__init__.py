"""The command line: one file a command, a thin typer function each and the plain function it calls."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from fastnn import __version__
from fastnn.cli import bench, compare, data, evaluate, import_, predict, serve, train

app = typer.Typer(
    name="fastnn",
    help="Train small neural networks on handwritten digits, one sample at a time, as fast as one CPU core can.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("predict")(predict.predict)
app.command("import")(import_.import_original)
app.command("serve")(serve.serve)
app.command("bench")(bench.bench)
app.add_typer(data.app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastnn {__version__}")
        raise typer.Exit


@app.callback()
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
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
