"""The library that reads and writes Parquet and Arrow files; the only file that imports pyarrow."""

from __future__ import annotations

from typing import Any

from fastnn.errors import MissingExtraError


def pyarrow(source: str = "") -> Any:
    """Return pyarrow with its modules compute, csv, ipc and parquet.

    Raises
    ------
    MissingExtraError
        If it is not installed; the message begins with `source`, the file.
    """
    try:
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(f"{source}: reading Parquet or Arrow (or save it as CSV)", "tables") from None
    return pa
