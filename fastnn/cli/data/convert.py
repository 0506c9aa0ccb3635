"""``fastnn data convert``: write a data set in another format."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from fastnn.cli._console import command, note, out
from fastnn.cli._data_options import (  # noqa: TC001 - typer reads the annotations
    PolarityOption,
    StrictOption,
    Target,
    TaskOption,
)
from fastnn.cli._downloads import load_with_progress
from fastnn.cli.data._app import app
from fastnn.errors import FastnnError


@app.command()
@command
def convert(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, or a file or folder, of images or a table.")],
    to: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            readable=False,
            help="Of images: a .json, .csv or .npz file, *-images-idx3-ubyte, or a folder for IDX files with MNIST's "
            "names. Of a table: a .csv, .tsv or .npz file. Of both: NAME.fnn, a store that training reads in place.",
        ),
    ],
    target: Target = None,
    task: TaskOption = None,
    polarity: PolarityOption = "auto",
    strict: StrictOption = False,
    group: Annotated[
        str | None,
        typer.Option(
            help="Of a store: keep the groups of samples, such as their writers, for fastnn cv: a column of a table, "
            "which is then no input, or 'contributor' of a database or JSON file."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Write a data set in another format."""
    from fastnn.datasets import ReadOptions
    from fastnn.datasets.store import is_store
    from fastnn.datasets.store_writer import write_store
    from fastnn.datasets.writers import write_dataset
    from fastnn.storage import check_target

    check_target(to)
    options = ReadOptions.of(target, task, polarity, strict=strict, group=group)
    if group is not None and not is_store(to):
        raise FastnnError(f"{to}: only a store (NAME.fnn) keeps groups; drop --group")
    if is_store(to):
        for text in write_store(source, to, options, force=force).notes:
            note(text)
        out().print(str(to), markup=False, soft_wrap=True)
        return
    dataset = load_with_progress(source, options)
    written, notes = write_dataset(dataset, to, force=force)
    for text in [*dataset.notes, *notes]:
        note(text)
    if dataset.validation is not None:
        note(f"the {len(dataset.validation):,} samples of the validation set are left out")
    for path in written:
        out().print(str(path), markup=False, soft_wrap=True)
