"""Finds wrong labels, copies, and drawings that are not digits; the only file that imports cleanlab."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.dataset import SIDE
from fastnn.datasets.duplicates import are_first, group_copies
from fastnn.datasets.mapped import MappedRows
from fastnn.errors import DataError, MissingExtraError, cannot_write
from fastnn.reading import read_csv_rows
from fastnn.recipe import Recipe, presets
from fastnn.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.crossval import Running
    from fastnn.datasets import Dataset

Kind = Literal["wrong label", "not a digit", "copy"]
KINDS: tuple[Kind, ...] = ("wrong label", "not a digit", "copy")
COLUMNS = ("index", "label", "suggested", "score", "reason")

RECIPE = Recipe(
    name="clean",
    hidden=(200, 40),
    rule="backprop",
    activation="relu",
    init="he",
    invert=True,
    epochs=10,
    lr=0.02,
    schedule="cosine",
    label_smoothing=0.1,
    calibrate=False,
)
"""Recipe for cross-validation of images. Networks with label smoothing memorise fewer wrong labels. It is not undone:
then 21 instead of 35 of the real digits are called no digits, since unlikely classes get the same probability."""

_CERTAIN = 0.5
"""A class is suggested, and a drawing is certain to be a digit, from this probability on. Of 169 flipped labels that it
found in the real digits, 168 got their true class."""
_OUTLIER_SHARE = 0.005
"""An uncertain drawing is not a digit if it is farther from its neighbours than all but this share of the certain ones.
On the real digits this finds 25: half are faces, scribbles, words or two digits, the rest are unusual digits."""
_IMAGES_AT_ONCE = 1 << 12
"""Images that are compared with others at a time."""
_ROWS_AT_ONCE = 128
"""Images that are blurred, or whose distances to 5,000 others are in memory, at a time."""
_NEIGHBOURS = 10
_MAX_COMPARED = 5000
_COMPONENTS = 40
_MAX_ON_SHEET = 120
_MAX_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Issue:
    """A problem with one image or row.

    Attributes
    ----------
    index : int
        Index of the image or row in the data set, from 0.
    label : str
        Class in the data.
    suggested : str
        Suggested class; empty to leave it out.
    score : float
        How well the label fits, from 0 (not at all) to 1.
    kind : {"wrong label", "not a digit", "copy"}
    reason : str
        The kind, with details.
    """

    index: int
    label: str
    suggested: str
    score: float
    kind: Kind
    reason: str


@dataclass(frozen=True, eq=False)
class Findings:
    """Problems found in a data set.

    Attributes
    ----------
    issues : tuple of Issue
        At most one for each image or row; first wrong labels, then drawings that are not digits, then copies; of each
        kind the worst first.
    accuracy : float
        Share of the labels that are predicted by networks trained on other images or rows.
    probabilities : ndarray of float64, shape (n, classes)
        Class probabilities of each image or row by these networks, see
        :func:`fastnn.crossval.cross_val_predict_proba`.
    """

    issues: tuple[Issue, ...]
    accuracy: float
    probabilities: NDArray[np.float64]

    def count(self, kind: Kind) -> int:
        """Return the number of issues of a kind."""
        return sum(issue.kind == kind for issue in self.issues)


def find_issues(
    dataset: Dataset,
    *,
    folds: int = 5,
    repeats: int = 3,
    epochs: int | None = None,
    seed: int = 0,
    **running: Unpack[Running],
) -> Findings:
    """Find wrong labels, drawings that are not digits, and copies; in a table wrong labels and copies.

    Cross-validation gives class probabilities of each sample by networks that were not trained on it. From these
    cleanlab estimates how many labels of each class are wrong, and selects the least probable (confident learning:
    Northcutt, Jiang, Chuang, JAIR 70, 2021).

    Parameters
    ----------
    dataset : Dataset
        Its test set, if it has one, is not searched.
    folds, repeats, **running
        As for :func:`fastnn.crossval.cross_val_predict_proba`.
    epochs : int, optional
        Epochs of each training; by default 10, or those of recipe table.
    seed : int
        Random seed for folds and weights.

    Returns
    -------
    Findings

    Raises
    ------
    DataError
        If the data set is too small, or has only one class or none.
    MissingExtraError
        If cleanlab is not installed.
    """
    from fastnn.crossval import cross_val_predict_proba
    from fastnn.images.normalised_rows import normalise_rows

    # Found, but not imported: it takes 95 MB, which are not needed while networks are trained.
    if importlib.util.find_spec("cleanlab") is None:
        raise _no_cleanlab()
    check_has_classes(dataset)
    if np.count_nonzero(dataset.counts) < 2:
        raise DataError(f"{dataset.source}: finding wrong labels needs {_samples(dataset)} of at least two classes")
    if dataset.is_images and isinstance(dataset.features, MappedRows) and running.get("scheduler") is not None:
        raise DataError(
            f"{dataset.source}: the images of a store are normalised in this process, which workers do not do; "
            "drop --scheduler, or give a file that is no store"
        )
    recipe = (RECIPE if dataset.is_images else presets["table"]).replace(epochs=epochs, seed=seed)
    searched = replace(dataset, test=None)
    if dataset.is_images:
        # Copies must be in the same fold; images that differ can be the same after normalising.
        images, blank = normalise_rows(dataset.images)
        searched = replace(searched, features=images)
    probabilities = cross_val_predict_proba(searched, recipe, folds=folds, repeats=repeats, **running)
    wrong, scores = _find_wrong_labels(dataset.labels, probabilities)
    describe = _Describer(dataset, probabilities, scores)
    issues = describe.copies(group_copies(dataset.features))
    if dataset.is_images:
        for index in np.flatnonzero(blank | _find_outliers(images, probabilities)).tolist():
            issues.setdefault(index, describe.not_a_digit(index, blank=bool(blank[index])))
    for index in np.flatnonzero(wrong).tolist():
        issues.setdefault(index, describe.wrong_label(index))
    ranked = sorted(issues.values(), key=lambda issue: (KINDS.index(issue.kind), issue.score, issue.index))
    n_right = sum(
        int(np.count_nonzero(probabilities[part].argmax(axis=1) == dataset.labels[part]))
        for part in large_arrays.parts(*probabilities.shape)
    )
    return Findings(tuple(ranked), n_right / len(dataset), probabilities)


def check_has_classes(dataset: Dataset) -> None:
    """Raise DataError unless the task of a data set is classification."""
    if dataset.task != "classification":
        raise DataError(
            f"{dataset.source}: wrong labels can be found only if each sample has one class, but the task is "
            f"{dataset.task}"
        )


def _samples(dataset: Dataset) -> str:
    return "images" if dataset.is_images else "rows"


@dataclass(frozen=True, eq=False)
class _Describer:
    """Makes the issues of samples, given by their indices in a data set."""

    dataset: Dataset
    probabilities: NDArray[np.float64]
    scores: NDArray[np.float64]

    def copies(self, first: NDArray[np.int64]) -> dict[int, Issue]:
        """Return an issue for each copy of an earlier image, and for each image whose copies have another label."""
        issues: dict[int, Issue] = {}
        groups: dict[int, list[int]] = {}
        for index in np.flatnonzero(~are_first(first)).tolist():
            groups.setdefault(int(first[index]), []).append(index)
        labels = self.dataset.labels
        for leader, others in groups.items():
            for index in others:
                other_label = ", with another label" if labels[index] != labels[leader] else ""
                issues[index] = self._issue(index, "", "copy", f"copy of {leader}{other_label}")
            agreed = self._agreed([leader, *others])
            if agreed != labels[leader]:
                name = self.dataset.classes[agreed]
                issues[leader] = self._issue(leader, name, "wrong label", "wrong label, by its copies")
        return issues

    def not_a_digit(self, index: int, *, blank: bool) -> Issue:
        why = "nothing is drawn" if blank else "unlike all others"
        return self._issue(index, "", "not a digit", f"not a digit, {why}")

    def wrong_label(self, index: int) -> Issue:
        likeliest = int(self.probabilities[index].argmax())
        if self.probabilities[index, likeliest] < _CERTAIN or likeliest == self.dataset.labels[index]:
            return self._issue(index, "", "wrong label", "wrong label, none is likely")
        return self._issue(index, self.dataset.classes[likeliest], "wrong label", "wrong label")

    def _agreed(self, members: list[int]) -> int:
        """Return the most frequent label of some copies; in a tie, the most probable one."""
        votes = np.bincount(self.dataset.labels[members], minlength=len(self.dataset.classes))
        likely = self.probabilities[members].mean(axis=0)
        return int(np.argmax(np.where(votes == votes.max(), likely, -1.0)))

    def _issue(self, index: int, suggested: str, kind: Kind, reason: str) -> Issue:
        label = self.dataset.classes[int(self.dataset.labels[index])]
        return Issue(index, label, suggested, round(float(self.scores[index]), 6), kind, reason)


def _cleanlab() -> Any:
    """Return the package cleanlab, with the modules that are used."""
    try:
        import cleanlab.count
        import cleanlab.filter
        import cleanlab.rank
    except ImportError as error:
        raise _no_cleanlab() from error
    return cleanlab


def _no_cleanlab() -> MissingExtraError:
    return MissingExtraError("finding wrong labels", "clean")


@dataclass(frozen=True, eq=False)
class _Occurring:
    """Labels and probabilities of the classes that occur; cleanlab requires every class to occur.

    Attributes
    ----------
    labels : ndarray of unsigned integers, shape (n,)
        From 0 to the number of these classes.
    probabilities : ndarray of float64, shape (n, classes)
        Of all classes.
    present : ndarray of int64, shape (k,)
        The classes that occur.
    """

    labels: NDArray[np.unsignedinteger[Any]]
    probabilities: NDArray[np.float64]
    present: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> _Occurring:
        occurs = np.bincount(labels, minlength=probabilities.shape[1]) > 0
        numbers = (np.cumsum(occurs) - 1).astype(large_arrays.smallest_uint(len(occurs)))
        return cls(numbers[labels], probabilities, np.flatnonzero(occurs))

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self) -> Iterator[slice]:
        return large_arrays.parts(len(self), len(self.present))

    def shares(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probabilities of some samples, which sum to 1."""
        found: NDArray[np.float64] = self.probabilities[rows]
        if len(self.present) == found.shape[1]:
            return found
        found = np.take(found, self.present, axis=1)  # in the order of rows, as indexing does not
        total = found.sum(axis=1, keepdims=True)
        equal = np.full_like(found, 1.0 / len(self.present))
        return np.asarray(np.divide(found, total, out=equal, where=total > 0))

    def with_all_classes(self, rows: slice | NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return labels and probabilities of some samples behind those of one certain sample of each class."""
        k = len(self.present)
        labels = np.concatenate([np.arange(k), self.labels[rows]])
        return labels.astype(np.int64), np.concatenate([np.eye(k), self.shares(rows)])


def _find_wrong_labels(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which labels are wrong according to cleanlab, and the probability of each label, both of shape (n,).

    The result is that of ``cleanlab.filter.find_label_issues(..., filter_by="prune_by_class")``, which copies all
    probabilities several times; here cleanlab is given some of them at a time. Of each class, the least probable labels
    are wrong, as many as the confident joint says, unless they are the likeliest class (Northcutt, Jiang, Chuang,
    "prune by class"). Of labels that are equally probable, the first ones are taken.
    """
    # This filter found most flipped labels of the real digits: 97 % at a precision of 79 %. Others: prune_by_noise_rate
    # 93 % and 77 %, both 92 % and 83 %, confident_learning 78 % and 82 %.
    cleanlab, samples = _cleanlab(), _Occurring.of(labels, probabilities)
    scores, wrong = large_arrays.zeros(len(labels)), np.zeros(len(labels), dtype=bool)
    for part in samples.parts():
        scores[part] = cleanlab.rank.get_label_quality_scores(
            samples.labels[part].astype(np.int64), samples.shares(part), method="self_confidence"
        )
    for k, trusted in enumerate(_trusted_labels(samples, scores)):
        rows = np.flatnonzero(samples.labels == k)
        order = np.argsort(scores[rows], kind="stable")
        wrong[rows[order[: len(rows) - trusted]]] = True
    found = np.flatnonzero(wrong)
    for part in large_arrays.parts(len(found), len(samples.present)):
        rows = found[part]
        other = cleanlab.filter.find_label_issues(
            *samples.with_all_classes(rows), filter_by="predicted_neq_given", n_jobs=1
        )
        wrong[rows] = other[len(samples.present) :]
    np.clip(scores, 0.0, 1.0, out=scores)
    return wrong, scores


def _trusted_labels(samples: _Occurring, scores: NDArray[np.float64]) -> list[int]:
    """Return how many labels of each class are right, at least one: the diagonal of cleanlab's confident joint."""
    count, k = _cleanlab().count, len(samples.present)
    # The threshold of a class depends on the probabilities of its own labels alone.
    own = (scores[samples.labels == label] for label in range(k))
    thresholds = [count.get_confident_thresholds(np.zeros(len(one), np.int64), one[:, None])[0] for one in own]
    # In cleanlab's own order, so that its sums are rounded in the same way.
    joint = np.zeros((k, k), dtype=np.int64, order="F")
    for part in samples.parts():
        found = count.compute_confident_joint(*samples.with_all_classes(part), thresholds=thresholds, calibrate=False)
        joint += found - np.eye(k, dtype=np.int64)  # without the certain samples
    np.fill_diagonal(joint, np.maximum(np.diagonal(joint), 1))
    joint = count.calibrate_confident_joint(joint, samples.labels)
    return [max(int(n), 1) for n in np.diagonal(joint)]


def _find_outliers(images: NDArray[np.uint8], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which drawings have no probable class and are unlike drawings that have one, shape (n,).

    The measure is the mean distance to the ten nearest drawings with a probable class, in the first forty principal
    components of slightly blurred drawings.
    """
    n, n_classes = probabilities.shape
    certain = np.zeros(n, dtype=bool)
    for part in large_arrays.parts(n, n_classes):
        certain[part] = probabilities[part].max(axis=1) >= _CERTAIN
    uncertain, known = np.flatnonzero(~certain), np.flatnonzero(certain)
    result = np.zeros(n, dtype=bool)
    if len(uncertain) == 0 or len(known) < 20 * _NEIGHBOURS:
        return result
    # Evenly spaced, so that all classes occur in any order of the data; more take longer and find the same.
    known = known[np.linspace(0, len(known) - 1, min(len(known), _MAX_COMPARED)).astype(np.int64)]
    components = _Components.of(images[known])
    reference = components(images[known])
    usual = np.quantile(_neighbour_distance(reference, reference, skip=1), 1 - _OUTLIER_SHARE)
    for start in range(0, len(uncertain), _IMAGES_AT_ONCE):
        rows = uncertain[start : start + _IMAGES_AT_ONCE]
        result[rows] = _neighbour_distance(components(images[rows]), reference) > usual
    return result


@dataclass(frozen=True, eq=False)
class _Components:
    """The first 40 principal components of slightly blurred images."""

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> _Components:
        samples = _blur(images)
        mean = samples.mean(axis=0)
        samples -= mean
        _, axes = np.linalg.eigh(samples.T @ samples)
        return cls(mean, axes[:, -_COMPONENTS:])

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return images in these components, shape (n, 40)."""
        result = np.empty((len(images), _COMPONENTS), dtype=np.float32)
        for start in range(0, len(images), _IMAGES_AT_ONCE):
            part = slice(start, start + _IMAGES_AT_ONCE)
            samples = _blur(images[part])
            samples -= self.mean
            result[part] = samples @ self.axes
        return result


def _blur(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    result = np.empty(images.shape, dtype=np.float32)
    for start in range(0, len(images), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        ink = (255 - images[part]).reshape(-1, SIDE, SIDE).astype(np.float32) / np.float32(255)
        for axis in (1, 2):
            ink = (np.roll(ink, 1, axis) + 2 * ink + np.roll(ink, -1, axis)) / np.float32(4)
        result[part] = ink.reshape(len(ink), -1)
    return result


def _neighbour_distance(
    queries: NDArray[np.float32], reference: NDArray[np.float32], skip: int = 0
) -> NDArray[np.float32]:
    """Return the mean distance of each query to its ten nearest rows of `reference`, without the `skip` nearest."""
    lengths = (reference * reference).sum(axis=1)
    result = np.empty(len(queries), dtype=np.float32)
    for start in range(0, len(queries), _ROWS_AT_ONCE):
        rows = queries[start : start + _ROWS_AT_ONCE]
        squares = (rows * rows).sum(axis=1)[:, None] + lengths - 2 * rows @ reference.T
        nearest = np.partition(squares, skip + _NEIGHBOURS, axis=1)[:, : skip + _NEIGHBOURS]
        nearest.sort(axis=1)
        result[start : start + _ROWS_AT_ONCE] = np.sqrt(np.maximum(nearest[:, skip:], 0)).mean(axis=1)
    return result


def write_issues(issues: tuple[Issue, ...], path: Path) -> None:
    """Write issues as CSV: index, label, suggested, score, reason.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for issue in issues:
        writer.writerow([issue.index, issue.label, issue.suggested, issue.score, issue.reason])
    try:
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())
    except OSError as error:
        raise cannot_write(path, error, DataError) from None


def draw_issues(dataset: Dataset, issues: tuple[Issue, ...], path: Path) -> None:
    """Write a PNG file with the worst images, at most 120, each with its label, suggestion and index.

    Raises
    ------
    DataError
        If there are no issues, or the file cannot be written.
    """
    from fastnn.images.sheets import sheet

    shown = [issue for issue in issues if issue.kind != "copy"][:_MAX_ON_SHEET]
    shown += [issue for issue in issues if issue.kind == "copy"][: _MAX_ON_SHEET - len(shown)]
    words = {"wrong label": "unclear", "not a digit": "not a digit", "copy": "copy"}
    captions = [
        (f"{issue.label}, {f'maybe {issue.suggested}' if issue.suggested else words[issue.kind]}", f"#{issue.index}")
        for issue in shown
    ]
    picture = sheet(dataset.images[np.asarray([issue.index for issue in shown])], captions)
    try:
        with atomic_write(path) as file:
            picture.save(file, format="PNG", optimize=True)
    except OSError as error:
        raise cannot_write(path, error, DataError) from None


def apply_issues(dataset: Dataset, path: Path) -> tuple[Dataset, int, int]:
    """Correct a data set by a list of issues: labels become the suggested ones; samples without one are left out.

    Parameters
    ----------
    dataset : Dataset
        Not changed. Its test set is kept as it is.
    path : Path
        A CSV file written by :func:`write_issues`; lines may have been edited or deleted by hand.

    Returns
    -------
    cleaned : Dataset
    relabelled, left_out : int

    Raises
    ------
    DataError
        If the file is not such a list, or is a list for other data.
    """
    check_has_classes(dataset)
    one = _samples(dataset)[:-1]
    labels, keep = dataset.labels.copy(), np.ones(len(dataset), dtype=bool)
    place = {name: index for index, name in enumerate(dataset.classes)}
    seen: set[int] = set()
    relabelled = 0
    for number, index, label, suggested in _read_issues(path):
        where = f"{path}: line {number}"
        if index >= len(dataset):
            raise DataError(f"{where}: there is no {one} {index} in {dataset.source}, which has {len(dataset):,}")
        if label != dataset.classes[int(dataset.labels[index])]:
            raise DataError(
                f"{where}: {one} {index} of {dataset.source} has the label "
                f"{dataset.classes[int(dataset.labels[index])]!r}, not {label[:40]!r}; the list is for other data"
            )
        if index in seen:
            raise DataError(f"{where}: {one} {index} is listed twice; delete one of the lines")
        seen.add(index)
        if not suggested:
            keep[index] = False
        elif suggested not in place:
            raise DataError(f"{where}: {suggested[:40]!r} is not one of the classes {', '.join(dataset.classes[:20])}")
        else:
            relabelled += suggested != label
            labels[index] = place[suggested]
    if not keep.any():
        raise DataError(f"{path}: leaves out every {one} of {dataset.source}; delete some lines")
    cleaned = replace(dataset.take(np.flatnonzero(keep)), targets=labels[keep], test=dataset.test)
    return cleaned, relabelled, int(np.count_nonzero(~keep))


def _read_issues(path: Path) -> Iterator[tuple[int, int, str, str]]:
    """Yield line number, index, label and suggestion of each line."""
    rows = read_csv_rows(path, _MAX_BYTES, what="a list of issues")
    _, header = next(rows, (1, []))
    if not {"index", "label", "suggested"} <= set(header):
        raise DataError(f"{path}: not a list of issues; its first line must be {','.join(COLUMNS)}")
    at = [header.index(name) for name in ("index", "label", "suggested")]
    for number, row in rows:
        if len(row) != len(header) or not re.fullmatch("[0-9]{1,15}", row[at[0]]):
            raise DataError(f"{path}: line {number}: not {len(header)} cells with an index among them")
        yield number, int(row[at[0]]), row[at[1]], row[at[2]].strip()
