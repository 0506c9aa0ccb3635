"""What single decisions in the kernels are worth: ``python -m benchmarks.variants``.

Each variant is a copy of the package in which one place of the source reads otherwise. All variants train 784-200-40-10
by the original rule in float32, each in a process of its own, in interleaved rounds on one core.
"""

from __future__ import annotations

from benchmarks import environment

environment.pin()

import os  # noqa: E402 -- nothing that could load NumPy may come before pin()
import shutil  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]

AS_IT_IS = "as it is"

VARIANTS: dict[str, tuple[str, str]] = {
    AS_IT_IS: ("", ""),
    "one digit at a time": ("BLOCK = 4\n", "BLOCK = 1\n"),
    "blocks of 2 digits": ("BLOCK = 4\n", "BLOCK = 2\n"),
    "blocks of 3 digits": ("BLOCK = 4\n", "BLOCK = 3\n"),
    "blocks of 5 digits": ("BLOCK = 4\n", "BLOCK = 5\n"),
    "3 rows of the first layer at once": ("GROUP = 4\n", "GROUP = 3\n"),
    "5 rows of the first layer at once": ("GROUP = 4\n", "GROUP = 5\n"),
    "8 rows of the first layer at once": ("GROUP = 4\n", "GROUP = 8\n"),
    "registers of 64 bytes also without AVX-512": ("NATIVE = (0,) if LARGE else ()\n", "NATIVE = (0,)\n"),
    "upper layers' rows first to last, up and down": (
        "        at, errors, steps = w + k * stride, e + k, e + behind + k\n",
        "        j = -(-rows // 4) * 4 - 4 - k\n        at, errors, steps = w + j * stride, e + j, e + behind + j\n",
    ),
    "the next digits' pixels not asked for early": (
        "                    _fetch(ink, order[first + t + BLOCK])\n",
        "                    pass\n",
    ),
    "every function optimised by itself too": (
        '    _INNER["pipeline_class"] = PartCompiler\n',
        "    pass\n",
    ),
    "loops copied and unrolled as LLVM likes": (
        '        builder.call(ir.InlineAsm(kind, "", "", side_effect=True)',
        '        _ = lambda: builder.call(ir.InlineAsm(kind, "", "", side_effect=True)',
    ),
}
"""What stands in the kernels' source, in one place, and what each variant has there instead."""

ROUNDS = 40

CHILD = """
import sys, time
from benchmarks.peers.ours import Ink
from benchmarks.problem import make_problem
state = Ink(make_problem())
for line in sys.stdin:
    start = time.perf_counter()
    state.run(int(line))
    print(time.perf_counter() - start, flush=True)
"""

SAMPLES = 12_544


def copy_with(folder: Path, old: str, new: str) -> None:
    """Copy the package into a folder, one place of the kernels changed."""
    shutil.copytree(ROOT / "fastnn", folder / "fastnn", ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    if not old:
        return
    found = [path for path in (folder / "fastnn" / "kernels").glob("*.py") if old in path.read_text()]
    if len(found) != 1 or found[0].read_text().count(old) != 1:
        raise ValueError(f"the kernels have {old.strip()!r} in {len(found)} files, not in one place")
    found[0].write_text(found[0].read_text().replace(old, new))


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a process that trains on as many digits as it is told, and tells how long it took."""
    data = ROOT.parent / "shared"
    if data.is_dir():
        (folder.parent / "shared").unlink(missing_ok=True)
        (folder.parent / "shared").symlink_to(data)
    caches = {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, **caches},
    )


def ask(child: subprocess.Popen[str], samples: int) -> float:
    """Return the microseconds a digit of one run."""
    if child.stdin is None or child.stdout is None:
        raise ValueError("the process has no pipes")
    child.stdin.write(f"{samples}\n")
    child.stdin.flush()
    return float(child.stdout.readline()) / samples * 1e6


def main() -> int:
    """Measure all variants by turns; print the table."""
    from rich.console import Console
    from rich.table import Table

    children: dict[str, subprocess.Popen[str]] = {}
    best = dict.fromkeys(VARIANTS, float("inf"))
    compiling: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as work:
        try:
            for number, (name, (old, new)) in enumerate(VARIANTS.items()):
                print(f"compiling: {name} ...", file=sys.stderr)
                folder = Path(work) / f"variant{number}"
                copy_with(folder, old, new)
                children[name] = start(folder)
                compiling[name] = ask(children[name], 8) * 8 / 1e6
            for _ in range(ROUNDS):
                for name, child in children.items():
                    best[name] = min(best[name], ask(child, SAMPLES))
        finally:
            for child in children.values():
                child.kill()
                child.wait()
    table = Table("kernels", "µs a digit", "compared", "s to compile", title="Training 784-200-40-10, original rule")
    for name, value in best.items():
        table.add_row(name, f"{value:.2f}", f"{value / best[AS_IT_IS]:.2f}", f"{compiling[name]:.1f}")
    Console(width=max(100, Console().width)).print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
