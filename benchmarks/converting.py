"""Sources of each kind that become a store: how long that takes, and how much memory.

    python -m benchmarks.converting --rows 100000 --folder FOLDER

Makes sources of so many samples in FOLDER, 2 GB for 100,000 of each, and converts each in a process of its own.
Anonymous memory is measured as :mod:`benchmarks.large_data` does; beside it is the size of the samples in the store.
"""

from __future__ import annotations

import argparse
import io
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from benchmarks.large_data import in_process
from benchmarks.page import add_page_option, as_table, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastnn.datasets import Dataset

_COLUMNS = 784
_AT_ONCE = 5000
_DRAWN = 10_000
"""Different digits."""
_SPARSE_INPUTS, _VALUES = 1000, 40


def _drawn() -> Dataset:
    from fastnn.datasets import load_dataset

    return load_dataset(f"drawn:{_DRAWN}")


def _parts(n: int, columns: int) -> Iterator[dict[str, Any]]:
    """Yield columns of numbers with a target, some rows at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, n, _AT_ONCE):
        rows = rng.normal(size=(min(_AT_ONCE, n - start), columns)).round(3)
        yield {**{f"f{k}": rows[:, k] for k in range(columns)}, "target": rows[:, :5].sum(axis=1).round(3)}


def _csv(parts: Iterator[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    with path.open("wb") as file:
        for k, part in enumerate(parts):
            csv.write_csv(pa.table(part), file, csv.WriteOptions(include_header=not k))


def wide_csv(n: int, path: Path) -> None:
    """Write a table of 784 columns."""
    _csv(_parts(n, _COLUMNS), path)


def wide_parquet(n: int, path: Path) -> None:
    """Write the same table as Parquet."""
    from fastnn.datasets.arrow_files import write_columns

    with path.open("wb") as file:
        write_columns(file, str(path), _parts(n, _COLUMNS))


def categories(n: int, path: Path) -> None:
    """Write a table of 20 columns of numbers and two of 50 texts each."""
    rng = np.random.default_rng(1)
    texts = np.array([f"text {k}" for k in range(50)])
    _csv(
        (
            {**part, **{f"c{k}": texts[rng.integers(0, 50, len(part["f0"]))] for k in range(2)}}
            for part in _parts(n, 20)
        ),
        path,
    )


def svmlight(n: int, path: Path) -> None:
    """Write rows of 40 of 1,000 values."""
    rng = np.random.default_rng(2)
    with path.open("w") as file:
        for k in range(n):
            columns = np.unique(rng.integers(1, _SPARSE_INPUTS + 1, _VALUES)).tolist()
            file.write(f"{k % 2} {' '.join(f'{column}:{column % 7 + 1}' for column in columns)}\n")


def class_files(n: int, path: Path) -> None:
    """Write a folder of 0.json to 9.json."""
    dataset = _drawn()
    images = [msgspec.json.encode(image.tolist()) for image in dataset.images]
    path.mkdir()
    for digit in range(10):
        own = [images[k] for k in np.flatnonzero(dataset.labels == digit)]
        with (path / f"{digit}.json").open("wb") as file:
            for k in range(n // 10):
                file.write((b"," if k else b"[") + own[k % len(own)])
            file.write(b"]")


def pictures(n: int, path: Path) -> None:
    """Write an archive of class folders with PNG files."""
    from PIL import Image

    dataset, made = _drawn(), []
    for image in dataset.images:
        file = io.BytesIO()
        Image.fromarray(image.reshape(28, 28)).save(file, "PNG")
        made.append(file.getvalue())
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(n):
            archive.writestr(f"{dataset.labels[k % _DRAWN]}/{k:08}.png", made[k % _DRAWN])


SOURCES: dict[str, tuple[str, Callable[[int, Path], None]]] = {
    "CSV, 784 columns of numbers": ("wide.csv", wide_csv),
    "Parquet, 784 columns of numbers": ("wide.parquet", wide_parquet),
    "CSV, 20 columns of numbers and two of texts": ("categories.csv", categories),
    "SVMlight, 40 of 1,000 values a row": ("a.svmlight", svmlight),
    "0.json to 9.json": ("digits", class_files),
    "pictures in a zip file": ("pictures.zip", pictures),
}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=Path())
    add_page_option(parser)
    options = parser.parse_args()
    rows = []
    for kind, (name, make) in SOURCES.items():
        path, store = options.folder / name, options.folder / f"{name}.fnn"
        if not path.exists():
            make(options.rows, path)
        found = in_process("convert", str(path), str(store))
        shutil.rmtree(store)
        size = found["rate"] * found["seconds"]
        rows.append((kind, f"{found['seconds']:,.0f} s", f"{size:,.0f} MB", f"{found['peak'] / 1e6:,.0f} MB"))
    names = (f"{options.rows:,} samples", "in the store", "most anonymous memory")
    show(as_table(rows, *names), "converting", options.page)


if __name__ == "__main__":
    main()
