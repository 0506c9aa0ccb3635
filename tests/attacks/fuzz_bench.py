"""What targets are made of: the table, the bench that an input is run on, and what must hold for results."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from fastnn.recipe import Recipe, load_recipe
from tests.attacks.fuzz_mutate import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from fastnn.datasets import Dataset
    from fastnn.model import Model
    from tests.attacks.fuzz_mutate import Mutator

    Run = Callable[[bytes, "Bench"], object]

T = TypeVar("T")

TARGETS: dict[str, Target] = {}
"""All targets by name; `target` adds to it."""


class Bench:
    """What a target needs: a folder, and things that are made once and closed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, Any] = {}
        self._open = contextlib.ExitStack()

    def write(self, name: str, content: bytes) -> Path:
        """Write an input to a file."""
        path = self.folder / name
        path.write_bytes(content)
        return path

    def write_files(self, content: bytes) -> Path:
        """Write an input of several files to a new folder."""
        folder = self.new_folder("files")
        for name, part in unpack(content).items():
            path = folder / name
            if "\0" not in name and ".." not in name and not name.startswith("/") and len(name) < 100:
                with contextlib.suppress(OSError):  # a file where another name needs a folder
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(part)
        return folder

    def new_folder(self, name: str) -> Path:
        """Return an empty folder in place of an earlier one."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    @contextlib.contextmanager
    def in_empty_folder(self) -> Iterator[None]:
        """Work in an empty folder, so that names are not those of real files."""
        with contextlib.chdir(self.once("empty", lambda: self.new_folder("empty"))):
            yield

    def once(self, name: str, make: Callable[[], T], close: Callable[[T], object] | None = None) -> T:
        """Return what `make` returned the first time."""
        if name not in self._made:
            made = self._made[name] = make()
            if close is not None:
                self._open.callback(close, made)
        found: T = self._made[name]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


@dataclass(frozen=True)
class Target:
    """One reader or writer under attack.

    Attributes
    ----------
    name : str
    run : callable
        Gives an input to fastnn.
    make_seeds : callable
        Returns valid inputs.
    mutator : callable
    share : float
        Share of the inputs that it gets; less than 1 where one takes many milliseconds.
    heavy : callable
        Returns inputs that take seconds, which the short pass leaves out.
    longest_message : int
        Most characters of an error message. A message may repeat what the user typed, but not a file.
    """

    name: str
    run: Run
    make_seeds: Callable[[], Sequence[bytes]]
    mutator: Mutator
    share: float = 1.0
    heavy: Callable[[], Sequence[bytes]] = field(default=list)
    longest_message: int = 2000


def target(
    name: str, make_seeds: Callable[[], Sequence[bytes]], mutator: Mutator, **options: Any
) -> Callable[[Run], Run]:
    """Add the decorated function to the table; `options` are fields of a Target."""

    def add(run: Run) -> Run:
        assert name not in TARGETS
        TARGETS[name] = Target(name, run, make_seeds, mutator, **options)
        return run

    return add


def lines(*texts: str) -> Callable[[], list[bytes]]:
    """Return a function that returns texts as inputs."""
    return lambda: [text.encode() for text in texts]


def values(*some: Any) -> Callable[[], list[bytes]]:
    """Return a function that returns values as inputs in JSON."""
    return lambda: [json.dumps(value).encode() for value in some]


def as_text(content: bytes) -> str:
    """Return an input as the command line gets arguments: bytes that are not UTF-8 become lone surrogates."""
    return content.decode(errors="surrogateescape")


def as_value(content: bytes) -> Any:
    """Return the value of an input in JSON; None if it is not JSON, so that it is no input."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment in the block."""
    old = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if old is not None:
            os.environ[name] = old


def check_dataset(dataset: Dataset) -> None:
    """Check the shapes, types and ranges of a data set that was read."""
    if not dataset.is_images:
        check_table(dataset)
        return
    for part in (dataset, dataset.test) if dataset.test is not None else (dataset,):
        assert part.images.dtype == np.uint8
        assert part.images.shape == (len(part), 784)
        assert np.asarray(part.images).flags.c_contiguous
        assert part.labels.dtype == np.int64
        assert part.labels.shape == (len(part),)
        assert part.classes == dataset.classes
        assert part.labels.size == 0 or 0 <= part.labels.min() <= part.labels.max() < len(part.classes)
        assert len(part.content_hash) == 64
    assert len(dataset) > 0
    assert len(set(dataset.classes)) == len(dataset.classes) > 0
    assert all(isinstance(name, str) and name and name.isprintable() for name in dataset.classes)


def check_table(dataset: Dataset) -> None:
    """Check that a table that was read can be learned from, and that its figures are finite."""
    from fastnn.datasets.split import assign_folds
    from fastnn.datasets.summary import summary

    for part in (dataset, dataset.test) if dataset.test is not None else (dataset,):
        # Dataset checks shapes, types and values.
        part.take(np.arange(len(part)))
        assert part.n_inputs > 0
        assert part.names == dataset.names
        assert part.columns == dataset.columns
    assert len(dataset) > 0
    assert len(set(dataset.names)) == len(dataset.names) > 0
    assert all(isinstance(note, str) for note in dataset.notes)
    json.dumps(summary(dataset), allow_nan=False)
    folds = assign_folds(dataset, 2, 0)
    assert folds.shape == (len(dataset),)
    assert set(folds.tolist()) <= {0, 1}


def check_model(model: Model) -> None:
    """Check that a model predicts finite probabilities, and is the same when it is written and read."""
    n = model.sizes[0]
    probes = np.stack([np.full(n, 255), np.zeros(n), np.arange(n) * 37 % 256]).astype(np.uint8)
    probabilities = model.predict_proba(probes)
    assert probabilities.shape == (3, len(model.classes))
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert model.predict(probes).max() < len(model.classes)


def check_recipe(recipe: Recipe, bench: Bench) -> None:
    """Check the ranges of a recipe, and that it is the same when it is written and read."""
    assert Recipe.from_dict(recipe.as_dict()) == recipe
    assert load_recipe(bench.write("again.toml", recipe.to_toml().encode())) == recipe
    assert all(math.isfinite(recipe.lr_at(epoch)) for epoch in (1, recipe.epochs))
