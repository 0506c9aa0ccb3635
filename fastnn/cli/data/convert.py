"""``fastnn data convert``: write a data set in another format."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from fastnn.cli._console import command, note, out
from fastnn.cli.data._app import app


@app.command()
@command
def convert(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, or a file or folder.")],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="A .json, .csv or .npz file, *-images-idx3-ubyte, or a folder for IDX files as MNIST has them.",
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write a data set in another format."""
    written, notes = convert_data(source, target, force=force)
    for text in notes:
        note(text)
    for path in written:
        out().print(str(path), markup=False, soft_wrap=True)


def convert_data(source: str, target: Path, *, force: bool = False) -> tuple[list[Path], list[str]]:
    """Load a data set and write it to `target`.

    Parameters
    ----------
    source : str
        As :func:`fastnn.datasets.load_dataset` takes it.
    target : Path
        As :func:`fastnn.datasets.writers.write_dataset` takes it.
    force : bool
        Replace what is there.

    Returns
    -------
    written : list of Path
    notes : list of str
        What is to be known of the source, and what of it the format could not hold.

    Raises
    ------
    DataError, FetchError
        As reading and writing raise them.
    """
    from fastnn.cli._downloads import download_progress
    from fastnn.datasets import load_dataset
    from fastnn.datasets.writers import write_dataset

    with download_progress() as progress:
        dataset = load_dataset(source, progress=progress)
    written, notes = write_dataset(dataset, target, force=force)
    return written, [*dataset.notes, *notes]
