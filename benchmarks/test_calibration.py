"""The benchmark of calibration measures a model trained with label smoothing, and refuses another one."""

from __future__ import annotations

import pytest

import fastnn
from benchmarks.calibration import errors, row


def test_smoothing_is_undone_and_the_table_has_mean_and_maximum() -> None:
    data, other = fastnn.load_dataset("drawn:2000"), fastnn.load_dataset("drawn:500").take(range(500))
    recipe = fastnn.Recipe(hidden=(30,), rule="backprop", activation="relu", init="he", epochs=6, label_smoothing=0.2)
    model = fastnn.fit(data, recipe, progress=False)
    raw, undone = errors(model, other)
    assert undone < raw
    cells = row("modern", "digits", [(0.08, 0.01), (0.06, 0.02)], 685)
    assert cells == "| `modern` | digits, 685 test digits, 2 runs | 7.00% | 1.50% (at most 2.00%) |"
    with pytest.raises(SystemExit, match="nothing to undo"):
        errors(fastnn.fit(data, recipe.replace(label_smoothing=0.0), progress=False), other)
