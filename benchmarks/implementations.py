"""The tables of implementations, which feed both the correctness tests and the timing.

To add a peer: write a class as in `benchmarks.peers`, and a line here.
"""

from __future__ import annotations

import importlib
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from benchmarks.problem import InitialParameters, Problem


class State(Protocol):
    """A network under training."""

    def run(self, n: int) -> None:
        """Train on the problem's first n digits, in order, starting from the current weights."""

    def weights(self) -> list[np.ndarray]:
        """Return W1, b1, W2, b2, ... as float64; weights have shape (inputs, outputs)."""


@dataclass(frozen=True)
class Implementation:
    """One way to train a network.

    Attributes
    ----------
    key : str
        Short name, for test ids and thresholds.
    name : str
        Name for the tables.
    home : str
        ``module:class`` in `benchmarks.peers`; imported when it is first used.
    dtype : str
        Of weights and arithmetic.
    needs : tuple of str
        Modules that must be installed, and programs (with a leading ``$``) that must be on the path.
    rule : {"original", "backprop", None}
        The rule of the reference that it follows: its weights must end where the reference's end. None: it trains
        nothing but measures a bound of the machine.
    batch : int
        Rows in one step.
    one_output : bool
        Whether two classes have one logistic output instead of a softmax.
    """

    key: str
    name: str
    home: str
    dtype: str = "float32"
    needs: tuple[str, ...] = ()
    rule: str | None = "original"
    batch: int = 1
    one_output: bool = False

    def missing(self) -> str | None:
        """Return why this implementation cannot run here, or None."""
        return missing(self.name, self.needs)

    def prepare(self, problem: InitialParameters) -> State:
        """Return a network with the problem's weights, and the digits in the form that it needs."""
        module, name = self.home.split(":")
        build: Callable[[InitialParameters], State] = getattr(
            importlib.import_module(f"benchmarks.peers.{module}"), name
        )
        return build(problem)

    def run(self, state: State, n: int) -> None:
        """Train on the first `n` digits; return when the weights are computed."""
        state.run(n)

    def weights(self, state: State) -> list[np.ndarray]:
        """Return W1, b1, W2, b2, ... as float64; weights have shape (inputs, outputs)."""
        return state.weights()


def missing(name: str, needs: tuple[str, ...]) -> str | None:
    for need in needs:
        if need.startswith("$"):
            if shutil.which(need[1:]) is None:
                return f"{name}: the program {need[1:]} is not installed"
        elif find_spec(need) is None:
            return f"{name}: {need} is not installed"
    return None


NAIVE = "naive"
OURS = "fastnn"

TRAINING = (
    Implementation(OURS, "fastnn, sparse", "ours:Sparse"),
    # Next to fastnn, with which it is compared: they are timed in turn, and slow phases last for seconds.
    Implementation(
        "bandwidth",
        "lower bound of dense code: first layer read and written",
        "dense_c:Bandwidth",
        needs=("$gcc",),
        rule=None,
    ),
    Implementation("fastnn-dense", "fastnn, dense", "ours:Dense"),
    Implementation("fastnn-64", "fastnn, sparse, float64", "ours:Sparse64", "float64"),
    Implementation("c", "C, dense, one fused pass, gcc -O3", "dense_c:Fused", needs=("$gcc",)),
    Implementation("jax", "JAX, jitted lax.scan", "jax_sgd:Scan", needs=("jax",)),
    Implementation("numba", "Numba, dense, straightforward loops", "numba_dense:Straightforward"),
    Implementation(
        "torch-compiled", "PyTorch, 16 steps in one compiled graph", "torch_sgd:Compiled", needs=("torch", "$g++")
    ),
    Implementation("torch-script", "PyTorch, TorchScript loop", "torch_sgd:Script", needs=("torch",)),
    Implementation("torch-eager", "PyTorch, eager, addr_ in place", "torch_sgd:Eager", needs=("torch",)),
    Implementation("numpy-ger", "NumPy with SciPy's ger in place", "numpy_sgd:InPlace", needs=("scipy",)),
    Implementation("numpy", "NumPy, textbook", "numpy_sgd:Textbook"),
    Implementation(
        "sklearn",
        "scikit-learn MLPClassifier, batch_size=1",
        "sklearn_mlp:Classifier",
        needs=("sklearn",),
        rule="backprop",
    ),
    Implementation("comprehensions", "plain Python, comprehensions", "plain_python:Comprehensions", "float64"),
    Implementation(NAIVE, "plain Python, the original's matrix class", "plain_python:Naive", "float64"),
)

BY_KEY = {implementation.key: implementation for implementation in TRAINING}


ROWS = (
    Implementation(OURS, "fastnn", "ours:Rows", rule="backprop"),
    Implementation("numba", "Numba, straightforward loops", "numba_dense:Rows", rule="backprop"),
    Implementation("jax-32", "JAX, jitted lax.scan", "jax_sgd:Rows", needs=("jax",), rule="backprop", batch=32),
    Implementation("jax-128", "JAX, jitted lax.scan", "jax_sgd:Rows128", needs=("jax",), rule="backprop", batch=128),
    Implementation(
        "torch-32", "PyTorch, addmm_ in place", "torch_sgd:Rows", needs=("torch",), rule="backprop", batch=32
    ),
    Implementation(
        "torch-128", "PyTorch, addmm_ in place", "torch_sgd:Rows128", needs=("torch",), rule="backprop", batch=128
    ),
    Implementation(
        "sklearn",
        "scikit-learn, batch_size=1",
        "sklearn_mlp:Rows",
        needs=("sklearn",),
        rule="backprop",
        one_output=True,
    ),
)
"""Training on float rows, many a call."""

ONE_ROW = (
    Implementation(OURS, "fastnn, Trainer.step", "ours:OneRow", rule="backprop"),
    Implementation(
        "fastnn-estimator",
        "fastnn, MLPClassifier.partial_fit",
        "ours:EstimatorRow",
        needs=("sklearn",),
        rule="backprop",
    ),
    Implementation("numba", "Numba, straightforward loops", "numba_dense:OneRow", rule="backprop"),
    Implementation("numpy", "NumPy, by hand", "numpy_sgd:OneRow", rule="backprop"),
    Implementation("torch", "PyTorch, eager, addr_ in place", "torch_sgd:OneRow", needs=("torch",), rule="backprop"),
    Implementation(
        "sklearn",
        "scikit-learn, MLPClassifier.partial_fit",
        "sklearn_mlp:OneRow",
        needs=("sklearn",),
        rule="backprop",
        one_output=True,
    ),
)
"""Training on float rows, a call from Python for each."""

STREAMS = {
    "fastnn": "fastnn.river, 50 hidden units",
    "logistic": "River, logistic regression",
    "scaled": "River, StandardScaler and logistic regression",
    "tree": "River, Hoeffding tree",
}
"""Estimators of River's interface, by their functions in `benchmarks.peers.streams`."""


@dataclass(frozen=True)
class Predictor:
    """One way to classify with a trained network.

    Attributes
    ----------
    key, name : str
    home : str
        Function in `benchmarks.peers.predictors`.
    needs : tuple of str
        Modules that must be installed.
    """

    key: str
    name: str
    home: str
    needs: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Return why this cannot run here, or None."""
        return missing(self.name, self.needs)

    def prepare(self, problem: Problem) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function from uint8 images, shape (n, 784), to class indices, shape (n,)."""
        module = importlib.import_module("benchmarks.peers.predictors")
        build: Callable[[Problem], Callable[[np.ndarray], np.ndarray]] = getattr(module, self.home)
        return build(problem)


INFERENCE = (
    Predictor(OURS, "fastnn, Model.predict", "ours"),
    Predictor("jax", "JAX, jitted", "jax_jit", ("jax",)),
    Predictor("torch", "PyTorch, nn.Sequential", "torch_eager", ("torch",)),
    Predictor("numpy", "NumPy", "numpy_batch"),
    Predictor("sklearn", "scikit-learn MLPClassifier", "sklearn_mlp", ("sklearn",)),
    Predictor(NAIVE, "plain Python, the original's matrix class", "plain_python"),
)
