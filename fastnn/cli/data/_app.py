"""The command group ``fastnn data``; each file of this folder adds its command to it."""

from __future__ import annotations

import typer

app = typer.Typer(help="Download, inspect, clean and convert data sets.", no_args_is_help=True)
