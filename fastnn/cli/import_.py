"""``fastnn import``: a network of the original's as a model of fastnn."""

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
    """Turn a network of the original's into a model file of fastnn.

    The weights are kept to the last bit. The published NN.json misses a comma; it is put in where it is the one fault.
    """
    original = import_file(source, target, force=force)
    console, network = out(), original.model.network
    sizes = "-".join(str(size) for size in network.sizes)
    console.print(
        f"read    {escape(source)}: {sizes}, rule {network.rule}, {network.dtype}, {network.n_parameters:,} parameters"
    )
    if original.repaired:
        console.print(f"mended  a comma was missing in {original.place}")
    if isinstance(original.training, dict):
        for key, value in original.training.items():
            console.print(f"note    {escape(f'{key}: {value}')}")
    console.print(f"wrote   {escape(target)}")


def import_file(source: str, target: str, *, force: bool = False) -> Original:
    """Read a network of the original's and save it as a model of fastnn.

    Parameters
    ----------
    source : str
        The original's file.
    target : str
        The model file to write.
    force : bool
        Whether `target` may be replaced.

    Returns
    -------
    Original
        What was read.

    Raises
    ------
    ModelError
        If `source` is no such file, or `target` exists or cannot be written.
    """
    from pathlib import Path

    from fastnn.errors import ModelError
    from fastnn.formats import read_original, save_model

    path = Path(target)
    if path.is_dir() or (path.exists() and not force):
        hint = "name a file" if path.is_dir() else "give another name, or --force to replace it"
        raise ModelError(f"{target}: exists; {hint}")
    original = read_original(source)
    try:
        save_model(original.model, path)
    except OSError as error:
        raise ModelError(f"{target}: cannot be written ({error.strerror or error})") from None
    return original
