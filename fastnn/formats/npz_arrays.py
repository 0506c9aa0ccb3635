"""Reads and writes a model as an archive of NumPy arrays, which ``numpy.load`` reads.

The arrays have the names of the model file's tensors, see :mod:`fastnn.formats.safetensors`; the array ``fastnn`` holds
its JSON text.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.npz_archive import check_size, opened, read_infos, read_member
from fastnn.errors import DataError, ModelError
from fastnn.formats.safetensors import HEADER_LIMIT, KEY, head_text, model_tensors, read_tensors

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.model import Model

_MOST_ARRAYS = 1 << 17
"""Those of the largest ensemble that a model file may hold."""
_CODES = {"float16": "F16", "float32": "F32", "float64": "F64"}


def dump(model: Model, precision: str) -> bytes:  # noqa: ARG001 - the networks have it
    """Return the content of the archive, see :class:`fastnn.formats.export.Exporter`."""
    file = io.BytesIO()
    arrays: dict[str, Any] = {KEY: np.array(head_text(model)), **model_tensors(model)}
    np.savez(file, **arrays)
    return file.getvalue()


class ArrayFile:
    """The arrays in an archive; see :class:`fastnn.formats.safetensors.Tensors`.

    Attributes
    ----------
    text : str or None
        The JSON text of a model of fastnn.
    others : list of str
        Names of the files that are not arrays.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.text: str | None = None
        self._members = {info.filename: info for info in archive.infolist()}
        self.others = [name for name in self._members if not name.endswith(".npy")]
        self._infos = read_infos(archive, self._members, _MOST_ARRAYS)
        head = self._infos.pop(KEY, None)
        if head is not None and head.shape == () and head.dtype.kind == "U" and head.dtype.itemsize <= 4 * HEADER_LIMIT:
            self.text = str(read_member(archive, self._members[f"{KEY}.npy"])[()])

    def keys(self) -> set[str]:
        """Return their names."""
        return set(self._infos)

    def describe(self, name: str) -> tuple[str, list[int]]:
        """Return type and shape of an array that is not read."""
        info = self._infos[name]
        return _CODES.get(info.dtype.name, str(info.dtype)), list(info.shape)

    def get(self, name: str) -> NDArray[Any]:
        """Return an array."""
        return read_member(self._archive, self._members[f"{name}.npy"])


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator[ArrayFile]:
    """Open an archive; ModelError if it is damaged, also while it is open."""
    try:
        with opened(path, "a model") as (archive, size):
            check_size(archive.infolist(), size)
            yield ArrayFile(archive)
    except DataError as error:
        kind = "a .skops file" if path.suffix.lower() == ".skops" else "an .npz file"  # both are archives of arrays
        raise ModelError(str(error).replace("an .npz file", kind)) from None


def read(path: Path) -> Model:
    """Read a file that :func:`dump` wrote; ModelError if it is another one, or damaged."""
    with open_arrays(path) as file:
        if file.text is None:
            raise ModelError(
                f"{path}: an archive, but not a model of fastnn (it holds no text '{KEY}'); if it holds a network of "
                "another program: fastnn import"
            )
        return read_tensors(file, file.text, path)[0]


def run(path: Path, model: Model, samples: Any) -> NDArray[np.float64]:  # noqa: ARG001 - the file holds all
    """Return what the model in the file predicts, see :class:`fastnn.formats.export.Exporter`."""
    return read(path).answers(samples)
