"""The report on a model: pictures, and a page that shows them; the only file that imports matplotlib."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.errors import FastnnError, MissingExtraError, ModelError, cannot_write
from fastnn.evaluation.intervals import Reliability, reliability, wilson_interval
from fastnn.evaluation.metrics import Evaluation, classification, evaluate, match_labels
from fastnn.images.sheets import DARK as SHEET_DARK
from fastnn.images.sheets import LIGHT as SHEET_LIGHT
from fastnn.images.sheets import Colours, sheet
from fastnn.runs import read_history
from fastnn.storage import atomic_write, check_target, exchange, move_file, put_in_place, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL import Image

    from fastnn.datasets import Dataset
    from fastnn.model import Model

INDEX = "index.html"
_PICTURES = ("confusion", "history", "mistakes", "weights", "reliability")
_MAX_MISTAKES = 60
_MAX_UNITS = 60
_MAX_CLASSES = 60
"""Confusion matrices of more classes are not drawn. Those of more than 25 are drawn without numbers."""
_DPI = 160
_INCOMPLETE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>fastnn: not complete</title>
<p>This report is being written. If that was interrupted, run the command again with <code>--force</code>.</p>
</html>
"""


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


@dataclass(frozen=True, eq=False)
class _Content:
    """The data shown by a report."""

    model: Model
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    evaluation: Evaluation
    reliability: Reliability
    history: dict[str, NDArray[np.float64]] | None


def write_report(
    model: Model,
    dataset: Dataset,
    folder: str | Path,
    *,
    name: str = "model",
    part: str = "",
    history: str | Path | None = None,
    force: bool = False,
) -> Path:
    """Evaluate a model and write a page with pictures of the results.

    The folder gets ``index.html`` and PNG files, each in light and in dark colours; the page loads nothing from
    elsewhere.

    Parameters
    ----------
    model : Model
    dataset : Dataset
        The images to evaluate the model on.
    folder : path-like
        Created. It may exist only with `force`, and then keeps the other files in it.
    name, part : str
        Names of the model and the data on the page.
    history : path-like, optional
        The run's history.csv. Without it, or if it is incomplete, there are no learning curves.
    force : bool
        Replace an existing report.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FastnnError
        If the folder exists or cannot be written, or the data set has classes that the model does not know.
    MissingExtraError
        If matplotlib is not installed.
    """
    folder = Path(folder)
    check_folder(folder, force=force)
    _need_matplotlib()
    content = _measure(model, dataset, None if history is None else Path(history))
    try:
        _write(content, folder, name, part or dataset.source)
    except OSError as error:
        raise cannot_write(folder, error, words="the report cannot be written") from None
    return folder / INDEX


def check_folder(folder: Path, *, force: bool) -> None:
    """Raise the error that :func:`write_report` would raise for this folder, before any work is done.

    Raises
    ------
    FastnnError
        If it exists and `force` is not given, is a file, or its parent folder does not exist.
    """
    check_target(folder)
    if folder.exists() and not folder.is_dir():
        raise FastnnError(f"{folder}: is a file; give a folder for the report")
    if folder.exists() and not force:
        raise FastnnError(f"{folder}: exists already; give another folder, or replace the report in it with --force")


def _need_matplotlib() -> None:
    try:
        import matplotlib.figure  # noqa: F401 - to see whether it is installed
    except ImportError as error:
        raise MissingExtraError("a report", "plot") from error


def _measure(model: Model, dataset: Dataset, history: Path | None) -> _Content:
    evaluation = classification(evaluate(model, dataset))
    labels, probabilities = match_labels(dataset, model.classes), model.predict_proba(dataset.images)
    return _Content(
        model,
        dataset.images,
        labels,
        probabilities,
        evaluation,
        reliability(probabilities, labels),
        None if history is None else _learning_curves(history, model.card.epochs),
    )


def _write(content: _Content, folder: Path, name: str, part: str) -> None:
    # Written to a temporary folder first, so that an interrupted report is never mistaken for a complete one.
    with temporary_folder(folder) as made:
        drawn = [picture for picture in _PICTURES if _draw(content, picture, made)]
        with atomic_write(made / INDEX) as file:
            file.write(_page(content, drawn, name, part).encode())
        own = [INDEX, *(f"{picture}{theme.suffix}.png" for picture in _PICTURES for theme in (LIGHT, DARK))]
        if not folder.exists():
            put_in_place(made, folder)
        elif not exchange(made, folder, own):
            _replace_report(made, folder, own)


def _replace_report(made: Path, folder: Path, own: list[str]) -> None:
    """Replace the files of a report in a folder; until the last step the page says that it is not complete."""
    with atomic_write(folder / INDEX) as file:
        file.write(_INCOMPLETE.encode())
    for name in own:
        if name == INDEX:
            continue
        if (made / name).exists():
            move_file(made / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    move_file(made / INDEX, folder / INDEX)


def _draw(content: _Content, picture: str, folder: Path) -> bool:
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


def _learning_curves(path: Path, epochs: int | None) -> dict[str, NDArray[np.float64]] | None:
    """Return the columns of a run's history, or None if it cannot be read, is damaged or empty.

    Parameters
    ----------
    path : Path
    epochs : int or None
        The model's number of epochs. Later ones are left out: the run went on, and its new model is not written yet.

    Returns
    -------
    dict of ndarray of float64, shape (epochs,)
        epoch, lr, loss, accuracy, test_loss, test_accuracy, validation_loss, validation_accuracy; NaN if a run had no
        such part.
    """
    try:
        reports = read_history(path)
        rows = [report.as_dict() for report in reports if epochs is None or report.epoch <= epochs]
    except ModelError:
        return None
    if not rows:
        return None
    # NumPy turns None into NaN.
    names = [name for name in rows[0] if name != "task"]
    return {name: np.asarray([row[name] for row in rows], dtype=np.float64) for name in names}


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


def _confusion(content: _Content, theme: Theme) -> Figure | None:
    confusion, classes = content.evaluation.confusion, content.model.classes
    k = len(classes)
    if k > _MAX_CLASSES:
        return None
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


def _history(content: _Content, theme: Theme) -> Figure | None:
    history = content.history
    if history is None:
        return None
    from matplotlib.ticker import PercentFormatter

    figure, axes = _figure(9.2, 3.5, theme, 1, 2)
    for axis, key, title in zip(axes[0], ("accuracy", "loss"), ("accuracy", "loss"), strict=True):
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
            last = f"{values[known][-1]:.2%}" if key == "accuracy" else f"{values[known][-1]:.4g}"
            axis.plot(
                epochs, values[known], color=colour, linewidth=1.8, marker=dot, markersize=3.5, label=f"{name}, {last}"
            )
        axis.grid(color=theme.grid, linewidth=0.7)
        axis.set_axisbelow(True)
        _label(axis, theme, x="epoch", title=title)
        axis.legend(frameon=False, fontsize=9, labelcolor=theme.text)
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def _mistakes(content: _Content, theme: Theme) -> Any:
    predicted = content.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != content.labels)
    if len(wrong) == 0:
        return None
    confidence = content.probabilities[wrong, predicted[wrong]]
    worst = wrong[np.argsort(-confidence, kind="stable")][:_MAX_MISTAKES]
    classes = content.model.classes
    pairs = zip(worst.tolist(), content.labels[worst].tolist(), predicted[worst].tolist(), strict=True)
    captions = [
        (f"{classes[label]}, read as {classes[prediction]}", f"probability {content.probabilities[i, prediction]:.1%}")
        for i, label, prediction in pairs
    ]
    return sheet(content.images[worst], captions, columns=10, colours=theme.sheet)


def _weights(content: _Content, theme: Theme) -> Image.Image | None:
    from PIL import Image

    weights = content.model.network.weights[0].astype(np.float64)
    if weights.shape[0] != PIXELS:
        return None
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


def _calibration(content: _Content, theme: Theme) -> Figure:
    from matplotlib.ticker import StrMethodFormatter

    curve = content.reliability
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
    _label(lower, theme, x="highest probability (confidence)", y="images")
    return figure


_PAINTERS: dict[str, Callable[[_Content, Theme], Any]] = {
    "confusion": _confusion,
    "history": _history,
    "mistakes": _mistakes,
    "weights": _weights,
    "reliability": _calibration,
}

_TITLES = {
    "confusion": ("Confusion matrix", "Rows are labels, columns are predictions; blue is correct."),
    "history": (
        "Learning curves",
        "By epoch, averaged over the networks. Training images are counted during the epoch, each before its update.",
    ),
    "mistakes": ("Worst mistakes", "Label, prediction, and the probability that the model gave it."),
    "weights": (
        "First layer",
        "Weights of the first network's hidden units, largest first, each on its own scale. Ink on blue excites.",
    ),
    "reliability": (
        "Calibration",
        "Accuracy of predictions by their probability. Below the dashed line the model is overconfident.",
    ),
}

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1c2733; --faint: #5d6b7a; --line: #dde3e9; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14191f; --text: #e6ebf0; --faint: #98a5b3; --line: #2c3540; }
}
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 0; }
p { color: var(--faint); margin: .25rem 0 .75rem; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: 1rem; margin: 1.5rem 0 0; }
dt { color: var(--faint); font-size: .85rem; }
dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
dd small { display: block; font-size: .85rem; color: var(--faint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid var(--line); font-weight: normal; }
th { color: var(--faint); } th:first-child, td:first-child { text-align: left; }
"""


def _page(content: _Content, drawn: list[str], name: str, part: str) -> str:
    sections = "\n".join(_section(picture, picture in drawn) for picture in _PICTURES)
    figures = "".join(
        f"<div><dt>{title}</dt><dd>{value}<small>{aside}</small></dd></div>\n"
        for title, value, aside in _figures(content)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(name)} - fastnn</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(name)}</h1>
<p>{escape(_describe(content.model))}; evaluated on {escape(part)}</p>
<dl>
{figures}</dl>
{sections}
<h2>Classes</h2>
<p>Recall: fraction of the images of a class that are predicted as it. Precision: fraction of the images predicted as it
that belong to the class.</p>
<div class="wide">{_class_table(content.evaluation)}</div>
</body>
</html>
"""


def _figures(content: _Content) -> list[tuple[str, str, str]]:
    evaluation = content.evaluation
    low, high = wilson_interval(evaluation.correct, evaluation.total)
    return [
        ("accuracy", f"{evaluation.accuracy:.2%}", f"{low:.2%} to {high:.2%} (95 %)"),
        ("correct", f"{evaluation.correct:,}", f"of {evaluation.total:,}"),
        ("balanced accuracy", f"{evaluation.balanced_accuracy:.2%}", "mean recall"),
        ("loss", f"{evaluation.loss:.4f}", "cross-entropy" if content.model.network.rule == "backprop" else "squared"),
        ("calibration error", f"{content.reliability.ece:.2%}", "expected, 10 bins"),
    ]


def _describe(model: Model) -> str:
    layers = "-".join(map(str, model.sizes))
    several = "" if len(model.networks) == 1 else f"{len(model.networks)} networks, "
    words = [f"{several}{layers}, {model.network.rule}"]
    if model.card.recipe is not None:
        words.append(f"recipe {model.card.recipe.name}")
    if model.card.epochs is not None:
        words.append(f"{model.card.epochs:,} epochs")
    return ", ".join(words)


def _section(picture: str, drawn: bool) -> str:
    title, text = _TITLES[picture]
    if not drawn:
        missing = {
            "history": "There is no history next to the model, so there are no learning curves.",
            "mistakes": "There are none: every image is classified correctly.",
            "weights": "The inputs of the model are not pixels.",
            "confusion": f"There are more than {_MAX_CLASSES} classes, too many for a picture.",
        }
        return f"<h2>{title}</h2>\n<p>{missing.get(picture, '')}</p>"
    return f"""<h2>{title}</h2>
<p>{text}</p>
<picture><source srcset="{picture}-dark.png" media="(prefers-color-scheme: dark)">
<img src="{picture}.png" alt="{title}"{_width(picture)}></picture>"""


def _width(picture: str) -> str:
    """Return the HTML attribute for the display width of a picture, which has more pixels for sharp screens."""
    return {"confusion": ' width="560"', "reliability": ' width="560"'}.get(picture, "")


def _class_table(evaluation: Evaluation) -> str:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    rows = "".join(
        f"<tr><td>{escape(row['class'])}</td><td>{row['count']:,}</td><td>{row['correct']:,}</td>"
        f"<td>{share(row['recall'])}</td><td>{share(row['precision'])}</td></tr>\n"
        for row in evaluation.per_class
    )
    head = "<tr><th>class</th><th>images</th><th>correct</th><th>recall</th><th>precision</th></tr>"
    return f"<table>\n{head}\n{rows}</table>"
