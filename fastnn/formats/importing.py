"""Reads a network of any format that is known here, also of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnn.errors import ModelError
from fastnn.formats import find_model, kind_of, load_model
from fastnn.formats.foreign import Facts, read_foreign
from fastnn.formats.safetensors import KEY, open_safetensors
from fastnn.formats.torch_tensors import KEY as TORCH_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.model import Model


def import_network(path: str | Path, facts: Facts | None = None) -> Model:
    """Read a network that fastnn or another program wrote.

    Parameters
    ----------
    path : path-like
        A model file of fastnn or what it exports to ``.npz``, ``.pt`` and ``.skops``; the original's NN.json; an MLP
        of scikit-learn in ``.skops`` (extra ``[skops]``); the layers of a network in ``.safetensors``, as PyTorch
        names them, or in ``.npz``.
    facts : Facts, optional
        What the file does not say.

    Raises
    ------
    ModelError
        If it cannot be read, holds something else, or does not say all that is needed; nothing is guessed.
    MissingExtraError
        If a ``.skops`` file is given and skops is not installed.
    """
    file, given = find_model(path), facts or Facts()
    kind = kind_of(file)
    if kind == "safetensors":
        with open_safetensors(file) as tensors:
            if not tensors.metadata.keys() & {KEY, TORCH_KEY}:
                return read_foreign(file, tensors, given, torch_shapes=True)
    if kind == "archive":
        model = _from_archive(file, given)
        if model is not None:
            return model
    if given != Facts():
        raise ModelError(
            f"{file}: the file describes its network; leave out the options that do so, such as --activation"
        )
    return load_model(file)


def _from_archive(path: Path, given: Facts) -> Model | None:
    """Return the model in an archive, or None if fastnn wrote it."""
    from fastnn.formats.npz_arrays import open_arrays

    with open_arrays(path) as arrays:
        others = arrays.others
        if "schema.json" not in others:
            if any(name.endswith("data.pkl") for name in others):
                raise ModelError(
                    f"{path}: holds a pickle, which is never read, since it can run any code; in PyTorch: "
                    "safetensors.torch.save_file(network.state_dict(), 'network.safetensors')"
                )
            if path.suffix.lower() == ".skops":
                raise ModelError(f"{path}: not a skops file, or damaged: it has no schema.json; store it again")
            return None if arrays.text is not None else read_foreign(path, arrays, given, torch_shapes=False)
    from fastnn.formats.sklearn_network import read

    return read(path, given)
