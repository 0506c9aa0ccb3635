"""What single decisions in the kernels are worth: ``python -m benchmarks.variants``; about six minutes.

Each variant is a copy of the package in which a few places of the source read otherwise. All variants train
784-200-40-10 by the original rule in float32, each in a process of its own, by turns on one core.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.builds import ROOT, Build, copy_benchmarks, measure, seconds

AS_IT_IS = "as it is"

SIZES: dict[str, tuple[tuple[str, str], ...]] = {
    AS_IT_IS: (),
    "one digit at a time": (("BLOCK = 4\n", "BLOCK = 1\n"),),
    "blocks of 2 digits": (("BLOCK = 4\n", "BLOCK = 2\n"),),
    "blocks of 3 digits": (("BLOCK = 4\n", "BLOCK = 3\n"),),
    "blocks of 5 digits": (("BLOCK = 4\n", "BLOCK = 5\n"),),
    "blocks of 6 digits": (("BLOCK = 4\n", "BLOCK = 6\n"),),
    "blocks of 8 digits": (("BLOCK = 4\n", "BLOCK = 8\n"),),
    "3 rows of the first layer at once": (("GROUP = 4\n", "GROUP = 3\n"),),
    "5 rows of the first layer at once": (("GROUP = 4\n", "GROUP = 5\n"),),
    "8 rows of the first layer at once": (("GROUP = 4\n", "GROUP = 8\n"),),
    "registers of 64 bytes also without AVX-512": (("NATIVE = (0,) if LARGE else ()\n", "NATIVE = (0,)\n"),),
    "upper layers' rows first to last, up and down": (
        (
            """\
        at, errors, steps = w + k * stride, e + k, e + behind + k
""",
            """\
        j = -(-rows // 4) * 4 - 4 - k
        at, errors, steps = w + j * stride, e + j, e + behind + j
""",
        ),
    ),
    "the next digits' pixels not asked for early": (
        ("                    _fetch(ink, order[first + t + BLOCK])\n", "                    pass\n"),
    ),
    "numbers begin 32 bytes behind a cache line": (
        (
            """\
    raw = np.zeros(length * dtype.itemsize + LINE, dtype=np.uint8)
    start = -raw.ctypes.data % LINE
""",
            """\
    raw = np.zeros(length * dtype.itemsize + 2 * LINE, dtype=np.uint8)
    start = -raw.ctypes.data % LINE + LINE // 2
""",
        ),
    ),
    "loops copied and unrolled as LLVM likes": (
        (
            '        builder.call(ir.InlineAsm(kind, "", "", side_effect=True)',
            '        _ = lambda: builder.call(ir.InlineAsm(kind, "", "", side_effect=True)',
        ),
    ),
    "compiled by Numba's own compiler": (
        (
            """\
    if works():
""",
            """\
    if False:
""",
        ),
    ),
}
"""What stands in the source, in one place, and what each variant has there instead."""

DROPPED: dict[str, tuple[tuple[str, str], ...]] = {
    AS_IT_IS: (),
    "each row of a block times all 4 digits, zeros too": (
        ("                case = np.int64(peek(cases, p))\n", "                case = everyone\n"),
    ),
    "larger pages for the weights (madvise)": (
        (
            """\
    raw = np.zeros(length * dtype.itemsize + LINE, dtype=np.uint8)
    start = -raw.ctypes.data % LINE
""",
            """\
    import mmap
    page = 2 << 20
    pages = mmap.mmap(-1, -(-length * dtype.itemsize // page) * page + page)
    pages.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(pages, np.uint8)
    start = -raw.ctypes.data % page
""",
        ),
    ),
    "two registers of columns in each turn of the loop": (
        (
            """\
            with self.columns(_I64(0), self.length) as (column, _):
                emit_rolled(builder)
                emit([builder.add(place, column) for place in data], [builder.add(row, column) for row in rows], values)
""",
            """\
            one = self.register.count
            even = builder.sub(self.length, builder.urem(self.length, _I64(2 * one)))
            for first, last, step in ((_I64(0), even, 2), (even, self.length, 1)):
                with cgutils.for_range_slice(builder, first, last, _I64(step * one)) as (column, _):
                    emit_rolled(builder)
                    for k in range(step):
                        at = builder.add(column, _I64(k * one))
                        emit([builder.add(place, at) for place in data], [builder.add(row, at) for row in rows], values)
""",
        ),
    ),
    "code of its own for two rows that are left over": (
        (
            """\
                    for start, stop, rows in ((first, rest, GROUP), (rest, last, 1)):
""",
            """\
                    two = builder.sub(last, builder.urem(builder.sub(last, first), _I64(2)))
                    for start, stop, rows in ((first, rest, GROUP), (rest, two, 2), (two, last, 1)):
""",
        ),
    ),
    "asking for the first lines of the next four rows early": (
        (
            """\
            with self.columns(_I64(0), self.length) as (column, _):
                emit_rolled(builder)
                emit([""",
            """\
            kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer()] + [_I32] * 3)
            ask = builder.module.declare_intrinsic('llvm.prefetch', [_I8.as_pointer()], kind)
            for i in range(size if size == GROUP else 0):
                ahead = builder.load(builder.gep(self.lists, [builder.add(index, _I64(GROUP + i))]))
                row = builder.add(self.w, builder.mul(builder.sext(ahead, _I64), self.stride))
                for line in range(2):
                    place = builder.gep(self.m, [builder.add(row, _I64(16 * line))])
                    place = builder.bitcast(place, _I8.as_pointer())
                    builder.call(ask, [place, _I32(0), _I32(3), _I32(1)])
            with self.columns(_I64(0), self.length) as (column, _):
                emit_rolled(builder)
                emit([""",
        ),
    ),
    "eight rows of the second layer at once on the way up": (
        (
            """\
    k = 0
    while k < rows:
        rolled()
        x = splat(zero, _W4)
""",
            """\
    k = 0
    while k + 8 <= rows:
        rolled()
        x, y = splat(zero, _W4), splat(zero, _W4)
        at, r = w + k * stride, 0
        while r < registers * lanes:
            rolled()
            below = load(m, h + r, _W1)
            x = fma(load_four(m, at + r, stride, _W1), below, x)
            y = fma(load_four(m, at + 4 * stride + r, stride, _W1), below, y)
            r += lanes
        store(m, sums + k * lanes, x)
        store(m, sums + (k + 4) * lanes, y)
        k += 8
    while k < rows:
        rolled()
        x = splat(zero, _W4)
""",
        ),
    ),
    "one LLVM vector as long as the hidden layer": (
        (
            """\
self.register = ir.VectorType(context.get_value_type(dtype), lanes_of(dtype, NATIVE))
""",
            """\
self.register = ir.VectorType(context.get_value_type(dtype), 200)
""",
        ),
    ),
}
"""The same for what was tried and dropped."""

ROUNDS = 40


def edited(places: tuple[tuple[str, str], ...]) -> dict[Path, str]:
    """Return the files of the source that read otherwise; raise ValueError for a place that is not there."""
    files = [*(ROOT / "fastnn" / "kernels").glob("*.py"), ROOT / "fastnn" / "network.py"]
    texts = {path.relative_to(ROOT): path.read_text() for path in files}
    changed = {}
    for old, new in places:
        found = [path for path, text in texts.items() if old in text]
        if len(found) != 1 or texts[found[0]].count(old) != 1:
            raise ValueError(f"the source has {old.strip()!r} in {len(found)} files, not in one place")
        changed[found[0]] = texts[found[0]] = texts[found[0]].replace(old, new)
    return changed


def copy_with(folder: Path, places: tuple[tuple[str, str], ...]) -> None:
    """Copy the package into a folder, a few places of the source changed."""
    shutil.copytree(ROOT / "fastnn", folder / "fastnn", ignore=shutil.ignore_patterns("__pycache__", "static"))
    for path, text in edited(places).items():
        (folder / path).write_text(text)


def main() -> int:
    """Measure all variants by turns; print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=max(100, Console().width))
    for title, variants in (("sizes and decisions", SIZES), ("tried and dropped", DROPPED)):
        with tempfile.TemporaryDirectory() as work:
            builds = []
            for number, (name, places) in enumerate(variants.items()):
                folder = Path(work) / str(number)
                copy_benchmarks(folder)
                copy_with(folder, places)
                builds.append(Build(name, folder))
            measure(builds, ROUNDS)
        table = Table(
            title, "µs a digit", "compared", "s from empty caches", title="Training 784-200-40-10, original rule"
        )
        for build in builds:
            table.add_row(build.name, f"{build.best():.2f}", f"{build.best() / builds[0].best():.2f}", seconds(build))
        console.print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
