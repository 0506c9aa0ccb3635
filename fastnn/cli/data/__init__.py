"""``fastnn data``: get, look at and convert data sets."""

from fastnn.cli.data import convert, fetch, info, mosaic
from fastnn.cli.data._app import app

__all__ = ["app", "convert", "fetch", "info", "mosaic"]
