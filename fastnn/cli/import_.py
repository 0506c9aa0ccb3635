"""``fastnn import``: convert a network of another program to a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from fastnn.cli._console import command, out
from fastnn.errors import ModelError, RecipeError, cannot_write

if TYPE_CHECKING:
    from fastnn.formats.original_json import Original
    from fastnn.model import Model


@command
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="The original's NN.json; a .npz, .pt or .skops file of fastnn; an MLP of scikit-learn (.skops); "
            "layers of PyTorch (.safetensors); or arrays of weights and biases (.npz).",
            metavar="NETWORK",
        ),
    ],
    target: Annotated[str, typer.Argument(help="The model file to write.", metavar="OUT.safetensors")],
    activation: Annotated[
        Literal["relu", "tanh", "sigmoid"] | None, typer.Option(help="Activation of the hidden layers.")
    ] = None,
    task: Annotated[
        Literal["classification", "multilabel", "regression"] | None,
        typer.Option(help="What the outputs are for: one of several classes, any of several labels, or numbers."),
    ] = None,
    takes: Annotated[Literal["images", "rows"] | None, typer.Option(help="What the network was trained on.")] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the classes, labels or targets in the outputs' order, with commas between."),
    ] = None,
    invert: Annotated[
        bool | None,
        typer.Option("--invert/--no-invert", help="Of images: white pixels were 0 (--invert) or 1 (--no-invert)."),
    ] = None,
    mean: Annotated[
        float | None,
        typer.Option(help="The network got (x - mean) / std of values x; of images, x is from 0 to 1. By default 0."),
    ] = None,
    std: Annotated[float | None, typer.Option(help="See --mean; by default 1.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Convert a network of another program to a model file.

    The weights are kept exactly, except with --mean and --std of images. What the file does not say must be given;
    nothing is guessed. The published NN.json lacks a comma, which is inserted if the file has no other fault.
    """
    from fastnn.formats import find_model, kind_of, read_original, save_model
    from fastnn.formats.export import FORMATS
    from fastnn.formats.foreign import Facts
    from fastnn.formats.importing import import_network
    from fastnn.storage import check_new_file, user_path

    names = None if classes is None else tuple(name.strip() for name in classes.split(","))
    if names is not None and "" in names:
        raise RecipeError("--classes: a name is empty; write the names with commas between, such as 0,1,2")
    facts = Facts(activation, task, takes, invert, names, mean, std)
    path = user_path(target)
    if path.suffix.lower() in {each.ending for each in FORMATS} - {".safetensors"}:
        raise ModelError(f"{target}: fastnn import writes .safetensors; fastnn export makes {path.suffix} of that")
    check_new_file(path, force=force)
    original: Original | None = None
    if facts == Facts() and kind_of(find_model(source)) == "json":
        original = read_original(source)
    model = import_network(source, facts) if original is None else original.model
    try:
        save_model(model, path)
    except OSError as error:
        raise cannot_write(target, error, ModelError) from None
    _show(source, target, model, original)


def _show(source: str, target: str, model: Model, original: Original | None) -> None:
    console = out()
    for network in model.networks:
        sizes = "-".join(str(size) for size in network.sizes)
        kind = f"rule {network.rule}" if network.rule == "original" else f"{network.activation}, {network.output}"
        console.print(
            f"read    {escape(source)}: {sizes}, {kind}, {network.dtype}, {network.n_parameters:,} parameters"
        )
    if original is not None:
        if original.repaired:
            console.print(f"fixed   a comma was missing in {original.place}")
        if isinstance(original.training, dict):
            for key, value in original.training.items():
                console.print(f"note    {escape(f'{key}: {value}')}")
    console.print(f"wrote   {escape(target)}")
