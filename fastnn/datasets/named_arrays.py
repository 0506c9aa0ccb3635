"""A data set made of arrays with the names that people give them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.datasets.array_names import Part, Role, known_part, role_of
from fastnn.datasets.dataset import Dataset
from fastnn.datasets.label_arrays import are_classes, as_list, encode, is_one_hot
from fastnn.datasets.mapped import row_parts
from fastnn.datasets.pixel_arrays import find_layout, images_from_array, images_in_rows
from fastnn.datasets.spool import rows_on_disk
from fastnn.datasets.table_arrays import float_type, table_from_arrays
from fastnn.datasets.targets import check_task
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

MOST_ARRAYS = 1000
"""Most arrays of a file."""
_SHOWN = 12
_MOST_ONE_HOT = 64
"""Rows of one-hot labels are shorter than those of pixels."""
_PARTS: tuple[Part, ...] = ("train", "test", "validation")
_ADVICE = (
    "name them images and labels, or x_train, y_train, x_test and y_test; for a table of numbers features and targets"
)


class ArrayInfo(NamedTuple):
    """Shape and dtype of an array, before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}" if self.dtype.names is None else f"records {self.shape}"


class Pair(NamedTuple):
    """Names of the arrays of images, or rows, and of their labels, and how many they are."""

    images: str
    labels: str
    n: int


@dataclass(frozen=True)
class Chosen:
    """The arrays of a data set.

    Attributes
    ----------
    parts : dict
        The pair of "train" and, if there are any, of "test" and "validation".
    classes, columns : str or None
        Names of the arrays with the names of classes and of columns.
    are_images : bool
        Whether a name says that these are images, and not rows of a table.
    notes : tuple of str
    """

    parts: dict[Part, Pair]
    classes: str | None = None
    columns: str | None = None
    are_images: bool = False
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all arrays that are needed."""
        pairs = [name for pair in self.parts.values() for name in pair[:2]]
        return (*pairs, *(name for name in (self.classes, self.columns) if name is not None))


@dataclass
class _Family:
    """The arrays whose names have all words in common that say nothing about kind and part."""

    pairs: dict[Part | None, Pair] = field(default_factory=dict)
    are_images: bool = False


def choose(infos: Mapping[str, ArrayInfo], source: str) -> Chosen:
    """Return which arrays are images or rows and which their labels, by their names or, failing that, their shapes.

    Parameters
    ----------
    infos : dict of str to ArrayInfo
    source : str
        What error messages call the file.

    Raises
    ------
    DataError
        If that is not clear; the message lists all arrays.
    """
    roles = {name: role for name in infos if (role := role_of(name)) is not None}
    named = {role.part for role in roles.values()}
    roles = {one: role._replace(part=role.part and known_part(role.part, named)) for one, role in roles.items()}
    families: dict[str, _Family] = {}
    for name in [*dict.fromkeys(role.family for role in roles.values())]:
        family = _family({one: role for one, role in roles.items() if role.family == name}, infos, source)
        if family.pairs:
            families[name] = family
    if len(families) > 1:
        names = "; ".join(" and ".join(next(iter(one.pairs.values()))[:2]) for one in families.values())
        raise DataError(f"{source}: holds several data sets ({names}); keep one of them, or give a file of it alone")
    if not families:
        return _by_shapes(infos, roles, source)
    (family,) = families.values()
    parts, notes = _parts(family)
    used = {name for pair in parts.values() for name in pair[:2]}
    left = [name for name in infos if name not in used]
    texts = {kind: [name for name in left if name in roles and roles[name].kind == kind and _is_list(infos[name])]
             for kind in ("classes", "columns")}  # fmt: skip
    classes, columns = (next(iter(names), None) for names in texts.values())
    left = [name for name in left if name not in (classes, columns)]
    if left:
        notes.append(f"left out: {_listed(left)}")
    return Chosen(parts, classes, columns, family.are_images, tuple(notes))


def _is_list(info: ArrayInfo) -> bool:
    return sum(length > 1 for length in info.shape) <= 1 and info.dtype.kind in "UiuS"


def _family(roles: dict[str, Role], infos: Mapping[str, ArrayInfo], source: str) -> _Family:
    """Return the pairs of images and labels of each part."""
    family = _Family()
    for part in (None, *_PARTS):
        own = {name: role.kind for name, role in roles.items() if role.part == part}
        images = [name for name, kind in own.items() if kind in ("images", "numbers")]
        labels = [name for name, kind in own.items() if kind == "labels"]
        empty = part is not None and all(0 in infos[name].shape for name in (*images, *labels))
        if empty or not (images and labels):
            continue
        objects = [name for name in (*images, *labels) if infos[name].dtype.hasobject]
        if objects:
            raise DataError(
                f"{source}: {objects[0]} holds Python objects, which are never unpickled; store numbers or texts"
            )
        wrong = next((name for name in images if infos[name].dtype.kind not in "biuf"), None)
        wrong = wrong or next((name for name in labels if infos[name].dtype.kind not in "biufUS"), None)
        if wrong is not None:
            raise DataError(
                f"{source}: {wrong} holds {str(infos[wrong].dtype)[:60]}, which is neither numbers nor text"
            )
        # The images themselves, and not a list of their pixels beside them.
        images.sort(key=lambda name: (-len(infos[name].shape), own[name] != "images"))
        found = [Pair(images[0], name, n) for name in labels if (n := _n(infos[images[0]], infos[name]))]
        if not found:
            raise DataError(
                f"{source}: the lengths of {images[0]} ({infos[images[0]]}) and {labels[0]} ({infos[labels[0]]}) "
                "do not agree"
            )
        if len(found) > 1:
            raise DataError(
                f"{source}: {' and '.join(pair.labels for pair in found)} could both be the labels; keep one of them"
            )
        family.pairs[part] = found[0]
        family.are_images |= own[images[0]] == "images"
    return family


def _n(images: ArrayInfo, labels: ArrayInfo) -> int | None:
    """Return the number of samples of which arrays of these shapes may be images and labels, or None."""
    if not images.shape or not labels.shape or 0 in (*images.shape, *labels.shape):
        return None
    return next(
        (
            images.shape[side]
            for side in (0, -1)
            for other in ((0, -1) if len(labels.shape) > 1 else (0,))
            if images.shape[side] == labels.shape[other] and len(labels.shape) <= 2
        ),
        None,
    )


def _parts(family: _Family) -> tuple[dict[Part, Pair], list[str]]:
    pairs, notes = family.pairs, []
    whole = pairs.get(None)
    parts: dict[Part, Pair] = {part: pairs[part] for part in _PARTS if part in pairs}
    if whole is not None and "train" not in parts:
        parts = {"train": whole, **parts}
    elif "train" not in parts:
        first = next(iter(parts))
        parts["train"] = parts.pop(first)
        notes.append(f"there is only the {first} part")
    if len(parts) > 1:
        notes.insert(0, f"parts of the data set: {', '.join(f'{part} from {parts[part].images}' for part in parts)}")
    return parts, notes


def _by_shapes(infos: Mapping[str, ArrayInfo], roles: Mapping[str, Role], source: str) -> Chosen:
    """Return which arrays are images and labels if only their shapes tell, as after ``numpy.savez(path, x, y)``."""
    named = {name for name, role in roles.items() if role.kind in ("images", "numbers", "labels")}
    labels, images = _labels_and_images(infos)
    if named & images.keys() and len(named & images.keys()) < len(images):
        images = {name: info for name, info in images.items() if name in named}
    found: list[Pair] = []
    left = dict(labels)
    for name, info in images.items():
        pair = next((Pair(name, one, n) for one, other in left.items() if (n := _n(info, other))), None)
        if pair is not None:
            found.append(pair)
            del left[pair.labels]
    if len(found) not in (1, 2) or len(found) < len(images) or left:
        held = ", ".join(f"{name} ({info})" for name, info in [*infos.items()][:_SHOWN]) or "no arrays"
        more = f" and {len(infos) - _SHOWN:,} more" if len(infos) > _SHOWN else ""
        shapes = {info.shape[1:] for info in images.values()}
        is_of_classes = len(images) > 2 and len(images) == len(infos) and len(shapes) == 1
        joined = "; if each is one class, join them, and write their labels to another array" if is_of_classes else ""
        raise DataError(
            f"{source}: it is not clear what are images and labels; it holds {held}{more}{joined}; {_ADVICE}"
        )
    parts: dict[Part, Pair] = dict(zip(_PARTS, found, strict=False))
    text = ", ".join(f"{pair.images} with labels {pair.labels}" for pair in found)
    ends = " (the second is the test set)" if len(found) > 1 else ""
    others = [name for name in infos if not any(name in pair[:2] for pair in found)]
    notes = [f"images and labels are told by their shapes: {text}{ends}"]
    notes += [f"left out: {_listed(others)}"] if others else []
    return Chosen(parts, notes=tuple(notes))


def _labels_and_images(infos: Mapping[str, ArrayInfo]) -> tuple[dict[str, ArrayInfo], dict[str, ArrayInfo]]:
    """Return the arrays that may be labels, and those that may be images, by their shapes."""
    labels: dict[str, ArrayInfo] = {}
    flat: dict[str, ArrayInfo] = {}
    images: dict[str, ArrayInfo] = {}
    for name, info in infos.items():
        n_axes = sum(length > 1 for length in info.shape)
        if not info.shape or 0 in info.shape:
            continue
        if n_axes <= 1 and info.dtype.kind in "biufUS":
            labels[name] = info
        elif info.dtype.kind in "biuf":
            (flat if n_axes == 2 else images)[name] = info
    # Arrays of two axes are rows of pixels or one-hot labels, whichever is missing.
    if len(labels) + len(flat) == len(images):
        labels |= flat
    elif len(labels) == len(images) + len(flat):
        images |= flat
    else:
        for name, info in flat.items():
            (labels if info.shape[-1] < _MOST_ONE_HOT else images)[name] = info
    return labels, images


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:40] for name in names[:_SHOWN]) + more


def dataset_from(
    chosen: Chosen,
    arrays: Arrays,
    source: str,
    task: str | None = None,
    *,
    from_matlab: bool = False,
    spool: Path | None = None,
) -> Dataset:
    """Return the data set of chosen arrays: images, as stored, or a table.

    Parameters
    ----------
    chosen : Chosen
    arrays : dict of str to ndarray
        Those that :attr:`Chosen.names` lists.
    source : str
    task : str, optional
        Of a table; images have classes.
    from_matlab : bool
        See :func:`fastnn.datasets.label_arrays.encode`.
    spool : Path, optional
        A temporary folder for samples, if they are to be left on the disk, as the arrays are.

    Raises
    ------
    DataError
        If an array has a value that is no pixel, label or number.
    """
    check_task(task)
    first = chosen.parts["train"]
    images, labels = arrays[first.images], arrays[first.labels]
    layout = find_layout(images.shape, first.n)
    is_flat = images.ndim - sum(length == 1 for length in images.shape[1:]) <= 2
    if not is_flat or chosen.are_images:
        if task not in (None, "classification"):
            raise DataError(f"{source}: holds images with labels, whose task is classification, not {task}")
        return _images(chosen, arrays, source, spool, from_matlab=from_matlab)
    if layout is not None and task in (None, "classification") and are_classes(labels, first.n):
        reason = images_in_rows(images, first.n)
        if reason is None:
            found = _images(chosen, arrays, source, spool, from_matlab=from_matlab)
            note = (
                f"the rows of {first.images} are images of {layout.height}x{layout.width} pixels; to learn from them "
                "as numbers, name the arrays features and targets"
            )
            return replace(found, notes=(note, *found.notes))
    else:
        reason = None
    found = _table(chosen, arrays, source, task, spool)
    is_square = layout is not None and layout.height >= 8
    notes = [f"the rows of {first.images} are read as numbers: {reason}"] if reason and is_square else []
    return replace(found, notes=(*notes, *found.notes))


def _images(chosen: Chosen, arrays: Arrays, source: str, spool: Path | None, *, from_matlab: bool) -> Dataset:
    notes: list[str] = [*chosen.notes]
    images, labels = {}, {}
    for part, pair in chosen.parts.items():
        images[part], how = images_from_array(arrays[pair.images], f"{source}: {pair.images}", pair.n, spool)
        labels[part], one_hot = as_list(arrays[pair.labels], pair.n, f"{source}: {pair.labels}")
        notes += filter(None, (*how, one_hot))
    names = None if chosen.classes is None else arrays[chosen.classes]
    encoded = encode(list(labels.values()), names, source, from_matlab=from_matlab)
    made: dict[Part, Dataset] = {}
    for (part, own), indices in zip(images.items(), encoded.parts, strict=True):
        shown = source if part == "train" else f"{source} ({part} set)"
        made[part] = Dataset(own, indices, encoded.classes, shown)
    # The same holds for all parts.
    unique = tuple(dict.fromkeys((*notes, *encoded.notes)))
    return replace(made["train"], test=made.get("test"), validation=made.get("validation"), notes=unique)


def _table(chosen: Chosen, arrays: Arrays, source: str, task: str | None, spool: Path | None) -> Dataset:
    """Return the table of the rows of all parts, which are read together."""
    rows: list[NDArray[Any]] = []
    targets: list[NDArray[Any]] = []
    notes = [*chosen.notes]
    for pair in chosen.parts.values():
        array = arrays[pair.images]
        array = array if array.shape[0] == pair.n else np.moveaxis(array, -1, 0)
        rows.append(array)
        targets.append(_targets(arrays[pair.labels], pair.n))
    if len({(one.ndim, one.shape[1:], one.dtype.kind == "U") for one in targets}) > 1:
        raise DataError(f"{source}: the labels of the parts have different forms")
    if len({one.size // len(one) for one in rows}) > 1:
        raise DataError(f"{source}: the rows of the parts have different numbers of columns")
    target = np.concatenate(targets)
    if target.ndim == 2 and task in (None, "classification") and is_one_hot(target):
        notes.append(f"one-hot labels of {target.shape[1]:,} classes")
        target = target.argmax(axis=1)
    found: dict[str, NDArray[Any]] = {"features": _joined_rows(rows, spool), "targets": target}
    columns = None if chosen.columns is None else arrays[chosen.columns].ravel()
    if columns is not None and columns.dtype.kind == "U" and len(columns) == found["features"].shape[1]:
        found["columns"] = columns
    classes = None if chosen.classes is None else arrays[chosen.classes].ravel()
    if classes is not None and classes.dtype.kind == "U" and target.ndim == 1 and target.dtype.kind in "iu":
        found["names"] = classes
    dataset = table_from_arrays(found, source, task)
    dataset = replace(dataset, notes=(*notes, *dataset.notes))
    if len(chosen.parts) == 1:
        return dataset
    start, made = 0, {}
    for part, pair in chosen.parts.items():
        shown = source if part == "train" else f"{source} ({part} set)"
        made[part] = dataset.take(np.arange(start, start + pair.n), source=shown)
        start += pair.n
    for part in made.keys() - {"train"}:
        made[part] = replace(made[part], notes=())
    return replace(made["train"], test=made.get("test"), validation=made.get("validation"))


def _joined_rows(arrays: list[NDArray[Any]], spool: Path | None) -> Any:
    """Return the samples of all arrays as rows; with a temporary folder as floats that are left on the disk."""
    if spool is None:
        return np.concatenate([array.reshape(len(array), -1) for array in arrays])
    common = np.result_type(*(array.dtype for array in arrays))
    parts = (part.reshape(len(part), -1).astype(common) for array in arrays for part in row_parts(array))
    return rows_on_disk(spool, parts, float_type(common), arrays[0].size // len(arrays[0]))


def _targets(array: NDArray[Any], n: int) -> NDArray[Any]:
    if array.size == n:
        array = array.reshape(n)
    elif array.shape[0] != n:
        array = array.T
    return np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array
