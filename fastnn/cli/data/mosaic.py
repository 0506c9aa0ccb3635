"""``fastnn data mosaic``: a picture of a data set."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from fastnn.cli._console import command, note, out
from fastnn.cli.data._app import app


@app.command()
@command
def mosaic(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, or a file or folder.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.png", help="The picture to write.")],
    rows: Annotated[int | None, typer.Option(help="Tiles from top to bottom; by default what fits.")] = None,
    columns: Annotated[int | None, typer.Option(help="Tiles from left to right; by default what fits.")] = None,
    klass: Annotated[str | None, typer.Option("--class", help="Show this class only.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random order.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Make a picture of a data set: its digits as tiles in random order."""
    text, notes = make_mosaic(source, target, rows=rows, columns=columns, klass=klass, seed=seed, force=force)
    for line in notes:
        note(line)
    out().print(text, markup=False, soft_wrap=True)


def make_mosaic(
    source: str,
    target: Path,
    *,
    rows: int | None = None,
    columns: int | None = None,
    klass: str | None = None,
    seed: int = 0,
    force: bool = False,
) -> tuple[str, list[str]]:
    """Load a data set and write its picture to `target`.

    Parameters
    ----------
    source : str
        As :func:`fastnn.datasets.load_dataset` takes it.
    target : Path
        A ``.png`` file.
    rows, columns, klass, seed
        As :func:`fastnn.images.mosaic.mosaic` takes them.
    force : bool
        Replace a file that is there.

    Returns
    -------
    text : str
        What was written.
    notes : list of str
        What is to be known of the source.

    Raises
    ------
    DataError, FetchError
        As reading the source, laying out and writing raise them.
    """
    from fastnn.cli._downloads import download_progress
    from fastnn.datasets import SIDE, load_dataset
    from fastnn.images.mosaic import check_png, save_png
    from fastnn.images.mosaic import mosaic as lay_out

    check_png(target, force=force)
    with download_progress() as progress:
        dataset = load_dataset(source, progress=progress)
    pixels = lay_out(dataset, rows, columns, klass=klass, seed=seed)
    save_png(pixels, target, force=force)
    tall, wide = pixels.shape
    return f"{target}: {tall // SIDE} rows of {wide // SIDE} tiles, {wide} x {tall} pixels", list(dataset.notes)
