"""Where data is looked for and kept: ``$FASTNN_DATA``, ``./data`` and the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from fastnn.errors import DataError


def cache_dir() -> Path:
    """Return the folder for downloads and cached arrays; ``$FASTNN_CACHE_DIR`` overrides it. It need not exist."""
    named = os.environ.get("FASTNN_CACHE_DIR")
    return Path(named) if named else Path(platformdirs.user_cache_dir("fastnn"))


def named_place() -> Path | None:
    """Return what ``$FASTNN_DATA`` names, or None where it is not set.

    Raises
    ------
    DataError
        If it names nothing that exists: a wrong path here should not quietly become a download.
    """
    named = os.environ.get("FASTNN_DATA")
    if not named:
        return None
    place = Path(named).expanduser()
    if not place.exists():
        raise DataError(f"FASTNN_DATA={named}: no such file or folder; correct or unset it")
    return place


def search_folders(name: str) -> list[Path]:
    """Return the folders in which the data set `name` is looked for, the first one first.

    Parameters
    ----------
    name : str
        ``digits`` or ``mnist``; a folder of that name within each place is searched too.
    """
    roots = [place for place in (named_place(), Path("data")) if place is not None]
    folders = [folder for root in roots for folder in (root, root / name)]
    return [*folders, cache_dir() / name]
