"""``fastnn guide``: show a guide in the terminal."""

from __future__ import annotations

import sys
from importlib import resources
from typing import Annotated

import typer

from fastnn.cli._console import command, out
from fastnn.errors import FastnnError

GUIDES = ("start", "data", "tables", "estimators", "accuracy", "export", "scale", "speed", "kernels", "web")
"""Names of the guides, in the order to read them."""

_WIDEST = 100
"""Most columns of text: longer lines are hard to read."""


@command
def guide(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help=f"{', '.join(GUIDES)}; without a name, list the guides.")
    ] = None,
) -> None:
    """Show a guide: start, data, tables, estimators, accuracy, export, scale, speed, kernels or web.

    In a terminal the guide is formatted. In a pipe or a file it is the Markdown source.
    """
    if name is None:
        _list_guides()
    elif not sys.stdout.isatty():
        sys.stdout.write(read_guide(name))
    else:
        from rich.markdown import Markdown

        console = out()
        text = Markdown(read_guide(name), code_theme="ansi_light", inline_code_theme="ansi_light")
        console.print(text, width=min(console.width, _WIDEST))


def read_guide(name: str) -> str:
    """Return the Markdown source of a guide.

    Raises
    ------
    FastnnError
        If there is no guide of this name.
    """
    if name not in GUIDES:
        raise FastnnError(f"{name}: no such guide; choose one of {', '.join(GUIDES)}")
    return (resources.files("fastnn") / "guides" / f"{name}.md").read_text(encoding="utf-8")


def _list_guides() -> None:
    console, width = out(), max(map(len, GUIDES))
    for name in GUIDES:
        title = read_guide(name).partition("\n")[0].partition(": ")[2]
        console.print(f"[bold]{name:<{width}}[/bold]  {title}")
    console.print("Read one with: fastnn guide NAME")
