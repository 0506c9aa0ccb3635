"""PyTorch's three ways to run many small steps: eager, a TorchScript loop, and 16 steps in one compiled graph.

All three compute the update by hand: autograd and ``torch.optim`` take several times longer per step.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from benchmarks.problem import Problem, RowProblem

torch.set_num_threads(1)

UNROLLED = 16
"""Steps in one compiled graph: more take longer to compile and gain little."""


def train_loop(
    w1: torch.Tensor,
    b1: torch.Tensor,
    w2: torch.Tensor,
    b2: torch.Tensor,
    w3: torch.Tensor,
    b3: torch.Tensor,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    rate: float,
) -> None:
    """Train in place, weights as (outputs, inputs)."""
    for t in range(inputs.shape[0]):
        x = inputs[t]
        h1 = torch.sigmoid(torch.addmv(b1, w1, x))
        h2 = torch.sigmoid(torch.addmv(b2, w2, h1))
        out = torch.sigmoid(torch.addmv(b3, w3, h2))
        e3 = targets[t] - out
        g3 = e3 * out * (1 - out)
        w3.addr_(g3, h2, alpha=rate)
        b3.add_(g3, alpha=rate)
        e2 = torch.mv(w3.t(), e3)
        g2 = e2 * h2 * (1 - h2)
        w2.addr_(g2, h1, alpha=rate)
        b2.add_(g2, alpha=rate)
        e1 = torch.mv(w2.t(), e2)
        g1 = e1 * h1 * (1 - h1)
        w1.addr_(g1, x, alpha=rate)
        b1.add_(g1, alpha=rate)


class Eager:
    """One Python call per operation, weights updated in place with ``addr_``."""

    def __init__(self, problem: Problem) -> None:
        parameters = problem.parameters(np.float32, output_major=True)
        self.parameters = [torch.from_numpy(values) for values in parameters]
        self.x = torch.from_numpy(problem.inputs(np.float32))
        self.targets = torch.eye(problem.sizes[-1])[torch.from_numpy(problem.labels)]
        self.rate = problem.learning_rate
        self.train = train_loop

    @torch.no_grad()
    def run(self, n: int) -> None:
        self.train(*self.parameters, self.x[:n], self.targets[:n], self.rate)

    def weights(self) -> list[np.ndarray]:
        return [values.numpy().T.astype(np.float64) for values in self.parameters]


class Script(Eager):
    """The same loop as TorchScript: no Python between the operations."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.train = torch.jit.script(train_loop)


def unrolled_steps(
    w1: torch.Tensor,
    b1: torch.Tensor,
    w2: torch.Tensor,
    b2: torch.Tensor,
    w3: torch.Tensor,
    b3: torch.Tensor,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    rate: torch.Tensor,
) -> None:
    """Train in place, with products and sums: the compiler does not fuse ``mv`` and ``addr_``."""
    for t in range(inputs.shape[0]):
        x = inputs[t]
        h1 = torch.sigmoid((w1 * x).sum(1) + b1)
        h2 = torch.sigmoid((w2 * h1).sum(1) + b2)
        out = torch.sigmoid((w3 * h2).sum(1) + b3)
        e3 = targets[t] - out
        g3 = rate * e3 * out * (1 - out)
        w3.add_(g3[:, None] * h2)
        b3.add_(g3)
        e2 = (w3 * e3[:, None]).sum(0)
        g2 = rate * e2 * h2 * (1 - h2)
        w2.add_(g2[:, None] * h1)
        b2.add_(g2)
        e1 = (w2 * e2[:, None]).sum(0)
        g1 = rate * e1 * h1 * (1 - h1)
        w1.add_(g1[:, None] * x)
        b1.add_(g1)


@cache
def compiled_steps():
    """Return the compiled graph; compiling takes about half a minute, once per process."""
    return torch.compile(unrolled_steps, dynamic=False, fullgraph=True)


class Compiled(Eager):
    """Blocks of 16 digits by the compiled graph, the remaining digits one by one."""

    @torch.no_grad()
    def run(self, n: int) -> None:
        train, whole, rate = compiled_steps(), n - n % UNROLLED, torch.tensor(self.rate)
        for start in range(0, whole, UNROLLED):
            block = slice(start, start + UNROLLED)
            train(*self.parameters, self.x[block], self.targets[block], rate)
        train_loop(*self.parameters, self.x[whole:n], self.targets[whole:n], self.rate)


class Rows:
    """Float rows in mini-batches: ReLU, softmax; gradients by hand, weights updated in place by ``addmm_``."""

    batch = 32

    def __init__(self, problem: RowProblem) -> None:
        parameters = [torch.from_numpy(values) for values in problem.parameters(np.float32)]
        self.layers = list(zip(parameters[::2], parameters[1::2], strict=True))
        self.x = torch.from_numpy(problem.rows)
        self.targets = torch.eye(problem.sizes[-1])[torch.from_numpy(problem.labels)]
        self.rate = problem.learning_rate

    @torch.no_grad()
    def run(self, n: int) -> None:
        layers, last = self.layers, len(self.layers) - 1
        for x, target in zip(self.x[:n].split(self.batch), self.targets[:n].split(self.batch), strict=True):
            units = [x]
            for w, b in layers[:last]:
                units.append(torch.addmm(b, units[-1], w).relu_())
            w, b = layers[last]
            error = target - torch.addmm(b, units[-1], w).softmax(1)
            rate = self.rate / len(x)
            for depth in range(last, -1, -1):
                w, b = layers[depth]
                before = torch.mm(error, w.t()).mul_(units[depth] > 0) if depth else error
                w.addmm_(units[depth].t(), error, alpha=rate)
                b.add_(error.sum(0), alpha=rate)
                error = before

    def weights(self) -> list[np.ndarray]:
        return [values.numpy().astype(np.float64) for layer in self.layers for values in layer]


class Rows128(Rows):
    """The same in batches of 128."""

    batch = 128


class OneRow(Rows):
    """The same with a step for each row: ``addmv`` and ``addr_`` take less time than matrices of one row."""

    batch = 1

    @torch.no_grad()
    def run(self, n: int) -> None:
        (w1, b1), (w2, b2) = self.layers
        rate, v1, v2 = self.rate, w1.t(), w2.t()
        for x, target in zip(self.x[:n].unbind(), self.targets[:n].unbind(), strict=True):
            h = torch.addmv(b1, v1, x).relu_()
            error = target - torch.addmv(b2, v2, h).softmax(0)
            before = torch.mv(w2, error).mul_(h > 0)
            w2.addr_(h, error, alpha=rate)
            b2.add_(error, alpha=rate)
            w1.addr_(x, before, alpha=rate)
            b1.add_(before, alpha=rate)
