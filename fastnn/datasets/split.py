"""Splits of a data set into training and test set, with duplicates of a sample always on the same side."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from fastnn import large_arrays
from fastnn.datasets.duplicates import are_first, group_copies, row_bytes
from fastnn.datasets.groups import join_groups
from fastnn.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset

# Numbers that give the kinds of draws different random streams. They never change, so that a seed always names the same
# split.
_SPLIT_STREAM = 0x5B117
_PER_CLASS_STREAM = 0xC1A55
_FOLD_STREAM = 0xF01D5

_FEW = 5
"""Classes with fewer samples are too small to be split."""
_SHOWN = 10
"""Most classes that a note names."""
_SIZES_AT_ONCE = 1 << 16


class Split(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of a data set is its test set. Models store it, so that they are never tested on training data.

    Attributes
    ----------
    kind : {"random", "own", "hash"}
        "random": images drawn with `seed`; but if the data set has a test set of its own, that one. "own": the data
        set's own test set; an error if it has none. "hash": the images whose SHA-256 begins with a byte that is a
        multiple of 1 / `fraction`, rounded; an image in the test set stays there when the data set grows.
    fraction : float
        Fraction of the images in the test set, more than 0 and less than 1; unused for "own".
    seed : int
        Seed of the draw; not negative. For "own" and "hash" only :func:`per_class` uses it.
    """

    kind: Literal["random", "own", "hash"] = "random"
    fraction: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 0

    @classmethod
    def of(cls, dataset: Dataset, test_fraction: float = 0.1, seed: int = 0) -> Split:
        """Return the split that ``split(dataset, test_fraction, seed)`` makes: "own" if the data have a test set."""
        return cls(kind="random" if dataset.test is None else "own", fraction=test_fraction, seed=seed)

    def own_test(self, dataset: Dataset) -> Dataset | None:
        """Return the data set's own test set if it is the test set of this split, else None.

        Raises
        ------
        DataError
            If the kind is "own", but the data set has no test set of its own.
        """
        if self.kind == "own" and dataset.test is None:
            raise DataError(
                f"{dataset.source}: has no test set of its own, on which the split tests; load it together with that"
            )
        return None if self.kind == "hash" else dataset.test

    def divide(self, dataset: Dataset) -> tuple[Dataset, Dataset]:
        """Return training and test set without the checks of :func:`split`; either may be empty.

        Raises
        ------
        DataError
            As in :meth:`own_test` and :meth:`test_mask`.
        """
        test = self.own_test(dataset)
        if test is not None:
            return replace(dataset, test=None), test
        mask = self.test_mask(dataset)
        return dataset.take(large_arrays.flatnonzero(~mask)), dataset.take(large_arrays.flatnonzero(mask))

    def test_mask(self, dataset: Dataset) -> NDArray[np.bool_]:
        """Return which samples are in the test set; none for the kind "own", where the test set is not among them.

        Returns
        -------
        ndarray of bool, shape (n,)

        Raises
        ------
        DataError
            If the fraction is not between 0 and 1, or the seed is negative.
        """
        if self.kind == "own":
            return np.zeros(len(dataset), dtype=bool)
        if not 0 < self.fraction < 1:
            raise DataError(
                f"{dataset.source}: a test fraction of {self.fraction} leaves one side empty; choose one such as 0.1"
            )
        if self.kind == "hash":
            one_in = round(1 / self.fraction)
            digests = (hashlib.sha256(row).digest() for row in row_bytes(dataset.features))
            return np.asarray([digest[0] % one_in == 0 for digest in digests], dtype=bool)
        n = len(dataset)
        # Without the small number, 0.9 * 10 could come out as 8.999...
        wanted = n - math.floor(n * (1 - self.fraction) + 1e-9)
        return self._draw(group_copies(dataset.features), wanted)

    def _draw(self, first: NDArray[np.int64], wanted: int) -> NDArray[np.bool_]:
        """Return a random choice of `wanted` samples, with groups of duplicates as :func:`group_copies` has them."""
        n = len(first)
        small = np.int32 if n <= np.iinfo(np.int32).max else np.int64
        # The groups, in the order in which they occur in a random permutation; each by its first sample.
        order = first[_generator(self.seed, _SPLIT_STREAM).permutation(n)].astype(small)
        place, backwards = np.empty(n, dtype=small), np.arange(n - 1, -1, -1, dtype=small)
        place[order[::-1]] = backwards  # of a group the last one written: its first place
        groups = order[place[order] == backwards[::-1]]
        del place, backwards, order
        chosen = _choose(np.bincount(first, minlength=n)[groups], wanted)
        is_chosen = np.zeros(n, dtype=bool)
        is_chosen[groups[chosen]] = True
        return is_chosen[first]

    def __str__(self) -> str:
        if self.kind == "own":
            return "its own test set"
        return f"{self.fraction:.0%} held out, " + (f"seed {self.seed}" if self.kind == "random" else "by SHA-256")


def split(dataset: Dataset, test_fraction: float | Split = 0.1, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Split a data set into a training and a test set, by default at random.

    Duplicates of one sample all go to the same side. At random, the training set has ``floor(n * (1 - test_fraction))``
    samples if the groups of duplicates allow it, otherwise the next larger number that they allow. A data set with a
    test set of its own is split into those two.

    Parameters
    ----------
    dataset : Dataset
    test_fraction : float or Split
        Fraction of the samples to test on, more than 0 and less than 1; or a complete description, as models store it.
    seed : int
        The same seed gives the same split. Ignored with a :class:`Split`, which has its own.

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
    >>> import fastnn
    >>> train, test = fastnn.split(fastnn.load_dataset("drawn:200"), 0.2, seed=1)
    >>> len(train), len(test)
    (160, 40)
    """
    how = test_fraction if isinstance(test_fraction, Split) else Split(fraction=test_fraction, seed=seed)
    return _checked(*how.divide(dataset))


def notes_on_small_classes(dataset: Dataset, train: Dataset, test: Dataset) -> tuple[str, ...]:
    """Return notes that name the classes with too few samples to be both in the training and in the test set.

    Parameters
    ----------
    dataset : Dataset
        Before the split.
    train, test : Dataset
        Its two parts.
    """
    if dataset.task != "classification":
        return ()
    one, own = "image" if dataset.is_images else "row", len(train) == len(dataset)
    counts = dict(zip(dataset.names, dataset.counts.tolist(), strict=True))
    tested = dict(zip(test.names, test.counts.tolist(), strict=True))
    trained = dict(zip(train.names, train.counts.tolist(), strict=True))
    mean = len(dataset) / max(1, int(np.count_nonzero(dataset.counts)))
    # Larger classes are missing in the test set by chance, and so is every class of a tiny data set.
    few = [name for name, n in counts.items() if 0 < n < min(_FEW, mean / 2) and not own and not tested.get(name)]
    unknown = [name for name, n in counts.items() if not trained.get(name) and (n or tested.get(name))]
    notes = []
    for verb, lacking in (("tested", few), ("trained", unknown)):
        if lacking:
            shown = ", ".join(f"{name!r} ({counts[name]})" for name in lacking[:_SHOWN])
            more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
            notes.append(
                f"too few {one}s for the split: none of class {shown}{more} is {verb} on; add {one}s, or leave such "
                "classes out with --classes"
            )
    return tuple(notes)


def assign_folds(
    dataset: Dataset, folds: int, seed: int, copies: NDArray[np.int64] | None = None
) -> NDArray[np.unsignedinteger[Any]]:
    """Return the fold of each sample for cross-validation, with duplicates in one fold.

    Classes are spread evenly, and so are the values of a regression with one target; several labels or targets are not.
    If the data have groups, each of them is in one fold, and so are groups that share a duplicate.

    Parameters
    ----------
    dataset : Dataset
    folds : int
    seed : int
        The same seed gives the same folds.
    copies : ndarray of int64, shape (n,), optional
        What :func:`fastnn.datasets.duplicates.group_copies` returns for the features, if it is known.

    Returns
    -------
    ndarray of unsigned integers, shape (n,)
        Numbers from 0 to `folds` - 1, in the smallest type that holds them.
    """
    first = group_copies(dataset.features) if copies is None else copies
    if dataset.groups is not None:
        return _folds_of_groups(dataset, join_groups(dataset.groups, first), folds, seed)
    # There may be millions of samples: small types, and an order that is shuffled in place.
    leaders = large_arrays.flatnonzero(are_first(first))
    generator = np.random.default_rng([seed, _FOLD_STREAM])
    generator.shuffle(leaders)
    fold = np.zeros(len(first), dtype=large_arrays.smallest_uint(folds - 1))
    numbers = np.resize(np.arange(folds, dtype=fold.dtype), len(leaders))
    if dataset.task == "classification":
        labels = dataset.labels.astype(large_arrays.smallest_uint(len(dataset.names)))
        leaders = large_arrays.take(leaders, np.argsort(labels[leaders], kind="stable"))
    elif dataset.task == "regression" and len(dataset.names) == 1:
        leaders = large_arrays.take(leaders, np.argsort(dataset.targets[leaders, 0], kind="stable"))
        # One of each `folds` neighbours goes to each fold, and not always the lowest one to the first.
        numbers = np.lexsort((generator.random(len(leaders)), np.arange(len(leaders)) // folds)) % folds
    fold[leaders] = numbers
    return np.asarray(fold[first])


def _folds_of_groups(
    dataset: Dataset, groups: NDArray[np.int64], folds: int, seed: int
) -> NDArray[np.unsignedinteger[Any]]:
    """Return the fold of each sample with whole groups in a fold and the classes as even as they allow.

    The largest groups come first; each goes to the fold with the smallest sum of squared class counts.
    """
    n_groups = int(groups.max()) + 1
    labels = dataset.labels if dataset.task == "classification" else np.zeros(len(groups), dtype=np.int64)
    n_classes = len(dataset.names) if dataset.task == "classification" else 1
    order = np.random.default_rng([seed, _FOLD_STREAM]).permutation(n_groups)
    sizes = np.bincount(groups, minlength=n_groups)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    # Of classes of different sizes, each counts the same.
    share = 1 / np.maximum(np.bincount(labels, minlength=n_classes), 1)
    filled = np.zeros((folds, n_classes))
    fold_of_group = np.zeros(n_groups, dtype=np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")].tolist():
        added = np.bincount(labels[members[group]], minlength=n_classes) * share
        # The sum of squares grows by 2 filled * added, and by a term that is the same for all folds.
        chosen = int(np.lexsort((filled.sum(axis=1), filled @ added))[0])
        fold_of_group[group] = chosen
        filled[chosen] += added
    return np.asarray(fold_of_group.astype(large_arrays.smallest_uint(folds - 1))[groups])


def _checked(train: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
    source, one = train.source, "image" if train.is_images else "row"
    if len(test) == 0 and len(train) > 1 and not group_copies(train.features).any():
        raise DataError(f"{source}: all {len(train)} {one}s are duplicates of one; they cannot be split")
    if len(test) == 0:
        copies = len(train) - len(np.unique(group_copies(train.features)))
        same = f", since {copies} are copies and stay on the side of the first one" if copies else ""
        raise DataError(
            f"{source}: no {one} is left to test on (of {len(train)}{same}); add {one}s or raise the test fraction"
        )
    if len(train) == 0:
        raise DataError(
            f"{source}: no {one} is left to train on (of {len(test)}); add {one}s or lower the test fraction"
        )
    if train.task == "classification" and np.count_nonzero(train.counts) == 1:
        name = train.classes[int(train.labels[0])]
        raise DataError(f"{source}: every training {one} has the class {name!r}; at least two classes are needed")
    return train, test


def _choose(sizes: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Return positions of sizes whose sum is `wanted`, or less if no such choice is found."""
    # All up to the first that is too large are taken at once: there may be millions.
    n_first = int(np.searchsorted(np.cumsum(sizes), wanted, side="right"))
    left = wanted - int(sizes[:n_first].sum())
    more = []
    for start in range(n_first, len(sizes), _SIZES_AT_ONCE):
        if not left:
            break
        for position, size in enumerate(sizes[start : start + _SIZES_AT_ONCE].tolist(), start):
            if size <= left:
                more.append(position)
                left -= size
    # Groups of one image fill any gap, so that only data sets made of duplicates alone get here. The table of reachable
    # sums is limited to a few MiB; beyond that the test set is a few images smaller than wanted.
    if left and len(sizes) * wanted <= 10**8:
        return np.array(_choose_exactly(sizes.tolist(), wanted), dtype=np.int64)
    return np.concatenate([np.arange(n_first), np.array(more, dtype=np.int64)])


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
    """Return a random sample with `n` images or rows of each class.

    A class with at least `n` of them is sampled without replacement. From a smaller class every one is taken once, and
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
        ``n * len(classes)`` samples, class by class.

    Raises
    ------
    DataError
        If a class has no sample, `n` is less than 1, or the data set has no classes.
    """
    one = "image" if dataset.is_images else "row"
    if dataset.task != "classification":
        raise DataError(
            f"{dataset.source}: has no classes to take {n} {one}s of (its task is {dataset.task}); drop --per-class"
        )
    if n < 1:
        raise DataError(f"{dataset.source}: cannot take {n} {one}s of each class; ask for 1 or more")
    missing = [name for name, count in zip(dataset.classes, dataset.counts, strict=True) if not count]
    if missing:
        raise DataError(f"{dataset.source}: no {one} of class {', '.join(map(repr, missing))} to draw from")
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
