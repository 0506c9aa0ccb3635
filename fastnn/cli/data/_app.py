"""The ``fastnn data`` group, to which each file of this folder adds its command."""

from __future__ import annotations

import typer

app = typer.Typer(help="Get, look at, clean and convert data sets.", no_args_is_help=True)
