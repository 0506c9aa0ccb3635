"""Puts generated tables into the README, between markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def insert(text: str, table: str, name: str) -> str:
    """Put a table between the markers of this name; at the end where there are none."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    block = f"{start}\n{table}\n{end}"
    if start in text and end in text:
        head, rest = text.split(start, 1)
        return head + block + rest.split(end, 1)[1]
    return f"{text.rstrip()}\n\n{block}\n"


def show(table: str, name: str, readme: Path | None) -> None:
    """Put a table into a file, or print it where none is named."""
    if readme is None:
        print(table)
    else:
        readme.write_text(insert(readme.read_text(encoding="utf-8"), table, name), encoding="utf-8")
