"""Targets that read spaces, studies, and data sets shared between processes."""

from __future__ import annotations

import contextlib
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fastnn.datasets.shared import from_buffer, read_cached, shared_key, to_parts, write_cached
from fastnn.errors import RecipeError
from fastnn.sweep.space import load_space
from tests.attacks import fuzz_mutate as mutate
from tests.attacks.fuzz_bench import target
from tests.helpers import blobs, linear_table

if TYPE_CHECKING:
    from tests.attacks.fuzz_bench import Bench

_SPACES = (
    b'base = "mnist"\nepochs = 2\n[lr]\nlow = 0.001\nhigh = 0.1\nlog = true\n[hidden]\nchoices = [[4], [8, 4], []]\n',
    b"[hidden]\nlayers = [1, 3]\nunits = {low = 4, high = 8}\n[label_smoothing]\nlow = 0\nhigh = 0.2\nstep = 0.05\n",
)
_WORDS = ("low", "high", "log", "step", "choices", "layers", "units", "hidden", "lr", "base", "true", "1e999", "-1")


@target("space", lambda: _SPACES, mutate.text(*_WORDS))
def _space(content: bytes, bench: Bench) -> None:
    space = load_space(bench.write("s.toml", content))
    for at in (0.0, 0.5, 1 - 2.0**-53):
        params = space.point([at] * len(space.parameters))
        assert params.keys() == space.parameters.keys()
        # Values may exclude each other.
        with contextlib.suppress(RecipeError):
            assert space.recipe(params).name == space.name
    if space.grid_size:
        assert space.grid_point(space.grid_size - 1).keys() == space.parameters.keys()


@cache
def _shared() -> tuple[bytes, ...]:
    return tuple(b"".join(map(bytes, to_parts(data))) for data in (blobs(3), linear_table(3)))


@target("shared data", _shared, mutate.raw())
def _shared_data(content: bytes, bench: Bench) -> None:
    del bench
    key = shared_key(blobs(3))
    write_cached(key, [content])
    read_cached(key)
    assert shared_key(from_buffer(content, key)) == key


@cache
def _studies() -> tuple[bytes, ...]:
    from fastnn.cluster import InProcess
    from fastnn.sweep.options import SweepOptions
    from fastnn.sweep.run import Sweep

    with tempfile.TemporaryDirectory() as folder:
        space, study = Path(folder) / "s.toml", Path(folder) / "a.study"
        space.write_bytes(_SPACES[0])
        for number in (2, 3):
            sweep = Sweep(blobs(60), load_space(space), study, SweepOptions(trials=number, sampler="random"))
            list(sweep.run(InProcess()))
        return (study.read_bytes(),)


@target("study", _studies, mutate.text("op_code", "trial_id", "study_id", "state", "values", "null", "[]"), share=0.05)
def _study(content: bytes, bench: Bench) -> None:
    from fastnn.sweep.report import write_report

    write_report(str(bench.write("a.study", content)), "fastnn", bench.write("a.html", b""))
