"""The settings that a teacher changes while the server runs; the database keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from fastnn.datasets.schema import insert_new, settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

OPEN, SHOWS_PENDING = "collecting", "shows_pending"
DEFAULTS = {OPEN: True, SHOWS_PENDING: False}


class ClosedError(Exception):
    """Collecting is closed."""


def read_settings(connection: Connection) -> dict[str, bool]:
    """Return whether drawings are taken and whether unreviewed ones are shown: ``collecting, shows_pending``."""
    rows = connection.execute(sa.select(settings.c.name, settings.c.value))
    return {**DEFAULTS, **{name: bool(value) for name, value in rows if name in DEFAULTS}}


def write_setting(connection: Connection, name: str, value: bool) -> None:
    """Store a setting in a transaction that writes."""
    insert_new(connection, settings, [{"name": name, "value": value}], settings.c.name)
    connection.execute(sa.update(settings).where(settings.c.name == name).values(value=value))
