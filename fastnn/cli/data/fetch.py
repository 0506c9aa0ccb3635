"""``fastnn data fetch``: download a data set."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from fastnn.cli._console import command, note, out
from fastnn.cli.data._app import app


@app.command()
@command
def fetch(
    name: Annotated[str, typer.Argument(help="digits or mnist.")],
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            readable=False,
            help="Folder for the files; by default the user's cache, where they are found by name.",
        ),
    ] = None,
) -> None:
    """Download the original digits (41 MB) or MNIST (11 MB) and check the files."""
    from fastnn.cli._downloads import download_progress
    from fastnn.datasets.names import download_missing

    with download_progress() as progress:
        paths, downloaded = download_missing(name, to, progress)
    for path in paths:
        if path not in downloaded:
            note(f"{path} exists already and is right")
        out().print(str(path), markup=False, soft_wrap=True)
