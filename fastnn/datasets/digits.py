"""The data set ``digits``: the 13,942 digits of niemenjoki/handwritten-digit-classification."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.digits_json import from_bytes
from fastnn.datasets.fetch import Remote, download
from fastnn.datasets.safe_read import read_packed, unpack
from fastnn.storage import data_path_from_environment, search_folders

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.fetch import Progress

FILE = "dataset.json"
COMMIT = "c7092852ff28d03ae22b87e5673a98369d3cee9f"
BLOB = "e6dcaf6ef18e0807fc15ac0d19c18966e44694b2"
COUNT = 13_942

# SHA-256 of the pixel bytes of the offensive drawings in the public data set.
BLOCKED = frozenset(
    {
        "3bf9a61d33f0e52c476fefdf64ab284f00107a51fbe4731db61a9db89afcc29e",
        "4ae6926b664489fb852aca15b1d07ea77c96d6357e5ecc2d57aaa75df30d6278",
        "532f3d3f7d0b6e86537eeb819d0763a30f6b8c27eee9b18fa0eda709ebdcaa26",
        "79f8a6dcc6e04d9ec25cdea5d7c103c4d185ac6bd57fba8a492718eab0f1e2e7",
        "92da48aa2dce38ac83d9dc975c9fea895dd67b32f7b135ef05560a5c00bb8194",
        "9b21ef55bbe8e178d4ce16d248ca6acd4233c6eb3a780cf4ac47e758cf8cefe7",
        "bbab67e3b48a4fd3187c8bd741cda4cd1801d11c9dd59d739f607072f96ac6e1",
        "c8f82f7ecc24ebad7647552f0552aab7e45f07957c45037f673ea31c39a68104",
        "e087bf84aeea86c67e252a2ffb28efe6eeab8e466f5e04d6402bd821735e8449",
        "ef7625df38eb4b894d84f546d4a58bfb88024595b591efe6f93da0647397f2e1",
        "f85581ca198c0747162249f37856ff9b01e30f89b843a304380169d3d145badd",
    }
)


def blob_id(content: bytes | bytearray) -> str:
    """Return git's blob id (hexadecimal) of a file with this content."""
    # Git uses SHA-1; it guards against a wrong file, not against an attacker.
    digest = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()


def _fault(content: bytes) -> str | None:
    found = blob_id(content)
    return None if found == BLOB else f"{FILE} has the git blob id {found}, not {BLOB}"


REMOTE = Remote(
    name=FILE,
    urls=(f"https://raw.githubusercontent.com/niemenjoki/handwritten-digit-classification/{COMMIT}/data/{FILE}",),
    limit=64 << 20,
    fault=_fault,
)


def find() -> Path | None:
    """Return the path of the file on this machine, or None if there is none."""
    given = data_path_from_environment()
    if given is not None and given.is_file():
        return given
    return next((folder / FILE for folder in search_folders("digits") if (folder / FILE).is_file()), None)


def load_digits(folder: Path, progress: Progress | None = None, remote: Remote = REMOTE) -> Dataset:
    """Load the original digits, without the offensive drawings.

    Parameters
    ----------
    folder : Path
        Folder for the download if the file is not found on this machine.
    progress : callable, optional
        Called during the download, see :func:`fastnn.datasets.load_dataset`.
    remote : Remote
        The file to download.

    Returns
    -------
    Dataset

    Raises
    ------
    FetchError
        If the download fails.
    DataError
        If the file that was found is not in the original's format.
    """
    path = find() or download(remote, folder, progress)
    content = read_packed(path)
    dataset = from_bytes(content, str(path))
    notes = []
    if blob_id(unpack(content, path.name)) != BLOB:
        notes.append(f"{path} is not the original's file of {COUNT:,} digits; it holds {len(dataset):,}")
    allowed = [hashlib.sha256(image).hexdigest() not in BLOCKED for image in dataset.images]
    blocked = len(dataset) - sum(allowed)
    if blocked:
        dataset = dataset.take(np.flatnonzero(allowed))
        notes.append(f"{blocked} offensive drawing{'s were' if blocked > 1 else ' was'} left out")
    return replace(dataset, source="digits", notes=tuple(notes))
