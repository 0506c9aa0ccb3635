"""What it would cost to train one network with two threads: ``python -m benchmarks.barrier``.

Two threads that each compute half of the first hidden layer have to synchronise once a digit, to add up the second
layer's pre-activations. This times the synchronisation alone, with a spin barrier in C: once with both cores idle and
once with a third process that keeps one of them busy.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parent / "peers" / "barrier.c"


def measure(program: Path) -> list[tuple[float, float]]:
    """Return microseconds a step for several amounts of work: on one thread, and on two that synchronise after it."""
    output = subprocess.run([program, "0.3"], check=True, capture_output=True, text=True).stdout
    return [(float(alone), float(together)) for alone, together in map(str.split, output.splitlines())]


def main() -> int:
    """Compile, measure and print."""
    from rich.console import Console
    from rich.table import Table

    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "barrier"
        subprocess.run(["gcc", "-O2", "-pthread", "-o", program, SOURCE], check=True)
        idle = measure(program)
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
            try:
                disturbed = measure(program)
            finally:
                busy.kill()
    table = Table(
        "work of each thread", "two threads, synchronised", "the same beside a busy process", title="µs a step"
    )
    for (alone, together), (_, beside) in zip(idle, disturbed, strict=True):
        table.add_row(f"{alone:.2f}", f"{together:.2f}", f"{beside:.2f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
