"""Data sets that are known by name: digits and mnist, which can be downloaded, and drawn, which is generated."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from fastnn.errors import DataError, FetchError, cannot_write
from fastnn.reading import read_file
from fastnn.storage import cache_dir, check_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.fetch import Progress, Remote

NAMES = ("digits", "mnist", "drawn")


def load_named(name: str, progress: Progress | None = None) -> Dataset:
    """Load the data set of this name; parameters and errors as for :func:`fastnn.datasets.load_dataset`."""
    if name == "digits":
        from fastnn.datasets.digits import load_digits

        return replace(load_digits(cache_dir() / name, progress), polarity="dark-on-light")
    if name == "mnist":
        from fastnn.datasets.mnist import load_mnist

        return replace(load_mnist(cache_dir() / name, progress), polarity="light-on-dark")
    return _load_drawn(name)


def _load_drawn(name: str) -> Dataset:
    from fastnn.datasets.drawn import built_in, drawn

    numbers = drawn_numbers(name)
    return drawn(*numbers) if numbers else built_in()


def drawn_numbers(name: str) -> list[int]:
    """Return the number of digits and the seed in a name such as drawn:2000:7, as far as they are given."""
    numbers = name.split(":")[1:]
    # Python cannot convert text of more than 4,300 digits to an integer.
    if len(numbers) > 2 or not all(re.fullmatch(r"[0-9]{1,100}", number) for number in numbers):
        raise DataError(f"{name[:100]}: give a number of digits and a seed after drawn, as in drawn:2000:7")
    return [int(number) for number in numbers]


def download_missing(
    name: str, folder: Path | None = None, progress: Progress | None = None, files: Sequence[Remote] | None = None
) -> tuple[list[Path], list[Path]]:
    """Download those files of a data set that do not exist yet or, in the user's cache, are damaged.

    Parameters
    ----------
    name : str
        ``digits`` or ``mnist``.
    folder : Path, optional
        By default the user's cache.
    progress : callable, optional
        Called with a text and the fraction done, 0 to 1.
    files : sequence of Remote, optional
        The files to download; by default those of the data set `name`.

    Returns
    -------
    paths : list of Path
        All files of the data set.
    downloaded : list of Path
        Those that were downloaded now.

    Raises
    ------
    DataError
        If no data set of that name can be downloaded, or `folder` has another file of the same name.
    FetchError
        If a download fails, or `folder` cannot be a folder.
    """
    if name not in ("digits", "mnist"):
        raise DataError(f"{name}: cannot be downloaded; digits and mnist can")
    from fastnn.datasets import digits, mnist
    from fastnn.datasets.fetch import download

    if files is None:
        files = (digits.REMOTE,) if name == "digits" else mnist.remotes()
    target = cache_dir() / name if folder is None else folder
    try:
        check_folder(target)
    except OSError as error:
        raise cannot_write(target, error, FetchError, remedy="choose another folder with --to") from None
    paths, downloaded = [], []
    for file in files:
        path = target / file.name
        fault = _fault_of(path, file)
        if fault is not None:
            if path.exists() and folder is not None:
                raise DataError(
                    f"{path}: exists already and is another file ({fault}); remove it or choose another folder"
                )
            download(file, target, progress)
            downloaded.append(path)
        paths.append(path)
    return paths, downloaded


def _fault_of(path: Path, file: Remote) -> str | None:
    """Return what is wrong with the file at `path` if it should be `file`, or None if it is right."""
    if not path.is_file():
        return "does not exist"
    try:
        return file.fault(read_file(path, file.limit))
    except DataError as error:
        return str(error)
