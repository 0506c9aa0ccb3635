"""The benchmark of exported files runs, on a small network that every format can hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import fastnn
from benchmarks import exports
from fastnn.errors import MissingExtraError
from fastnn.formats.export import FORMATS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("chosen", FORMATS, ids=lambda chosen: chosen.ending)
def test_every_format_has_a_row(chosen, tmp_path: Path) -> None:
    drawn = fastnn.load_dataset("drawn:200")
    data = replace(drawn, test=fastnn.load_dataset("drawn:30"))
    rule = "original" if chosen.ending == ".json" else "backprop"
    recipe = fastnn.Recipe(hidden=(8, 6), rule=rule, init="xavier", epochs=1)
    model = fastnn.fit(data, recipe, progress=False)
    precision = chosen.precisions[0] if chosen.precisions else "float32"
    try:
        cells = exports.row(model, chosen, precision, data.test, tmp_path)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert "30 of 30" in cells[-1] or chosen.ending == ".html"
    assert chosen.ending in exports.as_markdown([cells], 0.5)
