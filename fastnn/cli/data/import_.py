"""``fastnn data import``: store a data set in a database."""

from __future__ import annotations

from typing import Annotated

import typer

from fastnn.cli._console import command, note, out
from fastnn.cli._data_options import PolarityOption, StrictOption  # noqa: TC001 - typer reads the annotations
from fastnn.cli._downloads import load_images
from fastnn.cli.data._app import app


@app.command("import")
@command
def import_(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, or a file or folder.")],
    into: Annotated[str, typer.Option(help="The database: sqlite:///FILE or postgresql://USER@HOST/NAME.")],
    contributor: Annotated[str, typer.Option(help="Who gets the credit for the digits.")] = "",
    polarity: PolarityOption = "auto",
    strict: StrictOption = False,
    review: Annotated[
        bool, typer.Option("--review", help="Put the digits into the review queue instead of accepting them.")
    ] = False,
) -> None:
    """Store a data set in a database, as accepted digits. Digits that are stored already are not stored again.

    To write them back to a file: fastnn data convert URL OUT.json
    """
    from fastnn.datasets import ReadOptions
    from fastnn.datasets.database import import_dataset

    dataset = load_images(source, ReadOptions(polarity=polarity, strict=strict))
    stored, known = import_dataset(dataset, into, contributor=contributor, review=review)
    for text in dataset.notes:
        note(text)
    for part, name in ((dataset.test, "test"), (dataset.validation, "validation")):
        if part is not None:
            note(f"the {len(part):,} images of the {name} set are left out")
    existing = f"; {known:,} existed already" if known else ""
    out().print(f"stored {stored:,} digits{existing}", markup=False)
