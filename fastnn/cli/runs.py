"""``fastnn runs``: a table of the runs below a folder."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from fastnn.cli._console import can_encode, command, note, out, print_json
from fastnn.progress import score_text
from fastnn.storage import user_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastnn.model_summary import RunSummary

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "._-=+*%#"
_WIDTH = 12
"""Characters of a curve."""
_WIDE = 100
"""Columns of a window that shows the whole table."""

_KEYS: dict[str, Callable[[RunSummary], tuple[bool, float | str]]] = {
    "name": lambda run: (False, run.run),
    "score": lambda run: (run.score is None, -(run.score or 0.0)),
    "newest": lambda run: (False, -run.modified),
    "epochs": lambda run: (run.epochs is None, -(run.epochs or 0)),
    "time": lambda run: (run.seconds is None, run.seconds or 0.0),
    "size": lambda run: (False, run.size),
}
"""What the runs are sorted by: unknown values last, the best, newest, longest, fastest or smallest first."""


@command
def runs(
    folder: Annotated[
        str, typer.Argument(help="The folder that holds the runs, at any depth.", metavar="FOLDER")
    ] = "runs",
    sort: Annotated[
        Literal["name", "score", "newest", "epochs", "time", "size"],
        typer.Option(help="Order: by name, the best score, the newest, the most epochs, the least time or size first."),
    ] = "name",
    reverse: Annotated[bool, typer.Option("--reverse", help="Reverse the order.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """List the runs below a folder, with the curve of each one's test score."""
    from fastnn.model_summary import find_runs

    found, faults = find_runs(folder)
    ordered = sorted(found, key=_KEYS[sort], reverse=reverse)
    if as_json:
        print_json({"folder": folder, "runs": [run.as_dict() for run in ordered], "errors": faults})
        return
    for fault in faults:
        note(f"left out: {fault}")
    if not ordered:
        note(f"{folder}: no runs in it; fastnn train --out {folder}/NAME makes one")
        return
    console = out()
    bars = _BARS if can_encode(console, _BARS) else _ASCII_BARS
    wide = console.width >= _WIDE
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, is_text, needs_width in _COLUMNS:
        if wide or not needs_width:
            layout: dict[str, Any] = {"overflow": "fold"} if is_text else {"justify": "right", "no_wrap": True}
            table.add_column(name, **layout)
    for run in ordered:
        cells = zip(_cells(run, folder, bars), _COLUMNS, strict=True)
        table.add_row(*(escape(cell) for cell, (_, _, needs_width) in cells if wide or not needs_width))
    console.print(table)


_COLUMNS = (
    ("run", True, False),
    ("recipe", True, False),
    ("layers", True, False),
    ("data", True, True),
    ("epochs", True, False),
    ("seed", False, True),
    ("score", False, False),
    ("curve", False, False),
    ("training", False, False),
    ("size", False, True),
    ("written", False, True),
)
"""Name of each column, whether it is folded where it is too long, and whether only wide windows show it."""


def _cells(run: RunSummary, folder: str, bars: str) -> list[str]:
    epochs = "?" if run.epochs is None else f"{run.epochs:,}"
    return [
        os.path.relpath(run.run, user_path(folder)),
        run.recipe,
        run.layers,
        run.data,
        epochs if run.finished else f"{epochs}, not finished",
        "?" if run.seed is None else str(run.seed),
        "?" if run.score is None else score_text(run.score, run.task),
        sparkline(run.curve, bars),
        "?" if run.seconds is None else f"{run.seconds:.1f} s",
        f"{run.size / 1e6:.1f} MB",
        time.strftime("%Y-%m-%d", time.localtime(run.modified)),
    ]


def sparkline(values: Sequence[float], bars: str = _BARS, width: int = _WIDTH) -> str:
    """Return a curve as a line of characters, from the lowest to the highest value; the last of each part of it."""
    if not values:
        return ""
    n = min(width, len(values))
    shown = [values[(k + 1) * len(values) // n - 1] for k in range(n)]
    low, high = min(shown), max(shown)
    span = high - low or 1.0
    return "".join(bars[min(len(bars) - 1, int((value - low) / span * len(bars)))] for value in shown)
