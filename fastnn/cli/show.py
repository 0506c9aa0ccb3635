"""``fastnn show``: what is in a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fastnn.cli._console import command, out, print_json

if TYPE_CHECKING:
    from fastnn.model_summary import ModelSummary

_SHOWN = 12
"""Most names of outputs and columns."""


@command
def show(
    model: Annotated[str, typer.Argument(help="A run folder, a model file or the original's NN.json.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Show what is in a model file: layers, inputs, outputs, recipe, data, scores, calibration and the hash."""
    from fastnn.model_summary import summarise

    summary = summarise(model)
    if as_json:
        print_json(summary.as_dict())
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(summary):
        table.add_row(name, escape(value))
    out().print(table)


def _lines(summary: ModelSummary) -> list[tuple[str, str]]:
    """Return names and values, without those that the file does not know."""
    from fastnn.model import OUTPUT_WORDS

    model, card = summary.model, summary.model.card
    layers = [(text, summary.layers.count(text)) for text in dict.fromkeys(summary.layers)]
    networks = "; ".join(text if n == 1 else f"{n} networks of {text}" for text, n in layers)
    lines: list[tuple[str, str | None]] = [
        ("model", summary.path),
        ("size", f"{summary.size:,} bytes, {summary.n_parameters:,} parameters"),
        ("layers", networks),
        ("rule", model.network.rule),
        ("takes", _inputs_text(summary)),
        (OUTPUT_WORDS[model.task], _few(model.names)),
        ("recipe", None if card.recipe is None else f"{card.recipe.name}, seed {card.recipe.seed}"),
        ("epochs", None if card.epochs is None else f"{card.epochs:,}"),
    ]
    if card.data is not None:
        counts = [f"{n:,} to {what} on" for n, what in ((card.data.n_train, "train"), (card.data.n_test, "test")) if n]
        lines.append(("data", " ".join([card.data.description, f"({', '.join(counts)})" if counts else ""]).strip()))
        lines.append(("data hash", card.data.hash))
    if card.metrics:
        lines.append(
            ("scores", ", ".join(f"{name.replace('_', ' ')} {card.metrics[name]:.4g}" for name in card.metrics))
        )
    if model.task == "classification":
        smoothing = None if card.calibration is None else card.calibration.label_smoothing
        calibrated = "no" if smoothing is None else f"label smoothing {smoothing:g} is undone"
        lines.append(("calibrated", calibrated))
    if card.start is not None:
        lines.append(("started from", card.start.source or card.start.sha256))
    if card.original is not None:
        lines.append(("imported from", card.original.file))
    lines += [("fastnn", card.version), ("weights hash", model.sha256())]
    return [(name, value) for name, value in lines if value is not None]


def _inputs_text(summary: ModelSummary) -> str:
    """Return what the model takes, in words."""
    model = summary.model
    if model.takes == "images":
        ink = "0 is white" if model.invert else "1 is white"
        return f"images of {model.n_inputs:,} pixels{', normalised' if model.normalise else ''}; {ink} for the network"
    columns = "" if model.columns is None else f": {_few([column.name for column in model.columns])}"
    return f"rows of {model.n_inputs:,} numbers{', standardised' if model.scaling is not None else ''}{columns}"


def _few(names: tuple[str, ...] | list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f", ... ({len(names):,})" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
