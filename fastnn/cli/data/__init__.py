"""``fastnn data``: download, inspect, clean and convert data sets."""

from fastnn.cli.data import clean, convert, fetch, import_, info, mosaic
from fastnn.cli.data._app import app

__all__ = ["app", "clean", "convert", "fetch", "import_", "info", "mosaic"]
