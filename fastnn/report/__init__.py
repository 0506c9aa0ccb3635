"""The report on a model: a page with pictures and tables of its results on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastnn.errors import FastnnError, cannot_write
from fastnn.report.content import Content, measure
from fastnn.report.page import page
from fastnn.report.pictures import DARK, LIGHT, PICTURES, draw, need_matplotlib
from fastnn.storage import (
    atomic_write,
    check_target,
    exchange,
    move_file,
    put_in_place,
    temporary_folder,
    user_path,
)

if TYPE_CHECKING:
    from fastnn.datasets import Dataset
    from fastnn.model import Model

INDEX = "index.html"
_INCOMPLETE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>fastnn: not complete</title>
<p>This report is being written. If that was interrupted, run the command again with <code>--force</code>.</p>
</html>
"""


def write_report(
    model: Model,
    dataset: Dataset,
    folder: str | Path,
    *,
    name: str = "model",
    part: str = "",
    history: str | Path | None = None,
    force: bool = False,
) -> Path:
    """Evaluate a model and write a page with pictures of the results.

    The folder gets ``index.html`` and PNG files, each in light and in dark colours; the page loads nothing from
    elsewhere.

    Parameters
    ----------
    model : Model
    dataset : Dataset
        The samples to evaluate the model on.
    folder : path-like
        Created. It may exist only with `force`, and then keeps the other files in it.
    name, part : str
        Names of the model and the data on the page.
    history : path-like, optional
        The run's history.csv. Without it, or if it is incomplete, there are no learning curves.
    force : bool
        Replace an existing report.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FastnnError
        If the folder exists or cannot be written, or the data set does not fit the model.
    MissingExtraError
        If matplotlib is not installed.
    """
    folder = user_path(folder)
    check_folder(folder, force=force)
    need_matplotlib()
    content = measure(model, dataset, None if history is None else Path(history))
    try:
        _write(content, folder, name, part or dataset.source)
    except OSError as error:
        raise cannot_write(folder, error, words="the report cannot be written") from None
    return folder / INDEX


def check_folder(folder: Path, *, force: bool) -> None:
    """Raise the error that :func:`write_report` would raise for this folder, before any work is done.

    Raises
    ------
    FastnnError
        If it exists and `force` is not given, is a file, or its parent folder does not exist.
    """
    check_target(folder)
    if folder.exists() and not folder.is_dir():
        raise FastnnError(f"{folder}: is a file; give a folder for the report")
    if folder.exists() and not force:
        raise FastnnError(f"{folder}: exists already; give another folder, or replace the report in it with --force")


def _write(content: Content, folder: Path, name: str, part: str) -> None:
    # Written to a temporary folder first, so that an interrupted report is never mistaken for a complete one.
    with temporary_folder(folder) as made:
        drawn = [picture for picture in content.pictures if draw(content, picture, made)]
        with atomic_write(made / INDEX) as file:
            file.write(page(content, drawn, name, part).encode())
        own = [INDEX, *(f"{picture}{theme.suffix}.png" for picture in PICTURES for theme in (LIGHT, DARK))]
        if not folder.exists():
            put_in_place(made, folder)
        elif not exchange(made, folder, own):
            _replace_report(made, folder, own)


def _replace_report(made: Path, folder: Path, own: list[str]) -> None:
    """Replace the files of a report in a folder; until the last step the page says that it is not complete."""
    with atomic_write(folder / INDEX) as file:
        file.write(_INCOMPLETE.encode())
    for name in own:
        if name == INDEX:
            continue
        if (made / name).exists():
            move_file(made / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    move_file(made / INDEX, folder / INDEX)
