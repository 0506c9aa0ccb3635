"""Small kernels, which are compiled much faster than those of fastnn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import float64

from fastnn.kernels.loader import Kernel
from fastnn.kernels.vector import device, pointer, record_at
from fastnn.kernels.workspace import ArgumentBlock, record_of_int64

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = record_of_int64("numbers", "n")

# Runs one of them in a child process.
RUN = """
import sys
import numpy as np
from fastnn.kernels.loader import Kernel
from fastnn.kernels.workspace import ArgumentBlock, record_of_int64
numbers = np.arange(5.0)

def doubles(kernel):
    four = np.arange(4.0)
    kernel(ArgumentBlock(record_of_int64("numbers", "n"), numbers=four, n=4).address)
    return four.tolist() == [0, 2, 4, 6]

block = ArgumentBlock(record_of_int64("numbers", "n"), numbers=numbers, n=5)
Kernel("tests.kernels.small", "double", (), doubles)(block)
result = numbers.sum()
"""


@device
def _twice(x: float) -> float:
    return 2 * x


@device
def _error_function(x: float) -> float:
    return math.erf(x)


@device
def _printed(x: float) -> float:
    print("number", x)
    return x


def _over_numbers(function: Callable[[float], float]) -> Callable[[int], None]:
    """Return a kernel that replaces the numbers of a record."""

    def run(address: int) -> None:
        args = record_at(address, NUMBERS)
        numbers = pointer(args.numbers, float64)
        for k in range(args.n):
            numbers[k] = function(numbers[k])

    return run


def double() -> Callable[[int], None]:
    return _over_numbers(_twice)


def error_function() -> Callable[[int], None]:
    """Return a kernel that calls a function of the C library, which cached machine code may not do."""
    return _over_numbers(_error_function)


def print_numbers() -> Callable[[int], None]:
    """Return a kernel that calls functions of Numba's runtime."""
    return _over_numbers(_printed)


def nothing() -> Callable[[int], None]:
    def run(address: int) -> None:
        pass

    return run


def agrees(factory: str) -> Callable[[Callable[[int], Any]], bool]:
    """Return a check that runs the kernel of this name on four numbers."""

    def check(kernel: Callable[[int], Any]) -> bool:
        numbers = np.arange(4.0)
        kernel(ArgumentBlock(NUMBERS, numbers=numbers, n=4).address)
        return np.allclose(numbers, EXPECTED[factory](np.arange(4.0)))

    return check


EXPECTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "double": lambda x: 2 * x,
    "error_function": np.vectorize(math.erf),
    "print_numbers": lambda x: x,
}


def kernel(factory: str) -> Kernel:
    """Return a new kernel from this file."""
    return Kernel("tests.kernels.small", factory, (), agrees(factory))


def result_of(one: Kernel) -> np.ndarray:
    """Return the result of a kernel for five numbers."""
    numbers = np.arange(5.0)
    one(ArgumentBlock(NUMBERS, numbers=numbers, n=5))
    return numbers
