"""Time from the shell to a running program, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.race import Candidate, Timing, race

if TYPE_CHECKING:
    from benchmarks.conftest import Effort, Results

ROOT = Path(__file__).parents[1]

ONE_SAMPLE = """
import numpy as np
from fastnn.engine import Engine, KernelInput
from fastnn.network import Network
network = Network((784, 200, 40, 10)).initialise()
engine, images = Engine(network), KernelInput(np.full((1, 784), 255, np.uint8), False, network.dtype)
engine.load_weights(images)
engine.train(images, np.zeros(1, np.int64), np.zeros(1, np.int64), 0.01, np.zeros(2))
"""

COMMANDS = {
    "fastnn-help": ("fastnn --help", ("-m", "fastnn", "--help"), "fastnn"),
    "fastnn-import": ("fastnn, import", ("-c", "import fastnn"), "fastnn"),
    "fastnn-sample": ("fastnn, import and train one digit, compiled before", ("-c", ONE_SAMPLE), "numba"),
    "python": ("Python itself", ("-c", "pass"), "sys"),
    "numba": ("Numba, import", ("-c", "import numba"), "numba"),
    "numpy": ("NumPy, import", ("-c", "import numpy"), "numpy"),
    "jax": ("JAX, import", ("-c", "import jax.numpy"), "jax"),
    "sklearn": ("scikit-learn, import", ("-c", "import sklearn.neural_network"), "sklearn"),
    "torch": ("PyTorch, import", ("-c", "import torch"), "torch"),
}


def start(arguments: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


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


def test_what_was_compiled_before_needs_no_compiler(timings: dict[str, Timing]) -> None:
    assert timings["fastnn-sample"].best < timings["numba"].best
