"""The web app's log: one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from typing import Any

logger = logging.getLogger("fastnn.web")


def log(event: str, **values: Any) -> None:
    """Log an event with its values, which must be JSON types."""
    logger.info(json_line(event, **values))


def json_line(event: str, **values: Any) -> str:
    """Return an event as a line of JSON."""
    return json.dumps({"event": event, **values})


class JsonLinesFormatter(logging.Formatter):
    """Formats log records as JSON objects, one a line; plain text becomes the event "note"."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with the time in UTC and the level added."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        message = record.getMessage()
        values = _values(message)
        line = {"time": stamp, "level": record.levelname.lower(), **values}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _values(message: str) -> dict[str, Any]:
    """Return the values of a line of JSON, or those of an event "note" with the text that another library logged."""
    with contextlib.suppress(ValueError, RecursionError):
        values = json.loads(message)
        if isinstance(values, dict):
            return values
    return {"event": "note", "text": message}
