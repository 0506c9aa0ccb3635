"""``fastnn data``: get, look at and convert data sets."""

from __future__ import annotations

import typer

app = typer.Typer(help="Get, look at and convert data sets.", no_args_is_help=True)
