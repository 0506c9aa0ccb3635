"""From the suite's JSON to tables and a chart: ``python -m benchmarks.report [RESULTS.json]``.

Writes benchmarks/training.svg, and the tables between the markers in benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from benchmarks.implementations import BY_KEY, NAIVE, OURS
from benchmarks.page import add_page_option, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

HERE = Path(__file__).parent
CHART = HERE / "training.svg"
RESULTS = HERE / "results" / "latest.json"

Row = tuple[str, ...]


def duration(microseconds: float) -> str:
    """Return a time in a suitable unit, with three digits."""
    for unit, size in (("µs", 1.0), ("ms", 1e3)):
        if microseconds < 1000 * size:
            return f"{three_digits(microseconds / size)} {unit}"
    return f"{three_digits(microseconds / 1e6)} s"


def three_digits(value: float) -> str:
    """Return a positive number with three significant digits, or all digits before the point if there are more."""
    decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{decimals}f}"


def training_rows(entries: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    """Return header and rows of the training table, fastest first."""
    best = {entry["key"]: entry["best_us"] for entry in entries}
    header = (
        "implementation",
        "dtype",
        "best",
        "median",
        "digits/s",
        "× naive",
        "time relative to fastnn",
        "first use",
    )
    rows = []
    for entry in sorted(entries, key=lambda entry: entry["best_us"]):
        time = entry["best_us"]
        rows.append(
            (
                entry["name"],
                entry["dtype"],
                duration(time),
                duration(entry["median_us"]),
                f"{1e6 / time:,.0f}",
                three_digits(best[NAIVE] / time) if NAIVE in best else "",
                three_digits(time / best[OURS]) if OURS in best else "",
                f"{entry['first_use_s']:.1f} s",
            )
        )
    return header, rows


def other_rows(entries: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    """Return header and rows of any other group: times, and ratios to the first entry of the group."""
    first = entries[0]["best_us"]
    rows = []
    for entry in entries:
        best, median = entry["best_us"], entry["median_us"]
        rows.append((entry["name"], duration(best), duration(median), three_digits(best / first)))
    return ("", "best", "median", f"× {entries[0]['name']}"), rows


def titled(record: dict[str, Any]) -> Iterator[tuple[str, Row, list[Row]]]:
    """Yield title, header and rows of each group, training first."""
    for group, entries in sorted(record["groups"].items(), key=lambda item: item[0] != "training"):
        if group == "training":
            title = "Training 784-200-40-10 by the original rule, one digit at a time; times are for one digit"
            yield title, *training_rows(entries)
        else:
            title = group if group.startswith("fastnn") else group[:1].upper() + group[1:]
            yield title, *other_rows(entries)


def setting(record: dict[str, Any]) -> str:
    """Return one line about date, machine, versions and training data."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"Measured {record['date']} on one core of {machine['cpu']}, Python {machine['python']}, "
        f"{machine['compiler']}; {versions}. Training data: {record.get('training', 'not timed')}."
    )


def tables(record: dict[str, Any]) -> list[Table | str]:
    """Return rich tables of all measurements, and what was skipped."""
    from rich.table import Table

    parts: list[Table | str] = []
    for title, header, rows in titled(record):
        table = Table(title=title, title_justify="left")
        for index, name in enumerate(header):
            table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row, style="bold" if row[0].startswith("fastnn") else "")
        parts.append(table)
    parts.append(setting(record))
    parts += [f"Skipped: {reason}" for reason in record["skipped"]]
    return parts


def markdown(record: dict[str, Any]) -> str:
    """Return the tables for RESULTS.md."""
    parts = []
    for title, header, rows in titled(record):
        lines = [f"**{title}**", "", "| " + " | ".join(header) + " |"]
        lines.append("|---|" + "---:|" * (len(header) - 1))
        for row in rows:
            cells = [f"**{cell}**" if row[0].startswith("fastnn") and cell else cell for cell in row]
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    parts.append(setting(record))
    parts += [f"Skipped: {reason}." for reason in record["skipped"]]
    return "\n\n".join(parts)


TITLE = "Digits a second in training, one at a time, on one core (784-200-40-10)"
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.axis { fill: #59636e; font-size: 11px }
.grid { stroke: #d1d9e0 } .bar { fill: #8c959f } .ours { fill: #0969da } .bound { fill: #eac54f }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .axis { fill: #9198a1 } .grid { stroke: #3d444d }
  .bar { fill: #656c76 } .ours { fill: #4493f8 } .bound { fill: #9e6a03 }
}
"""


def chart(record: dict[str, Any]) -> str:
    """Return an SVG bar chart of digits a second in training, on a logarithmic scale, fastest first."""
    entries = sorted(record["groups"]["training"], key=lambda entry: entry["best_us"])
    rates = [1e6 / entry["best_us"] for entry in entries]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))
    left, right, top, step, width = 390, 80, 60, 26, 960
    scale = (width - left - right) / max(1, high - low)
    height = top + step * len(entries) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="16" y="24">{TITLE}</text>',
    ]
    for power in range(low, high + 1):
        x = left + scale * (power - low)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 14}" y2="{height - 28}"/>')
        parts.append(f'<text class="axis" x="{x:.1f}" y="{height - 10}" text-anchor="middle">{10**power:,}</text>')
    for index, (entry, rate) in enumerate(zip(entries, rates, strict=True)):
        y = top + step * index
        length = scale * (math.log10(rate) - low)
        kind = "bar"
        if entry["key"].startswith(OURS):
            kind = "ours"
        elif entry["key"] in BY_KEY and BY_KEY[entry["key"]].rule is None:
            kind = "bound"
        name = escape(entry["name"])
        parts.append(f'<text x="{left - 10}" y="{y + 12}" text-anchor="end">{name}</text>')
        parts.append(f'<rect class="{kind}" x="{left}" y="{y}" width="{max(1.0, length):.1f}" height="16" rx="2"/>')
        parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 12}">{three_digits(rate)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main(arguments: list[str] | None = None) -> int:
    """Read the results; write the chart and the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    parser.add_argument("--chart", type=Path, default=CHART, help=f"where the SVG goes (default: {CHART})")
    add_page_option(parser)
    options = parser.parse_args(arguments)
    try:
        record = json.loads(options.results.read_text())
        tables_of_record = markdown(record)
        drawing = chart(record) if "training" in record["groups"] else None
    except (OSError, ValueError, KeyError) as error:
        print(f"{options.results}: not results of the suite ({error})", file=sys.stderr)
        return 2
    if drawing is not None:
        options.chart.write_text(drawing)
        print(f"Written: {options.chart}")
    show(tables_of_record, "benchmarks", options.page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
