"""The first layer alone, in blocks of 1 to 32 digits and several orders of loops: ``python -m benchmarks.blocking``.

Why the kernels take blocks of four digits and sort pixels by which of the four ink them, where blocks of 16 or 32 would
touch fewer rows: see peers/blocking.c. All orders are first compared with one digit after the other.
"""

from __future__ import annotations

from benchmarks import environment

environment.pin()

import ctypes  # noqa: E402 -- nothing that could load NumPy may come before pin()
import subprocess  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.peers.dense_c import FLAGS  # noqa: E402
from benchmarks.problem import make_problem  # noqa: E402
from fastnn.network import aligned_zeros  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SOURCE = Path(__file__).parent / "peers" / "blocking.c"

ORDERS = {
    "pixels by which of the digits ink them": (0, (1, 2, 3, 4)),
    "16 rows at a time, digit by digit": (1, (4, 8, 16, 32)),
    "every row times all digits, zeros too": (2, (4, 8, 16, 32)),
}
"""Number of each order of loops in the C, and sizes of blocks."""

PIXELS, UNITS, ROW = 784, 200, 208
DIGITS = 3072
ROUNDS = 15
TOLERANCE = 1e-4


def compiled(folder: Path) -> Callable[..., int]:
    """Return ``blocks`` of blocking.c, compiled for this machine."""
    shared = folder / "blocking.so"
    try:
        subprocess.run(["gcc", *FLAGS, "-shared", SOURCE, "-o", shared], check=True)
    except FileNotFoundError:
        raise SystemExit("benchmarks.blocking needs gcc") from None
    function = ctypes.CDLL(str(shared)).blocks
    pointer = ctypes.c_void_p
    function.argtypes = [pointer, pointer, pointer, ctypes.c_long, ctypes.c_int, ctypes.c_int, pointer, pointer]
    return function


class Layer:
    """The first layer with given digits and steps."""

    def __init__(self, blocks: Callable[..., int]) -> None:
        problem = make_problem().first(DIGITS)
        rng = np.random.default_rng(0)
        self.blocks = blocks
        # Less 1, so that paper is 0.
        self.inputs = problem.inputs(np.float32) - np.float32(1)
        self.start = np.zeros((PIXELS, ROW), np.float32)
        self.start[:, :UNITS] = problem.parameters(np.float32)[0]
        self.steps = np.zeros((DIGITS, ROW), np.float32)
        self.steps[:, :UNITS] = rng.normal(0, 1e-3, (DIGITS, UNITS))
        self.weights = aligned_zeros(PIXELS * ROW, np.dtype(np.float32))
        self.sums = np.zeros((DIGITS, ROW), np.float32)

    def run(self, order: int, size: int) -> NDArray[np.float64]:
        """Return the microseconds a digit of forward pass, corrections and update."""
        if DIGITS % size:
            raise ValueError(f"{DIGITS} digits are no whole blocks of {size}")
        self.weights[:] = self.start.reshape(-1)
        self.sums[:] = np.nan
        seconds = np.zeros(3)
        arrays = (self.weights, self.inputs, self.steps)
        places = [array.ctypes.data for array in arrays]
        if self.blocks(*places, DIGITS, size, order, self.sums.ctypes.data, seconds.ctypes.data):
            raise MemoryError("no memory for the lists of blocks")
        return seconds / DIGITS * 1e6


def main() -> int:
    """Compile, compare, measure by turns, and print the table."""
    from rich.console import Console
    from rich.table import Table

    with tempfile.TemporaryDirectory() as folder:
        layer = Layer(compiled(Path(folder)))
        runs = [(name, order, size) for name, (order, sizes) in ORDERS.items() for size in sizes]
        layer.run(0, 1)
        sums, weights = layer.sums.copy(), layer.weights.copy()
        for name, order, size in runs:
            layer.run(order, size)
            for mine, right in ((layer.sums, sums), (layer.weights, weights)):
                if not np.abs(mine - right).max() < TOLERANCE * np.abs(right).max():
                    raise ValueError(f"{name}, blocks of {size}: other sums or weights than digit by digit")
        best = dict.fromkeys(runs, np.full(3, np.inf))
        for _ in range(ROUNDS):
            for run in runs:
                best[run] = min(best[run], layer.run(*run[1:]), key=np.sum)
    table = Table("order of loops", "digits in a block", "forward", "corrections", "update", "µs a digit in all")
    for (name, _, size), parts in best.items():
        table.add_row(name, str(size), *(f"{part:.2f}" for part in parts), f"{parts.sum():.2f}")
    Console(width=max(110, Console().width)).print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
