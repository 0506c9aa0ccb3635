"""``fastnn data mosaic``: a picture of a data set."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from fastnn.cli._console import command, note, out
from fastnn.cli._data_options import PolarityOption, StrictOption  # noqa: TC001 - typer reads the annotations
from fastnn.cli._downloads import load_images
from fastnn.cli.data._app import app


@app.command()
@command
def mosaic(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, or a file or folder.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.png", readable=False, help="The picture to write.")],
    rows: Annotated[int | None, typer.Option(help="Number of rows; by default as many as needed, up to 40.")] = None,
    columns: Annotated[
        int | None, typer.Option(help="Number of columns; by default as many as needed, up to 40.")
    ] = None,
    klass: Annotated[str | None, typer.Option("--class", help="Show this class only.")] = None,
    polarity: PolarityOption = "auto",
    strict: StrictOption = False,
    seed: Annotated[int, typer.Option(help="Random seed for the order.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a picture of a data set: its images as tiles in random order."""
    from fastnn.datasets import SIDE, ReadOptions
    from fastnn.images.mosaic import mosaic as lay_out
    from fastnn.images.mosaic import save_png
    from fastnn.storage import check_new_file

    check_new_file(target, ".png", force=force)
    dataset = load_images(source, ReadOptions(polarity=polarity, strict=strict))
    pixels = lay_out(dataset, rows, columns, klass=klass, seed=seed)
    save_png(pixels, target, force=force)
    for text in dataset.notes:
        note(text)
    height, width = pixels.shape
    text = f"{target}: {height // SIDE} rows of {width // SIDE} tiles, {width} x {height} pixels"
    out().print(text, markup=False, soft_wrap=True)
