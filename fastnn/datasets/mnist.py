"""The data set ``mnist``: 60,000 training and 10,000 test digits of LeCun, Cortes and Burges."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

from fastnn.datasets import idx
from fastnn.datasets.cache import cached_files
from fastnn.datasets.fetch import Remote, download
from fastnn.datasets.safe_read import read_packed, unpack
from fastnn.errors import DataError
from fastnn.storage import search_folders

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.fetch import Progress

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
# MD5 checksums of the decompressed files.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def _md5(content: bytes | bytearray) -> str:
    # The checksums that are published for MNIST; they guard against a wrong file, not against an attacker.
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _fault(name: str, expected: str, packed: bytes) -> str | None:
    try:
        found = _md5(unpack(packed, f"{name}.gz"))
    except DataError as error:
        return str(error)
    return None if found == expected else f"{name} has the MD5 checksum {found}, not {expected}"


def remotes(mirrors: Sequence[str] = MIRRORS) -> tuple[Remote, ...]:
    """Return descriptions of the four files to download; each of `mirrors` is a URL that ends with a slash."""
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
    """Return the paths of the four files if one folder on this machine has them all, else None."""
    for folder in search_folders("mnist"):
        paths = tuple(path for name in MD5 if (path := idx.existing(folder, name)))
        if len(paths) == len(MD5):
            return paths
    return None


def load_mnist(folder: Path, progress: Progress | None = None, files: Sequence[Remote] | None = None) -> Dataset:
    """Load MNIST, inverted to 255 = paper, with its 10,000 test digits as `test`.

    Parameters
    ----------
    folder : Path
        Folder for the downloads if the files are not found on this machine.
    progress : callable, optional
        Called during the downloads, see :func:`fastnn.datasets.load_dataset`.
    files : sequence of Remote, optional
        The files to download; by default those of :func:`remotes`.

    Returns
    -------
    Dataset

    Raises
    ------
    FetchError
        If a download fails.
    DataError
        If a file that was found has another checksum than MNIST's.
    """
    paths = find() or tuple(download(file, folder, progress) for file in files or remotes())
    return cached_files(paths, "mnist", lambda: _parse(paths))


def _parse(paths: Sequence[Path]) -> Dataset:
    contents = [_read_checked(path) for path in paths]
    first, second = (
        (~idx.parse_images(contents[i], str(paths[i]))[0], idx.parse_labels(contents[i + 1], str(paths[i + 1]))[0])
        for i in (0, 2)
    )
    return idx.from_parts({"train": first, "test": second}, "mnist")


def _read_checked(path: Path) -> bytes | bytearray:
    content = unpack(read_packed(path), str(path))
    found, expected = _md5(content), MD5[path.name.removesuffix(".gz")]
    if found != expected:
        raise DataError(
            f"{path}: not MNIST's file (its MD5 checksum is {found}, not {expected}); "
            "delete it and run `fastnn data fetch mnist`, or give the path of its folder to use it unchecked"
        )
    return content
