"""Splitting a data set into a training and a test set."""

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

# Numbers that give the two kinds of draws different random streams. They never change, so that a seed always names
# the same split.
_SPLIT_STREAM = 0x5B117
_PER_CLASS_STREAM = 0xC1A55


def split(dataset: Dataset, test_fraction: float = 0.1, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Split a data set at random into a training and a test set.

    Duplicates of one image all go to the same side. The training set has ``floor(n * (1 - test_fraction))`` images
    if the groups of duplicates allow it, otherwise the next larger number that they allow. A data set with a test set
    of its own is split into those two.

    Parameters
    ----------
    dataset : Dataset
    test_fraction : float
        Fraction of the images to test on, more than 0 and less than 1.
    seed : int
        The same seed gives the same split.

    Returns
    -------
    train, test : Dataset
        Each in the order of `dataset`.

    Raises
    ------
    DataError
        If one side would be empty, or the training set has only one class.

    Examples
    --------
    >>> from fastnn import load_dataset
    >>> train, test = split(load_dataset("drawn:200"), 0.25)
    >>> len(train), len(test)
    (150, 50)
    """
    if dataset.test is not None:
        return _checked(replace(dataset, test=None), dataset.test)
    is_test = held_back(dataset, test_fraction, seed)
    return _checked(dataset.take(np.flatnonzero(~is_test)), dataset.take(np.flatnonzero(is_test)))


def held_back(dataset: Dataset, test_fraction: float = 0.1, seed: int = 0) -> NDArray[np.bool_]:
    """Return which images :func:`split` puts into the test set, ignoring a test set that the source has.

    Parameters
    ----------
    dataset : Dataset
    test_fraction : float
        Fraction of the images to test on, more than 0 and less than 1.
    seed : int

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    DataError
        If the fraction is not between 0 and 1.
    """
    if not 0 < test_fraction < 1:
        raise DataError(
            f"{dataset.source}: a test fraction of {test_fraction} leaves one side empty; choose one such as 0.1"
        )
    n = len(dataset)
    # Without the small number, 0.9 * 10 could come out as 8.999...
    wanted = n - math.floor(n * (1 - test_fraction) + 1e-9)
    # Groups of duplicates, in the order in which they occur in a random permutation.
    first = group_copies(dataset.images)
    order = first[_generator(seed, _SPLIT_STREAM).permutation(n)]
    groups, place, sizes = np.unique(order, return_index=True, return_counts=True)
    by_place = np.argsort(place)
    chosen = _choose(sizes[by_place].tolist(), wanted)
    return np.isin(first, groups[by_place[chosen]])


def _checked(train: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
    source = train.source
    if len(test) == 0 and len(train) > 1 and (train.images == train.images[0]).all():
        raise DataError(f"{source}: all {len(train)} images are duplicates of one; they cannot be split")
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
        raise DataError(f"{source}: every training image has the class {name!r}; at least two classes are needed")
    return train, test


def _choose(sizes: list[int], wanted: int) -> list[int]:
    """Return positions of sizes whose sum is `wanted`, or less if no such choice is found."""
    chosen, left = [], wanted
    for position, size in enumerate(sizes):
        if size <= left:
            chosen.append(position)
            left -= size
    # Groups of one image fill any gap, so that only data sets made of duplicates alone get here. The table of reachable
    # sums is limited to a few MiB; beyond that the test set is a few images smaller than wanted.
    if left and len(sizes) * wanted <= 10**8:
        return _choose_exactly(sizes, wanted)
    return chosen


def _choose_exactly(sizes: list[int], wanted: int) -> list[int]:
    """Return positions of sizes with the largest sum up to `wanted` (subset sum; bit s of `reached`: sum s exists)."""
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
    """Return a random sample with `n` images of each class.

    A class with at least `n` images is sampled without replacement. From a smaller class every image is taken once, and
    the rest are drawn with replacement.

    Parameters
    ----------
    dataset : Dataset
    n : int
        At least 1.
    seed : int
        The same seed gives the same sample.

    Returns
    -------
    Dataset
        ``n * len(classes)`` images, class by class.

    Raises
    ------
    DataError
        If a class has no image, or `n` is less than 1.
    """
    if n < 1:
        raise DataError(f"{dataset.source}: cannot take {n} images of each class; ask for 1 or more")
    missing = [name for name, count in zip(dataset.classes, dataset.counts, strict=True) if not count]
    if missing:
        raise DataError(f"{dataset.source}: no image of class {', '.join(map(repr, missing))} to draw from")
    generator = _generator(seed, _PER_CLASS_STREAM)
    chosen: list[NDArray[np.int64]] = []
    for label in range(len(dataset.classes)):
        positions = np.flatnonzero(dataset.labels == label)
        if len(positions) >= n:
            chosen.append(generator.choice(positions, n, replace=False))
        else:
            chosen += [positions, generator.choice(positions, n - len(positions), replace=True)]
    return dataset.take(np.concatenate(chosen))


def _generator(seed: int, stream: int) -> np.random.Generator:
    if seed < 0:
        raise DataError(f"a seed of {seed} is negative; it must be 0 or more")
    return np.random.default_rng([seed, stream])
