"""Time from the shell to a running program, each in a process of its own; and first use from empty caches."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.race import Candidate, Timing, race
from benchmarks.thresholds import FIRST_USE_AT_MOST

if TYPE_CHECKING:
    from benchmarks.conftest import Effort, Results

ROOT = Path(__file__).parents[1]

ONE_SAMPLE = """
import numpy as np
from fastnn.engine import Engine
from fastnn.inputs import ImageInput
from fastnn.network import Network
network = Network((784, 200, 40, 10)).initialise()
engine, images = Engine(network), ImageInput(np.full((1, 784), 255, np.uint8), False)
engine.load_weights(images)
engine.train(images, np.zeros(1, np.int64), np.zeros(1, np.int64), 0.01, np.zeros(2))
"""

PLAIN_LOOPS = """
import numpy as np
from benchmarks.peers.numba_dense import train
layers = [np.zeros(shape, np.float32) for shape in ((200, 784), 200, (40, 200), 40, (10, 40), 10)]
train(*layers, np.zeros((1, 784), np.float32), np.zeros(1, np.int64), 1, np.float32(0.01))
"""

COMMANDS = {
    "fastnn-help": ("fastnn --help", ("-m", "fastnn", "--help"), "fastnn"),
    "fastnn-import": ("fastnn, import", ("-c", "import fastnn"), "fastnn"),
    "fastnn-sample": ("fastnn, import and train one digit, compiled before", ("-c", ONE_SAMPLE), "fastnn"),
    "python": ("Python itself", ("-c", "pass"), "sys"),
    "numba": ("Numba, import", ("-c", "import numba"), "numba"),
    "numpy": ("NumPy, import", ("-c", "import numpy"), "numpy"),
    "jax": ("JAX, import", ("-c", "import jax.numpy"), "jax"),
    "sklearn": ("scikit-learn, import", ("-c", "import sklearn.neural_network"), "sklearn"),
    "torch": ("PyTorch, import", ("-c", "import torch"), "torch"),
}


def start(arguments: tuple[str, ...], **changes: str) -> None:
    subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, **changes}
    )


@pytest.fixture(scope="module")
def candidates() -> dict[str, Candidate]:
    return {
        key: Candidate(key, name, lambda _, arguments=arguments: start(arguments))
        for key, (name, arguments, needs) in COMMANDS.items()
        if find_spec(needs)
    }


@pytest.fixture(scope="module")
def timings(candidates: dict[str, Candidate], effort: Effort, results: Results) -> dict[str, Timing]:
    measured = race(candidates.values(), rounds=1 if effort.quick else 2, seconds=0)
    results.add("start-up, in a new process", measured)
    return {timing.key: timing for timing in measured}


@pytest.mark.benchmark(group="start-up")
@pytest.mark.parametrize("key", COMMANDS)
def test_startup(key: str, candidates: dict[str, Candidate], timings: dict[str, Timing], benchmark: Any) -> None:
    if key not in candidates:
        pytest.skip(f"{COMMANDS[key][2]} is not installed")
    benchmark.extra_info.update(timings[key].record())
    benchmark.pedantic(candidates[key].run, args=(1,), rounds=1)


def test_compiled_kernels_are_loaded_faster_than_numba(timings: dict[str, Timing]) -> None:
    """Numba is not imported when the compiled code is in the cache."""
    assert timings["fastnn-sample"].best < timings["numba"].best


def test_first_use_from_empty_caches(tmp_path: Path, effort: Effort, results: Results) -> None:
    """What the first use on a machine takes longer than a later one, beside Numba's time for plain loops."""
    count = 0

    def first(code: str) -> None:
        nonlocal count
        count += 1
        empty = str(tmp_path / str(count))
        start(("-c", code), NUMBA_CACHE_DIR=empty, FASTNN_CACHE_DIR=empty)

    used = str(tmp_path / "used")
    measured = race(
        [
            Candidate("first", "fastnn, import and train one digit, from empty caches", lambda _: first(ONE_SAMPLE)),
            Candidate(
                "later",
                "fastnn, the same again",
                lambda _: start(("-c", ONE_SAMPLE), NUMBA_CACHE_DIR=used, FASTNN_CACHE_DIR=used),
            ),
            Candidate("numba", "Numba, import and compile plain dense loops", lambda _: first(PLAIN_LOOPS)),
        ],
        rounds=1 if effort.quick else 2,
        seconds=0,
    )
    beyond = measured[0].minus(measured[1], "beyond", "fastnn, the first use beyond a later one")
    results.add("first use", [measured[0], beyond, *measured[1:]])
    if not effort.quick:
        assert measured[0].best / measured[2].best <= FIRST_USE_AT_MOST
