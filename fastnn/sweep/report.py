"""The page of a study: the best trials, importance, parallel coordinates and Pareto front, as one HTML file."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

from fastnn.errors import FastnnError, cannot_write
from fastnn.storage import atomic_write
from fastnn.sweep.options import shown_source
from fastnn.sweep.study import STATES, read_study

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastnn.sweep.study import Found

_WIDTH, _HEIGHT, _MARGIN = 900, 320, 56
_MOST_POINTS, _MOST_LINES, _MOST_ROWS = 5_000, 400, 25
_TITLES = {"accuracy": "accuracy", "time": "seconds to the accuracy", "size": "weights and biases"}

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1c2733; --faint: #5d6b7a; --line: #dde3e9;
  --main: #1f6fb2; --best: #c2410c; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14191f; --text: #e6ebf0; --faint: #98a5b3; --line: #2c3540; --main: #62aee8; --best: #fb923c; }
}
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 0; }
p { color: var(--faint); margin: .25rem 0 .75rem; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--faint); } svg line, svg .axis { stroke: var(--line); }
svg .point { fill: var(--main); fill-opacity: .6; } svg .best { fill: var(--best); fill-opacity: 1; }
svg .path { fill: none; stroke: var(--main); stroke-opacity: .25; }
svg .front { fill: none; stroke: var(--best); stroke-width: 2; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid var(--line); font-weight: normal; }
th { color: var(--faint); }
"""


def write_report(source: str, name: str, path: Path) -> int:
    """Write the page of a study; return the number of its trials.

    Parameters
    ----------
    source, name : str
        The study's journal or database, and its name there.
    path : Path
        The page; an existing file is replaced.

    Raises
    ------
    FastnnError
        If the study cannot be read, no trial of it is complete, or the page cannot be written.
    """
    spec, trials, importance = read_study(source, name)
    objectives = [str(one) for one in spec["objectives"]]
    done = [one for one in trials if len(one.values) == len(objectives) and all(map(math.isfinite, one.values))]
    if not done:
        raise FastnnError(f"{shown_source(source)}: no trial is complete; there is nothing to report")
    content = _page(shown_source(source), objectives, trials, done, importance)
    try:
        with atomic_write(path) as file:
            file.write(content.encode(errors="backslashreplace"))
    except OSError as error:
        raise cannot_write(path, error) from None
    return len(trials)


def _page(
    source: str,
    objectives: list[str],
    trials: Sequence[Found],
    done: list[Found],
    importance: dict[str, float] | None,
) -> str:
    ranked = sorted(done, key=lambda one: (_cost(objectives[0], one.values[0]), one.number))
    counts = {state: sum(one.state == state for one in trials) for state in STATES}
    said = ", ".join(f"{number:,} {state}" for state, number in counts.items() if number)
    sections = [
        _section("Trials", "Each trial by its number; the line is the best so far.", _history(objectives, done))
    ]
    if len(objectives) > 1:
        front = pareto_front(objectives, done)
        text = f"No trial is better than one of these {len(front)} in both objectives."
        sections.append(_section("Pareto front", text, _scatter(objectives, done, front)))
    if importance:
        text = f"Share of the variation of {objectives[0]} that each value explains (PED-ANOVA)."
        sections.append(_section("Importance", text, _bars(importance)))
    names = list(dict.fromkeys(key for one in done for key in one.params))
    shown = ranked[:_MOST_LINES]
    text = "A line is a trial; the best tenth is marked."
    if len(shown) < len(ranked):
        text += f" The best {_MOST_LINES} of {len(ranked):,} trials."
    sections.append(_section("Parallel coordinates", text, _parallel(objectives, names, shown)))
    sections.append(_section("Best trials", "", _best_table(objectives, names, ranked[:_MOST_ROWS])))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(source)} - fastnn sweep</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(source)}</h1>
<p>{escape(said)}; objective: {escape(" and ".join(_TITLES.get(one, one) for one in objectives))}</p>
{"".join(sections)}
</body>
</html>
"""


def pareto_front(objectives: Sequence[str], trials: Sequence[Found]) -> list[Found]:
    """Return the trials that no other one beats in both objectives, in the order of the first one."""
    costs = {one.number: tuple(map(_cost, objectives, one.values)) for one in trials}
    front, least = [], math.inf
    for one in sorted(trials, key=lambda one: (*costs[one.number], one.number)):
        if costs[one.number][-1] < least:
            least = costs[one.number][-1]
            front.append(one)
    return front


def _cost(objective: str, value: float) -> float:
    return -value if objective == "accuracy" else value


def _section(title: str, text: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n<p>{escape(text)}</p>\n<div class=wide>{content}</div>\n"


def _svg(label: str, content: str, height: int = _HEIGHT, width: int = _WIDTH) -> str:
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}">{content}</svg>'
    )


class _Axis:
    """Where values are along an axis: numbers, on a logarithmic scale if they differ by more than a factor of 100."""

    def __init__(self, values: Sequence[Any], begin: float, end: float) -> None:
        self._begin, self._end = begin, end
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        self._texts = [] if len(numbers) == len(values) else sorted({str(value) for value in values})
        low, high = (min(numbers), max(numbers)) if numbers and not self._texts else (0, max(1, len(self._texts) - 1))
        self.is_log = not self._texts and low > 0 and high / low > 100
        self.low, self.high = low, high

    def __call__(self, value: Any) -> float:
        """Return the place of a value."""
        share = 0.5
        if self._texts:
            share = self._texts.index(str(value)) / max(1, len(self._texts) - 1)
        elif self.high > self.low:
            low, high, at = (math.log(one) if self.is_log else one for one in (self.low, self.high, value))
            share = (at - low) / (high - low)
        return round(self._begin + share * (self._end - self._begin), 1)

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Places and texts of marks."""
        if self._texts:
            return [(self(text), text) for text in self._texts[:12]]
        middle = math.sqrt(self.low * self.high) if self.is_log else (self.low + self.high) / 2
        if isinstance(self.low, int) and isinstance(self.high, int):
            middle = round(middle)
        return [(self(value), _text(float(value))) for value in dict.fromkeys((self.low, middle, self.high))]


def _frame(x: _Axis, y: _Axis, x_name: str, y_name: str) -> str:
    bottom, parts = _HEIGHT - _MARGIN, []
    for at, text in y.marks:
        parts.append(f'<line x1="{_MARGIN}" x2="{_WIDTH - 12}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{_MARGIN - 6}" y="{at + 4}" text-anchor="end">{escape(text)}</text>')
    for at, text in x.marks:
        anchor = "end" if at > _WIDTH - 40 else "middle"
        parts.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="{anchor}">{escape(text)}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">{escape(x_name)}</text>')
    parts.append(f'<text x="4" y="12">{escape(y_name)}</text>')
    return "".join(parts)


def _points(places: Sequence[tuple[float, float, str]], kind: str) -> str:
    return "".join(
        f'<circle class="{kind}" cx="{x}" cy="{y}" r="3.5"><title>{escape(text)}</title></circle>'
        for x, y, text in places
    )


def _history(objectives: list[str], done: list[Found]) -> str:
    some = sorted(done, key=lambda one: one.number)
    x = _Axis([one.number for one in some], _MARGIN, _WIDTH - 12)
    x.is_log = False
    y = _Axis([one.values[0] for one in some], _HEIGHT - _MARGIN, 20)
    steps: list[str] = []
    best = math.inf
    for one in some:
        if _cost(objectives[0], one.values[0]) < best:
            if steps:
                steps.append(f"L{x(one.number)} {steps[-1].split()[-1]}")
            best = _cost(objectives[0], one.values[0])
            steps.append(f"{'L' if steps else 'M'}{x(one.number)} {y(one.values[0])}")
    steps.append(f"L{_WIDTH - 12} {steps[-1].split()[-1]}")
    # Every k-th of too many.
    every = -(-len(some) // _MOST_POINTS)
    places = [(x(one.number), y(one.values[0]), _about(objectives, one)) for one in some[::every]]
    front = f'<path class="front" d="{"".join(steps)}"/>'
    frame = _frame(x, y, "trial", _TITLES.get(objectives[0], objectives[0]))
    return _svg("Objective by trial", frame + _points(places, "point") + front)


def _scatter(objectives: list[str], done: list[Found], front: list[Found]) -> str:
    x = _Axis([one.values[1] for one in done], _MARGIN, _WIDTH - 12)
    y = _Axis([one.values[0] for one in done], _HEIGHT - _MARGIN, 20)

    def places(found: Sequence[Found]) -> list[tuple[float, float, str]]:
        return [(x(one.values[1]), y(one.values[0]), _about(objectives, one)) for one in found]

    names = [_TITLES.get(one, one) for one in objectives]
    line = " ".join(f"{at_x},{at_y}" for at_x, at_y, _ in places(front))
    every = -(-len(done) // _MOST_POINTS)
    return _svg(
        "Pareto front",
        _frame(x, y, names[1], names[0])
        + _points(places(done[::every]), "point")
        + f'<polyline class="front" points="{line}"/>'
        + _points(places(front), "best"),
    )


def _bars(importance: dict[str, float]) -> str:
    ranked = sorted(importance.items(), key=lambda item: -item[1])
    most, parts = max(1e-12, *importance.values()), []
    for row, (name, value) in enumerate(ranked):
        y = 8 + 26 * row
        width = round(max(0.0, value) / most * (_WIDTH - 300), 1)
        parts.append(f'<text x="190" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="point" x="200" y="{y}" width="{width}" height="18"/>')
        parts.append(f'<text x="{206 + width}" y="{y + 13}">{value:.1%}</text>')
    return _svg("Importance of each value", "".join(parts), 16 + 26 * len(ranked))


def _parallel(objectives: list[str], names: list[str], ranked: list[Found]) -> str:
    columns = [*names, *objectives]
    width = max(_WIDTH, 110 * len(columns))
    top, bottom = 36, _HEIGHT - 20

    def value(one: Found, position: int) -> Any:
        if position < len(names):
            return one.params.get(names[position], "-")
        return one.values[position - len(names)]

    axes = [_Axis([value(one, k) for one in ranked], bottom, top) for k in range(len(columns))]
    at = [round(60 + k * (width - 120) / max(1, len(columns) - 1), 1) for k in range(len(columns))]
    lines, parts = [], []
    for rank, one in enumerate(ranked):
        points = " ".join(f"{at[k]},{axes[k](value(one, k))}" for k in range(len(columns)))
        kind = "front" if rank < max(1, len(ranked) // 10) else "path"
        lines.append(f'<polyline class="{kind}" points="{points}"><title>{_title(objectives, one)}</title></polyline>')
    for k, name in enumerate(columns):
        parts.append(f'<line x1="{at[k]}" x2="{at[k]}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text x="{at[k]}" y="16" text-anchor="middle">{escape(name[:18])}</text>')
        for y, text in axes[k].marks:
            parts.append(f'<text x="{at[k] + 4}" y="{y + 4}">{escape(text[:14])}</text>')
    # The best ones on top.
    return _svg("Parallel coordinates", "".join((*lines[::-1], *parts)), width=width)


def _title(objectives: list[str], one: Found) -> str:
    return escape(_about(objectives, one))


def _about(objectives: list[str], one: Found) -> str:
    values = ", ".join(f"{name} {value:.5g}" for name, value in zip(objectives, one.values, strict=True))
    params = ", ".join(f"{name} {_text(value)}" for name, value in one.params.items())
    return f"trial {one.number}: {values}; {params}"


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _best_table(objectives: list[str], names: list[str], ranked: list[Found]) -> str:
    header = "".join(f"<th>{escape(name)}</th>" for name in ("trial", *objectives, *names))
    rows = []
    for one in ranked:
        cells = [str(one.number), *(f"{value:.5g}" for value in one.values)]
        cells += [_text(one.params.get(name, "")) for name in names]
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table><thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
