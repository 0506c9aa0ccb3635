"""``fastnn import``: convert a network of the original to a model file."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from fastnn.cli._console import command, out
from fastnn.errors import ModelError, cannot_write


@command
def import_original(
    source: Annotated[str, typer.Argument(help="The original's file.", metavar="NN.json")],
    target: Annotated[str, typer.Argument(help="The model file to write.", metavar="OUT.safetensors")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Convert a network of the original to a model file.

    The weights are kept exactly. The published NN.json lacks a comma, which is inserted if the file has no other fault.
    """
    from fastnn.formats import read_original, save_model
    from fastnn.storage import check_new_file, user_path

    path = user_path(target)
    check_new_file(path, force=force)
    original = read_original(source)
    try:
        save_model(original.model, path)
    except OSError as error:
        raise cannot_write(target, error, ModelError) from None
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
