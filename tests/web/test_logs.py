import json
import logging

import pytest

from fastnn.web.logs import JsonLinesFormatter, json_line


def formatted(message: str) -> dict[str, object]:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "%s", (message,), None)
    line = JsonLinesFormatter().format(record)
    assert "\n" not in line
    found: dict[str, object] = json.loads(line)
    assert found.pop("level") == "info"
    assert str(found.pop("time")).endswith("Z")
    return found


def test_an_event_keeps_its_values() -> None:
    assert formatted(json_line("request", status=200)) == {"event": "request", "status": 200}


@pytest.mark.parametrize("text", ["Started", "", "{", "{not json", "[1]", "two\nlines", "{" * 100_000])
def test_text_of_another_library_becomes_a_note(text: str) -> None:
    assert formatted(text) == {"event": "note", "text": text}
