"""HTML tables for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def html_table(caption: str, rows: Iterable[Sequence[Any]], header: Sequence[str] = ()) -> str:
    """Return an HTML table; all text is escaped, since names may come from a file of anyone's.

    Parameters
    ----------
    caption : str
    rows : iterable of sequence
        The first cell of each row is its heading.
    header : sequence of str
        Headings of the columns, if any.
    """
    lines = [f"<table><caption>{escape(caption)}</caption>"]
    if header:
        lines.append(f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in header)}</tr>")
    for heading, *cells in rows:
        lines.append(
            f"<tr><th>{escape(str(heading))}</th>{''.join(f'<td>{escape(str(cell))}</td>' for cell in cells)}</tr>"
        )
    return "\n".join([*lines, "</table>"])
