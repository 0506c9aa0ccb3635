"""Dividing a data set into digits to learn from and digits to be tested on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.duplicates import group_copies
from fastnn.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset

# Numbers that set these draws apart from others of the same seed. They never change: a seed names a split.
_SPLIT_STREAM = 0x5B117
_PER_CLASS_STREAM = 0xC1A55


def split(dataset: Dataset, test_fraction: float = 0.1, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Divide a data set at random into a training and a test set.

    Copies of one image all go to the same side. The training set has ``floor(n * (1 - test_fraction))`` images
    wherever the groups of copies allow it, and the next larger number that they allow elsewhere. A set that has a
    test set of its own is divided into the two.

    Parameters
    ----------
    dataset : Dataset
    test_fraction : float
        The share of images to test on, more than 0 and less than 1.
    seed : int
        The same seed gives the same split.

    Returns
    -------
    train, test : Dataset
        Each in the order of `dataset`.

    Raises
    ------
    DataError
        If a side would be empty, or there is one class only.
    """
    if dataset.test is not None:
        return _checked(replace(dataset, test=None), dataset.test)
    is_test = held_back(dataset, test_fraction, seed)
    return _checked(dataset.take(np.flatnonzero(~is_test)), dataset.take(np.flatnonzero(is_test)))


def held_back(dataset: Dataset, test_fraction: float = 0.1, seed: int = 0) -> NDArray[np.bool_]:
    """Return which images :func:`split` tests on where the source has no test set of its own, shape (n,).

    Raises
    ------
    DataError
        If the fraction leaves a side empty.
    """
    if not 0 < test_fraction < 1:
        raise DataError(f"{dataset.source}: a test fraction of {test_fraction} leaves one side empty; take 0.1 or so")
    n = len(dataset)
    # The tiny amount keeps 0.9 * 10 from being 8.999...
    wanted = n - math.floor(n * (1 - test_fraction) + 1e-9)
    # Groups of copies, in the order in which the permutation comes upon them.
    first = group_copies(dataset.images)
    order = first[_generator(seed, _SPLIT_STREAM).permutation(n)]
    groups, place, sizes = np.unique(order, return_index=True, return_counts=True)
    by_place = np.argsort(place)
    chosen = _choose(sizes[by_place].tolist(), wanted)
    return np.isin(first, groups[by_place[chosen]])


def _checked(train: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
    source = train.source
    if len(test) == 0 and len(train) > 1 and (train.images == train.images[0]).all():
        raise DataError(f"{source}: all {len(train)} images are copies of one; they cannot be divided")
    if len(test) == 0:
        raise DataError(
            f"{source}: no image is left to test on (of {len(train)}); add images or raise the test fraction"
        )
    if len(train) == 0:
        raise DataError(
            f"{source}: no image is left to train on (of {len(test)}); add images or lower the test fraction"
        )
    if np.count_nonzero(train.counts) == 1:
        name = train.classes[int(train.labels[0])]
        raise DataError(f"{source}: every image to train on is of the class {name!r}; two classes are needed at least")
    return train, test


def _choose(sizes: list[int], wanted: int) -> list[int]:
    """Return positions in `sizes` whose sum is `wanted`, or less where no such choice is found."""
    chosen, left = [], wanted
    for position, size in enumerate(sizes):
        if size <= left:
            chosen.append(position)
            left -= size
    # Groups of one fill any gap, so that this is reached by sets made of copies alone. The table of reachable sums
    # is bounded to a few MiB; beyond that a few images less are tested on.
    if left and len(sizes) * wanted <= 10**8:
        return _choose_exactly(sizes, wanted)
    return chosen


def _choose_exactly(sizes: list[int], wanted: int) -> list[int]:
    """Return positions in `sizes` with the largest sum up to `wanted` (subset sum; bit s of a number: s is reached)."""
    mask = (1 << (wanted + 1)) - 1
    reached = [1]
    for size in sizes:
        reached.append((reached[-1] | reached[-1] << size) & mask)
    total = reached[-1].bit_length() - 1
    chosen = []
    for position in range(len(sizes) - 1, -1, -1):
        if not reached[position] >> total & 1:
            chosen.append(position)
            total -= sizes[position]
    return chosen


def per_class(dataset: Dataset, n: int, seed: int = 0) -> Dataset:
    """Draw `n` images of each class.

    A class that has enough gives `n` different ones; of a smaller class each image is taken once, and the missing
    ones are drawn from it again.

    Parameters
    ----------
    dataset : Dataset
    n : int
        At least 1.
    seed : int
        The same seed gives the same draw.

    Returns
    -------
    Dataset
        ``n * len(classes)`` images, class after class.

    Raises
    ------
    DataError
        If a class has no image at all.
    """
    if n < 1:
        raise DataError(f"{dataset.source}: {n} images of each class are none; ask for 1 or more")
    missing = [name for name, count in zip(dataset.classes, dataset.counts, strict=True) if not count]
    if missing:
        raise DataError(f"{dataset.source}: no image of class {', '.join(map(repr, missing))} to draw from")
    generator = _generator(seed, _PER_CLASS_STREAM)
    drawn: list[NDArray[np.int64]] = []
    for label in range(len(dataset.classes)):
        positions = np.flatnonzero(dataset.labels == label)
        if len(positions) >= n:
            drawn.append(generator.choice(positions, n, replace=False))
        else:
            drawn += [positions, generator.choice(positions, n - len(positions), replace=True)]
    return dataset.take(np.concatenate(drawn))


def _generator(seed: int, stream: int) -> np.random.Generator:
    if seed < 0:
        raise DataError(f"a seed of {seed} is negative; take 0 or more")
    return np.random.default_rng([seed, stream])
