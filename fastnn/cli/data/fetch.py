"""``fastnn data fetch``: download a data set."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from fastnn.cli._console import command, note, out
from fastnn.cli.data._app import app
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.datasets.fetch import Progress, Remote


@app.command()
@command
def fetch(
    name: Annotated[str, typer.Argument(help="digits or mnist.")],
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder for the files; by default the user's cache, where they are found again."),
    ] = None,
) -> None:
    """Download the original digits (41 MB) or MNIST (11 MB) and check what arrived."""
    from fastnn.cli._downloads import download_progress

    with download_progress() as progress:
        paths, fresh = fetch_files(name, to, progress)
    for path in paths:
        if path not in fresh:
            note(f"{path} was there already and is right")
        out().print(str(path), markup=False, soft_wrap=True)


def fetch_files(
    name: str, to: Path | None = None, progress: Progress | None = None, files: Sequence[Remote] | None = None
) -> tuple[list[Path], list[Path]]:
    """Download the files of a data set that are not there yet.

    Parameters
    ----------
    name : str
        ``digits`` or ``mnist``.
    to : Path, optional
        The folder for them; by default the user's cache.
    progress : callable, optional
        Told how far the download is.
    files : sequence of Remote, optional
        What to download instead of the files that go by `name`.

    Returns
    -------
    paths : list of Path
        The files.
    fresh : list of Path
        Those among them that were downloaded.

    Raises
    ------
    DataError
        If no data set of that name is to be had, or another file of the same name is in the folder `to`.
    FetchError
        If a download fails.
    """
    from fastnn.datasets import digits, mnist
    from fastnn.datasets.fetch import download
    from fastnn.storage import cache_dir

    if name not in ("digits", "mnist"):
        raise DataError(f"{name}: nothing to download by this name; digits and mnist are")
    if files is None:
        files = (digits.REMOTE,) if name == "digits" else mnist.remotes()
    folder = cache_dir() / name if to is None else to
    paths, fresh = [], []
    for file in files:
        path = folder / file.name
        fault = _fault(path, file)
        if fault is not None:
            if path.exists() and to is not None:
                raise DataError(
                    f"{path}: is there already and is another file ({fault}); remove it or choose another folder"
                )
            download(file, folder, progress)
            fresh.append(path)
        paths.append(path)
    return paths, fresh


def _fault(path: Path, file: Remote) -> str | None:
    """Return what is wrong with a file that should be `file`, or None."""
    if not path.is_file():
        return "not there"
    if path.stat().st_size > file.limit:
        return "too large"
    return file.fault(path.read_bytes())
