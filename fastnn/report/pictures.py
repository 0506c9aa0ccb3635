"""Pictures of a report; the only file that imports matplotlib."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import SIDE
from fastnn.errors import MissingExtraError
from fastnn.evaluation.classification import Evaluation
from fastnn.evaluation.intervals import wilson_interval
from fastnn.evaluation.regression import RegressionEvaluation
from fastnn.images.sheets import DARK as SHEET_DARK
from fastnn.images.sheets import LIGHT as SHEET_LIGHT
from fastnn.images.sheets import Colours, sheet
from fastnn.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL import Image

    from fastnn.report.content import Content

MAX_CLASSES = 60
"""Confusion matrices of more classes are not drawn. Those of more than 25 are drawn without numbers."""
_MAX_UNITS = 60
_MAX_TARGETS = 9
_DPI = 160


@dataclass(frozen=True)
class Theme:
    """Colours of the pictures, light or dark.

    Attributes
    ----------
    suffix : str
        End of the file names, before ``.png``.
    background, text, faint, grid : str
    first, second : str
        Lines and bars; people with colour blindness can tell the two apart.
    correct, wrong : tuple of int
        RGB of a cell of the confusion matrix that holds all images of a class.
    weights : tuple of str
        Colours of the most negative weight, of 0, and of the most positive weight.
    sheet : Colours
        Colours of picture sheets.
    """

    suffix: str
    background: str
    text: str
    faint: str
    grid: str
    first: str
    second: str
    correct: tuple[int, int, int]
    wrong: tuple[int, int, int]
    weights: tuple[str, str, str]
    sheet: Colours


LIGHT = Theme(
    "", "#ffffff", "#1c2733", "#5d6b7a", "#dde3e9", "#1864ab", "#c2560b", (24, 100, 171), (194, 60, 11),
    ("#c2560b", "#ffffff", "#1864ab"), SHEET_LIGHT,
)  # fmt: skip
DARK = Theme(
    "-dark", "#14191f", "#e6ebf0", "#98a5b3", "#2c3540", "#5aa9f2", "#f59f52", (90, 169, 242), (245, 130, 82),
    ("#f59f52", "#14191f", "#5aa9f2"), SHEET_DARK,
)  # fmt: skip


def need_matplotlib() -> None:
    """Raise MissingExtraError if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401 - to see whether it is installed
    except ImportError as error:
        raise MissingExtraError("a report", "plot") from error


def draw(content: Content, picture: str, folder: Path) -> bool:
    """Write a picture in light and dark colours; return False, and write nothing, if there is nothing to draw."""
    for theme in (LIGHT, DARK):
        with atomic_write(folder / f"{picture}{theme.suffix}.png") as file:
            image = _PAINTERS[picture](content, theme)
            if image is None:
                break
            if picture in ("mistakes", "weights"):
                image.save(file, format="PNG", optimize=True)
            else:
                image.savefig(file, format="png", dpi=_DPI, facecolor=theme.background)
    else:
        return True
    (folder / f"{picture}{LIGHT.suffix}.png").unlink(missing_ok=True)
    return False


def _figure(
    width: float, height: float, theme: Theme, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """Return a figure and a 2-d array of its axes; without pyplot, which keeps figures alive and may need a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=theme.background, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat:
        axis.set_facecolor(theme.background)
        axis.tick_params(colors=theme.faint, labelcolor=theme.text, labelsize=9)
        for side, spine in axis.spines.items():
            spine.set_color(theme.grid)
            spine.set_visible(side in ("left", "bottom"))
    return figure, axes


def _label(axes: Axes, theme: Theme, *, x: str = "", y: str = "", title: str = "") -> None:
    axes.set_xlabel(x, color=theme.faint, fontsize=9.5)
    axes.set_ylabel(y, color=theme.faint, fontsize=9.5)
    if title:
        axes.set_title(title, color=theme.text, fontsize=10.5, loc="left")


def _plain(name: str, limit: int = 12) -> str:
    """Return a class name for matplotlib: shortened, and escaped so that it is not read as a formula."""
    short = name if len(name) <= limit else f"{name[: limit - 1]}…"
    return short.replace("\\", "\\\\").replace("$", r"\$")


def _confusion(content: Content, theme: Theme) -> Figure | None:
    evaluation, classes = content.evaluation, content.model.names
    k = len(classes)
    if not isinstance(evaluation, Evaluation) or k > MAX_CLASSES:
        return None
    confusion = evaluation.confusion
    strength = np.sqrt(confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1))
    background = _rgb(theme.background)
    target = np.where(np.eye(k, dtype=bool)[:, :, None], np.asarray(theme.correct), np.asarray(theme.wrong))
    cells = (background + strength[:, :, None] * (target - background)) / 255
    side = 5.0 + max(0, k - 10) * 0.22
    figure, axes = _figure(side + 0.5, side, theme)
    axis = axes[0, 0]
    axis.imshow(cells, interpolation="nearest")
    names = [_plain(name) for name in classes]
    axis.set_xticks(range(k), names, rotation=90 if max(map(len, names)) > 3 else 0)
    axis.set_yticks(range(k), names)
    axis.tick_params(length=0)
    for line in np.arange(k + 1) - 0.5:
        axis.axhline(line, color=theme.grid, linewidth=0.6)
        axis.axvline(line, color=theme.grid, linewidth=0.6)
    for spine in axis.spines.values():
        spine.set_visible(False)
    for row, column in zip(*np.nonzero(confusion), strict=True):
        if k <= 25:
            colour = theme.background if strength[row, column] > 0.6 else theme.text
            axis.text(
                column, row, f"{confusion[row, column]:,}",
                ha="center", va="center", fontsize=8.5 if k <= 12 else 6, color=colour,
            )  # fmt: skip
    _label(axis, theme, x="prediction", y="label")
    return figure


def _history(content: Content, theme: Theme) -> Figure | None:
    history = content.history
    if history is None:
        return None
    from matplotlib.ticker import PercentFormatter

    figure, axes = _figure(9.2, 3.5, theme, 1, 2)
    score = "R2" if isinstance(content.evaluation, RegressionEvaluation) else "accuracy"
    for axis, key, title in zip(axes[0], ("accuracy", "loss"), (score, "loss"), strict=True):
        for column, name, colour in (
            (key, "training", theme.second),
            (f"validation_{key}", "validation", theme.faint),
            (f"test_{key}", "test", theme.first),
        ):
            values = history[column]
            known = np.isfinite(values)
            if not known.any():
                continue
            dot = "o" if known.sum() <= 12 else None
            epochs = history["epoch"][known]
            last = f"{values[known][-1]:.2%}" if title == "accuracy" else f"{values[known][-1]:.4g}"
            axis.plot(
                epochs, values[known], color=colour, linewidth=1.8, marker=dot, markersize=3.5, label=f"{name}, {last}"
            )
        axis.grid(color=theme.grid, linewidth=0.7)
        axis.set_axisbelow(True)
        _label(axis, theme, x="epoch", title=title)
        axis.legend(frameon=False, fontsize=9, labelcolor=theme.text)
        axis.xaxis.get_major_locator().set_params(integer=True)
    if score == "accuracy":
        axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def _mistakes(content: Content, theme: Theme) -> Any:
    worst = content.worst
    if len(worst) == 0:
        return None
    names, labels, probabilities = content.model.names, content.dataset.labels[worst], content.worst_outputs
    predicted = probabilities.argmax(axis=1)
    captions = [
        (f"{names[label]}, read as {names[prediction]}", f"probability {row[prediction]:.1%}")
        for label, prediction, row in zip(labels.tolist(), predicted.tolist(), probabilities, strict=True)
    ]
    return sheet(content.dataset.images[worst], captions, columns=10, colours=theme.sheet)


def _weights(content: Content, theme: Theme) -> Image.Image:
    from PIL import Image

    weights = content.model.network.weights[0].astype(np.float64)
    # The sign of the effect of ink: if paper is 1, ink on a pixel with a negative weight raises the pre-activation.
    signed = weights if content.model.invert else -weights
    shown = np.argsort(-np.mean(signed * signed, axis=0), kind="stable")[:_MAX_UNITS]
    signed = signed[:, shown].T
    # The quantile ignores a few pixels at the border, which keep large initial weights; others would look pale.
    scale = np.maximum(np.quantile(np.abs(signed), 0.99, axis=1, keepdims=True), 1e-30)
    levels = np.clip(signed / scale, -1, 1)[:, :, None]
    low, middle, high = (_rgb(colour) for colour in theme.weights)
    tiles = middle + np.where(levels < 0, -levels * (low - middle), levels * (high - middle))
    tiles = np.rint(tiles).astype(np.uint8).reshape(len(shown), SIDE, SIDE, 3).repeat(3, axis=1).repeat(3, axis=2)
    columns, step = min(12, len(shown)), 3 * SIDE + 8
    rows = math.ceil(len(shown) / columns)
    picture = Image.new("RGB", (columns * step + 8, rows * step + 8), theme.background)
    for i, tile in enumerate(tiles):
        picture.paste(Image.fromarray(tile), (8 + i % columns * step, 8 + i // columns * step))
    return picture


def _rgb(colour: str) -> NDArray[np.float64]:
    """Return the colour #rrggbb as three numbers from 0 to 255."""
    return np.asarray([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float64)


def _calibration(content: Content, theme: Theme) -> Figure | None:
    from matplotlib.ticker import StrMethodFormatter

    curve = content.reliability
    if curve is None:
        return None
    filled = curve.counts > 0
    figure, axes = _figure(5.6, 5.6, theme, 2, 1, sharex=True, height_ratios=(3, 1))
    upper, lower = axes[:, 0]
    widths = np.diff(curve.edges)
    low_high = np.asarray(
        [
            wilson_interval(round(accuracy * count), count)
            for accuracy, count in zip(curve.accuracy[filled], curve.counts[filled].tolist(), strict=True)
        ]
    )
    upper.plot((0, 1), (0, 1), color=theme.faint, linewidth=1, linestyle="--", label="perfect calibration")
    x, y = curve.confidence[filled], curve.accuracy[filled]
    errors = np.maximum(np.abs(low_high.T - y), 0)
    upper.errorbar(
        x, y, yerr=errors, color=theme.first, linewidth=1.8, elinewidth=1.1, marker="o", markersize=5,
        label="this model, with 95 % intervals",
    )  # fmt: skip
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1.02)
    upper.grid(color=theme.grid, linewidth=0.7)
    upper.legend(frameon=False, fontsize=9, labelcolor=theme.text, loc="upper left")
    _label(upper, theme, y="accuracy", title=f"expected calibration error {curve.ece:.2%}")
    lower.bar(curve.edges[:-1], curve.counts, widths * 0.94, align="edge", color=theme.first)
    lower.set_yscale("symlog", linthresh=10)
    lower.set_ylim(bottom=0)
    lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    lower.grid(color=theme.grid, linewidth=0.7, axis="y")
    lower.set_axisbelow(True)
    _label(lower, theme, x="highest probability (confidence)", y=content.samples)
    return figure


def _predicted(content: Content, theme: Theme) -> Figure:
    """Draw predictions by true values, one field for each target."""
    names = content.model.names[:_MAX_TARGETS]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    side = 5.6 if len(names) == 1 else 3.6
    figure, axes = _figure(side * columns, side * rows, theme, rows, columns)
    shown = content.shown
    for axis, (k, name) in zip(axes.flat, enumerate(names), strict=False):
        true, predicted = content.dataset.targets[shown, k], content.shown_outputs[:, k]
        ends = min(true.min(), predicted.min()), max(true.max(), predicted.max())
        axis.plot(ends, ends, color=theme.faint, linewidth=1, linestyle="--")
        strong = 0.8 if len(shown) <= 200 else 0.35
        axis.scatter(true, predicted, s=9, color=theme.first, alpha=strong, linewidths=0)
        axis.grid(color=theme.grid, linewidth=0.7)
        axis.set_axisbelow(True)
        _label(axis, theme, x="true value", y="prediction", title=_plain(name, 40))
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    return figure


_PAINTERS: dict[str, Callable[[Content, Theme], Any]] = {
    "confusion": _confusion,
    "history": _history,
    "mistakes": _mistakes,
    "weights": _weights,
    "reliability": _calibration,
    "predicted": _predicted,
}

PICTURES = tuple(_PAINTERS)
"""Names of all pictures that a report may have."""
