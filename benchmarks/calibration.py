"""How honest predicted probabilities are, with label smoothing and without: ``python -m benchmarks.calibration``.

Networks of the presets that use label smoothing are tested on digits that they have not seen. The expected calibration
error (10 bins) is measured for the networks' outputs, and for the probabilities with the smoothing undone. Writes the
table "calibration" into RESULTS.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import fastnn
from benchmarks import environment
from benchmarks.page import add_page_option, show
from fastnn.evaluation.intervals import reliability
from fastnn.evaluation.saved_model import evaluation_samples
from fastnn.model import Calibration, as_probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn import Dataset, Model


def errors(model: Model, test: Dataset) -> tuple[float, float]:
    """Return the calibration errors of a model on test images: of its outputs, and with the smoothing undone."""
    recipe = model.card.recipe
    if recipe is None or not recipe.label_smoothing:
        raise SystemExit("a model without label smoothing has nothing to undo")
    raw = as_probabilities(model.outputs(test.images))
    undone = Calibration(label_smoothing=recipe.label_smoothing).apply(raw)
    if not np.array_equal(raw.argmax(axis=1), undone.argmax(axis=1)):
        raise SystemExit("the labels have changed")
    return reliability(raw, test.labels).ece, reliability(undone, test.labels).ece


def row(preset: str, data: str, found: Sequence[tuple[float, float]], n: int) -> str:
    """Return a row of the table: means over the runs, and the worst one."""
    raw, undone = zip(*found, strict=True)
    runs = f"{len(found)} run{'' if len(found) == 1 else 's'}"
    each = f"{statistics.fmean(undone):.2%} (at most {max(undone):.2%})"
    return f"| `{preset}` | {data}, {n:,} test digits, {runs} | {statistics.fmean(raw):.2%} | {each} |"


def main() -> None:
    """Train or load the models, measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, action="append", help="a run to measure instead of training; several times")
    parser.add_argument("--seeds", type=int, default=5, help="runs of `modern` on digits; `mnist` gets one")
    add_page_option(parser)
    options = parser.parse_args()
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    tested: dict[tuple[str, str], int] = {}
    jobs = [("digits", "modern", seed) for seed in range(options.seeds)] + [("mnist", "mnist", 0)]
    if options.run:
        models = [(str(path), fastnn.load_model(path)) for path in options.run]
    else:
        models = [
            (data, fastnn.fit(data, fastnn.presets[preset].replace(seed=seed), progress=False))
            for data, preset, seed in jobs
        ]
    for name, model in models:
        source, _, test, _ = evaluation_samples(name, model, part="test")
        key = ("" if model.card.recipe is None else model.card.recipe.name), source
        groups.setdefault(key, []).append(errors(model, test))
        tested[key] = len(test)
    lines = ["| preset | tested on | label smoothing left in | undone |", "|---|---|---:|---:|"]
    lines += [row(preset, source, found, tested[preset, source]) for (preset, source), found in groups.items()]
    about = environment.machine()
    measured = (
        f"Measured {time.strftime('%Y-%m-%d', time.gmtime())}, Python {about['python']}; expected calibration error."
    )
    show("\n".join([*lines, "", measured]), "calibration", options.page)


if __name__ == "__main__":
    main()
