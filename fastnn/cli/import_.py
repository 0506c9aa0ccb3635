"""``fastnn import``: convert a network of the original to a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from fastnn.cli._console import command, out

if TYPE_CHECKING:
    from fastnn.formats.original_json import Original


@command
def import_original(
    source: Annotated[str, typer.Argument(help="The original's file.", metavar="NN.json")],
    target: Annotated[str, typer.Argument(help="The model file to write.", metavar="OUT.safetensors")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Convert a network of the original to a model file.

    The weights are kept exactly. The published NN.json lacks a comma, which is inserted if the file has no other fault.
    """
    original = import_file(source, target, force=force)
    console, network = out(), original.model.network
    sizes = "-".join(str(size) for size in network.sizes)
    console.print(
        f"read    {escape(source)}: {sizes}, rule {network.rule}, {network.dtype}, {network.n_parameters:,} parameters"
    )
    if original.repaired:
        console.print(f"fixed   a comma was missing in {original.place}")
    if isinstance(original.training, dict):
        for key, value in original.training.items():
            console.print(f"note    {escape(f'{key}: {value}')}")
    console.print(f"wrote   {escape(target)}")


def import_file(source: str, target: str, *, force: bool = False) -> Original:
    """Read a network of the original and save it as a model file.

    Parameters
    ----------
    source : str
        The original's file.
    target : str
        The model file to write.
    force : bool
        Replace `target` if it exists.

    Returns
    -------
    Original
        The content of `source`.

    Raises
    ------
    ModelError
        If `source` cannot be read, or `target` exists or cannot be written.
    """
    from pathlib import Path

    from fastnn.errors import ModelError
    from fastnn.formats import read_original, save_model

    path = Path(target)
    if path.is_dir() or (path.exists() and not force):
        if path.is_dir():
            raise ModelError(f"{target}: is a folder; give the name of a file")
        raise ModelError(f"{target}: exists already; give another name, or --force to replace it")
    original = read_original(source)
    try:
        save_model(original.model, path)
    except OSError as error:
        raise ModelError(f"{target}: cannot be written ({error.strerror or error})") from None
    return original
