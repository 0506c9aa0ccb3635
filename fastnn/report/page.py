"""The page of a report."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from fastnn.evaluation.classification import Evaluation
from fastnn.evaluation.multilabel import MultilabelEvaluation
from fastnn.evaluation.regression import RegressionEvaluation
from fastnn.report.pictures import MAX_CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastnn.model import Model
    from fastnn.report.content import Content

_TITLES = {
    "confusion": ("Confusion matrix", "Rows are labels, columns are predictions; blue is correct."),
    "history": (
        "Learning curves",
        "By epoch, averaged over the networks. Training samples are counted during the epoch, each before its update.",
    ),
    "mistakes": ("Worst mistakes", "Label, prediction, and the probability that the model gave it."),
    "weights": (
        "First layer",
        "Weights of the first network's hidden units, largest first, each on its own scale. Ink on blue excites.",
    ),
    "predicted": ("Predictions", "By the true values; exact predictions lie on the dashed line."),
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


def page(content: Content, drawn: list[str], name: str, part: str) -> str:
    """Return the HTML of the page.

    Parameters
    ----------
    content : Content
    drawn : list of str
        Which of the content's pictures there are.
    name, part : str
        Names of the model and the data.
    """
    sections = "\n".join(_section(content, picture, picture in drawn) for picture in content.pictures)
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
{_tables(content)}
</body>
</html>
"""


def _figures(content: Content) -> list[tuple[str, str, str]]:
    evaluation, figures = content.evaluation, content.figures

    def with_interval(title: str, name: str, form: str) -> tuple[str, str, str]:
        figure = figures[name]
        return title, f"{figure.value:{form}}", f"{figure.low:{form}} to {figure.high:{form}} (95 %)"

    if isinstance(evaluation, RegressionEvaluation):
        several = "" if len(evaluation.per_target) == 1 else ", mean of the targets"
        return [
            with_interval(f"R2{several}", "r2", ".4f"),
            with_interval(f"mean absolute error{several}", "mae", "#.4g"),
            with_interval(f"root mean squared error{several}", "rmse", "#.4g"),
            ("loss", f"{evaluation.loss:.4f}", "squared" if _huber(content.model) is None else "Huber"),
            ("rows", f"{evaluation.total:,}", ""),
        ]
    if isinstance(evaluation, MultilabelEvaluation):
        return [
            with_interval("accuracy", "accuracy", ".2%"),
            ("label accuracy", f"{evaluation.label_accuracy:.2%}", "of all labels"),
            ("micro F1", f"{evaluation.micro_f1:.4f}", "of all labels together"),
            ("macro F1", f"{evaluation.macro_f1:.4f}", "mean of the labels"),
            ("loss", f"{evaluation.loss:.4f}", "binary cross-entropy"),
        ]
    shown = [
        with_interval("accuracy", "accuracy", ".2%"),
        ("correct", f"{evaluation.correct:,}", f"of {evaluation.total:,}"),
        ("balanced accuracy", f"{evaluation.balanced_accuracy:.2%}", "mean recall"),
        ("loss", f"{evaluation.loss:.4f}", "cross-entropy" if content.model.network.rule == "backprop" else "squared"),
    ]
    if content.reliability is not None:
        shown.append(("calibration error", f"{content.reliability.ece:.2%}", "expected, 10 bins"))
    if "roc_auc" in figures:
        shown.append(with_interval(f"ROC AUC of {escape(evaluation.classes[1])}", "roc_auc", ".4f"))
    return shown


def _huber(model: Model) -> float | None:
    return None if model.card.recipe is None else model.card.recipe.huber_delta


def _describe(model: Model) -> str:
    layers = "-".join(map(str, model.sizes))
    several = "" if len(model.networks) == 1 else f"{len(model.networks)} networks, "
    words = [f"{several}{layers}, {model.network.rule}"]
    if model.card.recipe is not None:
        words.append(f"recipe {model.card.recipe.name}")
    if model.card.epochs is not None:
        words.append(f"{model.card.epochs:,} epochs")
    return ", ".join(words)


def _section(content: Content, picture: str, drawn: bool) -> str:
    title, text = _TITLES[picture]
    if not drawn:
        missing = {
            "history": "There is no history next to the model, so there are no learning curves.",
            "mistakes": "There are none: every image is classified correctly.",
            "confusion": f"There are more than {MAX_CLASSES} classes, too many for a picture.",
        }
        return f"<h2>{title}</h2>\n<p>{missing.get(picture, '')}</p>"
    return f"""<h2>{title}</h2>
<p>{text}</p>
<picture><source srcset="{picture}-dark.png" media="(prefers-color-scheme: dark)">
<img src="{picture}.png" alt="{title}"{_width(content, picture)}></picture>"""


def _width(content: Content, picture: str) -> str:
    """Return the HTML attribute for the display width of a picture, which has more pixels for sharp screens."""
    small = picture in ("confusion", "reliability") or (picture == "predicted" and len(content.model.names) == 1)
    return ' width="560"' if small else ""


def _tables(content: Content) -> str:
    """Return a table of the classes, labels or targets, and one of the worst rows."""
    evaluation, samples = content.evaluation, content.samples
    if isinstance(evaluation, RegressionEvaluation):
        text = "Errors are in the unit of the target. R2 is 1 for exact predictions, and 0 for the mean of the target."
        head: Sequence[str] = ("target", "R2", "MAE", "RMSE")
        rows: list[Sequence[Any]] = [
            (row["target"], f"{row['r2']:.4f}", f"{row['mae']:#.4g}", f"{row['rmse']:#.4g}")
            for row in evaluation.per_target
        ]
        parts = [_titled("Targets", text, _table(head, rows))]
    else:
        title, one = ("Classes", "class") if isinstance(evaluation, Evaluation) else ("Labels", "label")
        text = (
            f"Recall: fraction of the {samples} of a {one} that are predicted as it. Precision: fraction of the "
            f"{samples} predicted as it that belong to the {one}."
        )
        head = (one, samples, "correct", "recall", "precision")
        if isinstance(evaluation, Evaluation):
            rows = [
                (
                    row["class"],
                    f"{row['count']:,}",
                    f"{row['correct']:,}",
                    _share(row["recall"]),
                    _share(row["precision"]),
                )
                for row in evaluation.per_class
            ]
        else:
            head = (*head, "F1", "ROC AUC")
            rows = [
                (
                    row["label"],
                    *(f"{row['count']:,}", f"{row['correct']:,}", _share(row["recall"]), _share(row["precision"])),
                    f"{row['f1']:.4f}",
                    "-" if row["roc_auc"] is None else f"{row['roc_auc']:.4f}",
                )
                for row in evaluation.per_label
            ]
        parts = [_titled(title, text, _table(head, rows))]
    if not content.dataset.is_images:
        head, rows = content.worst_rows()
        text = "What the model predicts worst." if rows else "There are none: every row is predicted correctly."
        parts.append(_titled("Worst rows", text, _table(head, rows) if rows else ""))
    return "\n".join(parts)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _titled(title: str, text: str, table: str) -> str:
    return f'<h2>{title}</h2>\n<p>{text}</p>\n<div class="wide">{table}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    headings = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = [f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>\n" for row in rows]
    return f"<table>\n<tr>{headings}</tr>\n{''.join(lines)}</table>"
