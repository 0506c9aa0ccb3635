"""Where the time of a training step goes: ``python -m benchmarks.ablation``.

Takes one call at a time out of fastnn/kernels/sgd.py, compiles the rest and times it. What a part costs is what its
absence saves: parts overlap in the processor, so that the savings do not add up to the whole. The network learns
nothing sensible meanwhile, which the time does not depend on.

Also prints how many rows of the first layer a block of digits touches, a digit: what larger blocks would save. And how
many of them are full ink in each digit that inks them, for which one sum of steps could serve them all.
"""

from __future__ import annotations

from benchmarks import environment

environment.pin()

import importlib.util  # noqa: E402 -- nothing that could load NumPy may come before pin()
import os  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from types import ModuleType

PARTS = {
    "reading and listing the ink of a block": "            _open_block(net, ink, size",
    "first layer, forward": "            gather_block(m, peek",
    "first layer, sums and corrections": "                _first_sums(m, places, peek(layout, UNITS)",
    "first layer, update": "                update_block(m, peek",
    "upper layers, forward": "            _up(listed,",
    "upper layers, update and errors": "            _down(listed,",
    "activations": "            _activate(m, u, stop, live, kind",
    "steps": "        _step(m, u, u + width",
    "loss and hits": "                    _judge(m, u",
    "prefetching the next block": "                    _fetch(ink, order[first",
}
"""How the line begins that is taken out for each part."""

ROUNDS = 25
SAMPLES = 4000


def without(source: str, line: str | None) -> str:
    """Return the kernels' source with the call that begins with `line` never made, though still compiled."""
    if line is None:
        return source
    if line not in source:
        raise ValueError(f"fastnn/kernels/sgd.py has no line that begins with {line.strip()!r}")
    indent = line[: len(line) - len(line.lstrip())]
    if "_open_block" in line:
        # The lists of the first block serve on.
        return source.replace(line, f"{indent}if first == 0:\n{indent}    " + line.lstrip())
    return source.replace(line, f"{indent}if lanes == 0:\n{indent}    " + line.lstrip())


def load(source: str, folder: Path, name: str) -> ModuleType:
    """Import a kernels' source as a module of its own."""
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def prepare(module: ModuleType) -> Any:
    """Return a function that trains with these kernels."""
    import numpy as np

    from benchmarks.problem import make_problem
    from fastnn import engine
    from fastnn.kernels.native import Kernel
    from fastnn.network import Network

    problem = make_problem()
    network = Network(problem.sizes).initialise("uniform", 0)
    # An engine takes its kernel from its module when it is made.
    kept = engine.run_samples
    engine.run_samples = Kernel(module.__name__, "run_samples")
    try:
        images = engine.KernelInput(problem.images, False, network.dtype)
        trainer = engine.Engine(network)
        trainer.load_weights(images)
    finally:
        engine.run_samples = kept
    labels = np.ascontiguousarray(problem.labels, dtype=np.int64)
    order, totals = np.arange(SAMPLES), np.zeros(2)
    return lambda: trainer.train(images, labels, order, 1e-6, totals)


def touched_rows(images: Any, sizes: tuple[int, ...] = (1, 2, 3, 4, 8, 16, 32)) -> dict[int, tuple[float, float]]:
    """Count for blocks of so many digits, in random order, the pixels that any of them has ink on, a digit.

    The second number is how many of these are full ink in two digits or more, and in no other digit grey.
    """
    import numpy as np

    order = np.random.default_rng(0).permutation(len(images))
    rows = {}
    for size in sizes:
        touched = full = 0
        blocks = order[: len(order) // size * size].reshape(-1, size)
        for block in blocks:
            inked = images[block] != 255
            touched += np.count_nonzero(inked.any(axis=0))
            black = ((images[block] == 0) | ~inked).all(axis=0)
            full += np.count_nonzero(black & (inked.sum(axis=0) > 1))
        rows[size] = touched / blocks.size, full / blocks.size
    return rows


def main() -> int:
    """Measure all parts by turns; print the table."""
    from rich.console import Console
    from rich.table import Table

    from benchmarks.problem import make_problem

    os.environ["FASTNN_CACHE"] = "0"
    source = Path(importlib.util.find_spec("fastnn.kernels.sgd").origin).read_text()  # type: ignore[union-attr,arg-type]
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, line) in enumerate([("everything", None), *PARTS.items()]):
            print(f"compiling without {name} ..." if line else "compiling ...", file=sys.stderr)
            runs[name] = prepare(load(without(source, line), Path(folder), f"kernels_{number}"))
            runs[name]()
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], (time.perf_counter() - start) / SAMPLES * 1e6)
    table = Table("part", "µs a digit without it", "saves µs", title="Training 784-200-40-10, original rule, float32")
    whole = best["everything"]
    for name, value in best.items():
        table.add_row(name, f"{value:.2f}", "" if name == "everything" else f"{whole - value:.2f}")
    console = Console()
    console.print(table)
    rows = Table("digits in a block", "rows touched, a digit", "of them full ink wherever inked, by two or more")
    for size, counts in touched_rows(make_problem().images).items():
        rows.add_row(str(size), *(f"{count:.1f}" for count in counts))
    console.print(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
