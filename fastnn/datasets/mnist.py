"""``mnist``: the 60,000 and 10,000 digits of LeCun, Cortes and Burges."""

from __future__ import annotations

import functools
import hashlib
import io
from typing import TYPE_CHECKING

from fastnn.datasets import idx
from fastnn.datasets.fetch import Remote, download
from fastnn.datasets.safe_read import read_file, unpack
from fastnn.errors import DataError
from fastnn.storage import search_folders

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.fetch import Progress

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
# MD5 of the unpacked files.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def _md5(content: bytes | bytearray) -> str:
    # The sums that MNIST is known by; they guard against a wrong file, not against an attacker.
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _fault(name: str, expected: str, packed: bytes) -> str | None:
    try:
        found = _md5(unpack(io.BytesIO(packed), len(packed), name))
    except DataError as error:
        return str(error)
    return None if found == expected else f"{name} has the MD5 sum {found}, not {expected}"


def remotes(mirrors: Sequence[str] = MIRRORS) -> tuple[Remote, ...]:
    """Return the four files as they can be downloaded from `mirrors`, addresses that end with a slash."""
    return tuple(
        Remote(
            name=f"{name}.gz",
            urls=tuple(f"{mirror}{name}.gz" for mirror in mirrors),
            limit=16 << 20,
            fault=functools.partial(_fault, name, md5),
        )
        for name, md5 in MD5.items()
    )


def find() -> tuple[Path, ...] | None:
    """Return the four files where they are to be found in one folder of this machine, else None."""
    for folder in search_folders("mnist"):
        paths = tuple(path for name in MD5 if (path := idx.existing(folder, name)))
        if len(paths) == len(MD5):
            return paths
    return None


def mnist(folder: Path, progress: Progress | None = None, files: Sequence[Remote] | None = None) -> Dataset:
    """Load MNIST, turned to 255 = paper; its 10,000 test digits are the test set.

    Parameters
    ----------
    folder : Path
        Where the files are downloaded to if they are nowhere on this machine.
    progress : callable, optional
        Told how far a download is.
    files : sequence of Remote, optional
        What to download; by default `remotes()`.

    Returns
    -------
    Dataset

    Raises
    ------
    FetchError
        If a file has to be downloaded and cannot be.
    DataError
        If a file that was found is not MNIST's.
    """
    paths = find() or tuple(download(file, folder, progress) for file in files or remotes())
    contents = [_checked(path) for path in paths]
    halves = [
        (idx.parse_images(contents[i], str(paths[i])), idx.parse_labels(contents[i + 1], str(paths[i + 1])))
        for i in (0, 2)
    ]
    return idx.from_halves(halves, "mnist")


def _checked(path: Path) -> bytes | bytearray:
    content = read_file(path)
    found, expected = _md5(content), MD5[path.name.removesuffix(".gz")]
    if found != expected:
        raise DataError(
            f"{path}: not MNIST's file (its MD5 sum is {found}, not {expected}); "
            "delete it and run `fastnn data fetch mnist`, or name its folder to use it as it is"
        )
    return content
