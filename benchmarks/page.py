"""Puts generated tables into benchmarks/RESULTS.md, between markers; figures there are never typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

Row = tuple[str, ...]
"""What was measured, and one figure or several."""

PAGE = Path(__file__).parent / "RESULTS.md"

PRINT_ONLY = Path("-")


def add_page_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--page FILE``, the file that gets the table."""
    parser.add_argument(
        "--page", type=Path, default=PAGE, help=f"file to write the table into; - only prints it (default: {PAGE})"
    )


def show(table: str, name: str, page: Path) -> None:
    """Write a table into a page, between the markers of this name; print it if the page is :data:`PRINT_ONLY`."""
    if page == PRINT_ONLY:
        print(table)
        return
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    page.write_text(insert(text, table, name), encoding="utf-8")
    print(f"Written: {name} in {page}")


def insert(text: str, table: str, name: str) -> str:
    """Return the text with a table between the markers of this name; at its end if it has none."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    block = f"{start}\n{table}\n{end}"
    if start in text and end in text:
        head, rest = text.split(start, 1)
        return head + block + rest.split(end, 1)[1]
    return f"{text.rstrip()}\n\n{block}\n".lstrip()


def as_table(rows: Sequence[Row], *names: str) -> str:
    """Return rows as a table, with a line about the machine and the date; `names` are those of the figures' columns."""
    names = names or ("measured",)
    lines = [("what", *names), ("---", *("---" for _ in names)), *rows]
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", environment.measured()])
