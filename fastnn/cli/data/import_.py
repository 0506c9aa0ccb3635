"""``fastnn data import``: a data set into a database."""

from __future__ import annotations

from typing import Annotated

import typer

from fastnn.cli._console import command, note, out
from fastnn.cli.data._app import app


@app.command("import")
@command
def import_(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, or a file or folder.")],
    into: Annotated[str, typer.Option(help="The database: sqlite:///FILE or postgresql://USER@HOST/NAME.")],
    contributor: Annotated[str, typer.Option(help="Who is given credit for the digits.")] = "",
    review: Annotated[bool, typer.Option("--review", help="Put them in the queue instead of accepting them.")] = False,
) -> None:
    """Store a data set in a database, as accepted digits. Importing the same twice stores it once.

    fastnn data convert URL OUT.json writes them back.
    """
    stored, known, notes = import_data(source, into, contributor=contributor, review=review)
    for text in notes:
        note(text)
    before = f"; {known:,} were there already" if known else ""
    out().print(f"stored {stored:,} digits{before}", markup=False)


def import_data(
    source: str, into: str, *, contributor: str = "", review: bool = False
) -> tuple[int, int, tuple[str, ...]]:
    """Load a data set and store it in a database.

    Parameters
    ----------
    source : str
        As :func:`fastnn.datasets.load_dataset` takes it.
    into : str
        URL of the database.
    contributor : str
        Who is given credit for the digits.
    review : bool
        Put them in the queue instead of accepting them.

    Returns
    -------
    stored, known : int
        Digits stored now, and digits that were there from an earlier import.
    notes : tuple of str
        What is to be known of the source.

    Raises
    ------
    DataError, FetchError
        As reading and storing raise them.
    """
    from fastnn.cli._downloads import download_progress
    from fastnn.datasets import load_dataset
    from fastnn.datasets.database import import_dataset

    with download_progress() as progress:
        dataset = load_dataset(source, progress=progress)
    stored, known = import_dataset(dataset, into, contributor=contributor, review=review)
    lost = () if dataset.test is None else (f"the {len(dataset.test):,} images of the test set are left out",)
    return stored, known, (*dataset.notes, *lost)
