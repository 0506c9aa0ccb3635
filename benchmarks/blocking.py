"""The first layer alone in blocks of 1 to 32 digits, with several loop orders: ``python -m benchmarks.blocking``.

Shows why the kernels take blocks of four digits and group the pixels by which of the four are non-zero there, although
blocks of 16 or 32 would touch fewer rows of the weights: see peers/blocking.c. Every loop order is first compared with
one digit after the other. A second table counts how many rows a block touches, which depends on the data alone.
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
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

SOURCE = Path(__file__).parent / "peers" / "blocking.c"

ORDERS = {
    "pixels grouped by which digits are non-zero there": (0, (1, 2, 3, 4)),
    "16 rows at a time, digit by digit": (1, (4, 8, 16, 32)),
    "every touched row times all digits, zeros included": (2, (4, 8, 16, 32)),
}
"""Number of each loop order in the C code, and block sizes."""

PIXELS, UNITS, STRIDE = 784, 200, 208
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
    """The first layer with given digits and given deltas."""

    def __init__(self, blocks: Callable[..., int]) -> None:
        problem = make_problem().first(DIGITS)
        rng = np.random.default_rng(0)
        self.blocks = blocks
        # The deviation from white paper, which is zero in most places.
        self.inputs = problem.inputs(np.float32) - np.float32(1)
        self.start = np.zeros((PIXELS, STRIDE), np.float32)
        self.start[:, :UNITS] = problem.parameters(np.float32)[0]
        self.deltas = np.zeros((DIGITS, STRIDE), np.float32)
        self.deltas[:, :UNITS] = rng.normal(0, 1e-3, (DIGITS, UNITS))
        self.weights = aligned_zeros(PIXELS * STRIDE, np.dtype(np.float32))
        self.sums = np.zeros((DIGITS, STRIDE), np.float32)

    def run(self, order: int, size: int) -> NDArray[np.float64]:
        """Return the microseconds a digit of forward pass, corrections and update, shape (3,)."""
        if DIGITS % size:
            raise ValueError(f"{DIGITS} digits cannot be divided into blocks of {size}")
        self.weights[:] = self.start.reshape(-1)
        self.sums[:] = np.nan
        seconds = np.zeros(3)
        addresses = [array.ctypes.data for array in (self.weights, self.inputs, self.deltas)]
        if self.blocks(*addresses, DIGITS, size, order, self.sums.ctypes.data, seconds.ctypes.data):
            raise MemoryError("no memory for the index lists of the blocks")
        return seconds / DIGITS * 1e6


def touched_rows(
    images: NDArray[np.uint8], sizes: Sequence[int] = (1, 2, 3, 4, 8, 16, 32)
) -> dict[int, tuple[float, float]]:
    """Count the pixels that are not white in any digit of a block, with the digits in random order.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, pixels)
        255 = white.
    sizes : sequence of int
        Digits in a block.

    Returns
    -------
    dict of int to (float, float)
        For each size, rows that a block touches, per digit; and how many of them are black in two digits or more and
        grey in none, so that one sum of deltas could serve all of these digits.
    """
    order = np.random.default_rng(0).permutation(len(images))
    rows = {}
    for size in sizes:
        touched = black = 0
        blocks = order[: len(order) // size * size].reshape(-1, size)
        for block in blocks:
            drawn = images[block] != 255
            touched += np.count_nonzero(drawn.any(axis=0))
            not_grey = ((images[block] == 0) | ~drawn).all(axis=0)
            black += np.count_nonzero(not_grey & (drawn.sum(axis=0) > 1))
        rows[size] = touched / blocks.size, black / blocks.size
    return rows


def main() -> int:
    """Compile, compare, measure in turns, and print the tables."""
    from rich.console import Console
    from rich.table import Table

    with tempfile.TemporaryDirectory() as folder:
        layer = Layer(compiled(Path(folder)))
        runs = [(name, order, size) for name, (order, sizes) in ORDERS.items() for size in sizes]
        layer.run(0, 1)
        sums, weights = layer.sums.copy(), layer.weights.copy()
        for name, order, size in runs:
            layer.run(order, size)
            for actual, expected in ((layer.sums, sums), (layer.weights, weights)):
                if not np.abs(actual - expected).max() < TOLERANCE * np.abs(expected).max():
                    raise ValueError(f"{name}, blocks of {size}: sums or weights differ from those of digit by digit")
        best = dict.fromkeys(runs, np.full(3, np.inf))
        for _ in range(ROUNDS):
            for run in runs:
                best[run] = min(best[run], layer.run(*run[1:]), key=np.sum)
    table = Table("loop order", "digits in a block", "forward", "corrections", "update", "total, µs a digit")
    for (name, _, size), parts in best.items():
        table.add_row(name, str(size), *(f"{part:.2f}" for part in parts), f"{parts.sum():.2f}")
    console = Console(width=max(110, Console().width))
    console.print(table)
    rows = Table("digits in a block", "rows touched, per digit", "black wherever not white, in two digits or more")
    for size, counts in touched_rows(make_problem().images).items():
        rows.add_row(str(size), *(f"{count:.1f}" for count in counts))
    console.print(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
