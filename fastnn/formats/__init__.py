"""Reads and writes model files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fastnn.errors import ModelError, fault
from fastnn.formats.original_json import read_original, write_original
from fastnn.formats.safetensors import FILE_LIMIT, read_model, write_model
from fastnn.reading import open_file
from fastnn.storage import user_path

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.model import Model

__all__ = ["find_model", "load_model", "read_model", "read_original", "save_model", "write_model", "write_original"]

MODEL_FILE = "model.safetensors"
CHECKPOINT_FILE = "checkpoint.safetensors"


def load_model(path: str | Path) -> Model:
    """Load a model.

    Parameters
    ----------
    path : path-like
        A run folder (its model or, before training has ended, its checkpoint), a model file of fastnn, its export to
        ``.npz`` or ``.pt``, or a network in the original's JSON. For others: :func:`import_network`.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If there is no such model, or it is damaged; the message names the file.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.fit("drawn:200", fastnn.Recipe(hidden=(16,), epochs=2), out="run", progress=False)
    >>> fastnn.load_model("run").sha256() == model.sha256()
    True
    """
    file = find_model(path)
    kind = kind_of(file)
    if kind == "json":
        return read_original(file).model
    if kind == "archive":
        from fastnn.formats.npz_arrays import read

        return read(file)
    from fastnn.formats import torch_tensors

    return torch_tensors.read(file) if torch_tensors.is_one(file) else read_model(file)


def save_model(model: Model, path: str | Path) -> None:
    """Save a model in fastnn's own format, a safetensors file; the same model gives the same bytes.

    Parameters
    ----------
    model : Model
    path : path-like
        The file, usually named ``.safetensors``; replaced if it exists, never left half-written.

    Raises
    ------
    ModelError
        If the model's card is not valid or cannot be written as JSON.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.fit("drawn:200", fastnn.Recipe(hidden=(16,), epochs=2), progress=False)
    >>> fastnn.save_model(model, "model.safetensors")
    >>> fastnn.load_model("model.safetensors").sizes
    (784, 16, 10)
    """
    write_model(model, user_path(path))


def find_model(path: str | Path) -> Path:
    """Return the model file of a run folder; a file is returned as it is.

    Raises
    ------
    ModelError
        If there is none.
    """
    path = user_path(path)
    try:
        if path.is_dir():
            for name in (MODEL_FILE, CHECKPOINT_FILE):
                if (path / name).is_file():
                    return path / name
            raise ModelError(f"{path}: no run folder, it holds neither {MODEL_FILE} nor {CHECKPOINT_FILE}")
        if not path.exists():
            raise ModelError(f"{path}: no such file or folder")
        if not path.is_file():
            raise ModelError(f"{path}: not a regular file")
    except OSError as error:  # its name is too long, or its folder may not be entered
        raise ModelError(f"{path}: cannot be read ({fault(error)}); check its name and permissions") from None
    return path


def kind_of(path: Path) -> Literal["safetensors", "json", "archive"]:
    """Return which kind of file a model is in, by its first bytes; an archive is a ``.zip`` file such as ``.npz``.

    Raises
    ------
    ModelError
        If it is none of them, or cannot be read.
    """
    with open_file(path, FILE_LIMIT, what="a model", error=ModelError) as file:
        head = file.read(4096)
    if not head:
        raise ModelError(f"{path}: the file is empty")
    # A safetensors file begins with the length of its header, in eight bytes; the header begins with a brace.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    if head.startswith(b"PK"):
        return "archive"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        return "json"
    hint = _HINTS.get(path.suffix.lower(), "")
    raise ModelError(
        f"{path}: neither a model of fastnn (safetensors, .npz) nor a network of the original's (JSON){hint}"
    )


_NOT_READ_BACK = "; exports to .onnx, .html and .h are not read back: take the model that they were made of"
_PICKLE = "; pickles are never read, since they can run any code: store an estimator of scikit-learn as .skops"
_HINTS = {
    **dict.fromkeys((".onnx", ".html", ".h"), _NOT_READ_BACK),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLE),
}
"""What to do, by the ending of a file that is no model."""
