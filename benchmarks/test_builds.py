"""Do the edits of ablation and variants still fit the source? To measure with them takes minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.ablation import PARTS, without
from benchmarks.variants import DROPPED, ROOT, SIZES, copy_with

if TYPE_CHECKING:
    from pathlib import Path

VARIANTS = {**SIZES, **DROPPED}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_places_of_a_variant_are_in_the_source(name: str, tmp_path: Path) -> None:
    copy_with(tmp_path, VARIANTS[name])
    for path in (tmp_path / "fastnn").rglob("*.py"):
        compile(path.read_text(), str(path), "exec")


@pytest.mark.parametrize("part", PARTS)
def test_the_line_of_a_part_is_in_the_source(part: str) -> None:
    source = (ROOT / "fastnn" / "kernels" / "sgd.py").read_text()
    compile(without(source, PARTS[part]), part, "exec")
