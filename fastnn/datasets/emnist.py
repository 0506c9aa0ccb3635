"""Images of EMNIST, which its files store with rows and columns exchanged, and the names of its classes."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from fastnn.datasets.dataset import SIDE, Dataset
from fastnn.datasets.labels import DIGIT_CLASSES, is_digit
from fastnn.datasets.mapped import changed, row_parts
from fastnn.errors import DataError
from fastnn.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Mean ink of 4,000 digits that fastnn drew, in 7x7 fields, row by row.
_DIGITS = (
    "00010913090100000d45704f0f00012f7c63822a0203496d20783604033f764c742903011b5c70491101000412190d0200",
    "000002100900000000166c2f020000022b9d3a0200000116853102000000137e2b0200000011571e010000000310060000",
    "0208141b0f020005215e724d0e0103204e7565120000093277430800031b778a4311010426737d692d0601061114140b02",
    "00041020180701010d4776691a02000a4284891c02000320848c1d01010f3558832703022063745313020008191e100301",
    "01060d0b0602000217453f2f0a01032d7c716a1501043890a19c27020212316d791c02000004304b120100000007110700",
    "0002111a170b03010d53765f1e0202158093520e00010e597f70190101113d5c741e01021d5d72450d01020d1c1d0b0200",
    "000004160d010000022c5c2d0500001062692202000120908d4f0b0001249999861a0101135d7a5b100000030f1c0f0200",
    "00071016160701021f5d736e1c0101114177881901000734927a16000005308b3a09010002255515010000020a10050000",
    "00010f1e130500000c598868150000107da7841300000b71bb7b0b00011a837f7e1a000118637754160100041521120300",
    "0003142417050001145a7a681701011b808f982200010b5191921d000006255f6e1501000c3257430c00000513180d0200",
)
_FIELDS = 7
_NAME = re.compile("(?<![a-z])emnist", re.IGNORECASE)
_INK = 112
"""Least difference of ink and paper."""
_FEWEST = 20
"""Fewest images of digits that can tell."""
_MOST = 3000
"""Images that are looked at."""
# Of upright digits, 51 to 57 % are nearest to the mean of their class (MNIST, the original's digits and drawn ones), of
# those with rows and columns exchanged 12 to 14 %.
_RIGHT, _MARGIN = 0.35, 0.2
_FEWEST_TURNED, _MARGIN_TURNED, _UPRIGHT = 100, 0.12, 0.45
_MAPPING_LIMIT = 1 << 16
_AS_IS: tuple[int, bool] = (0, False)
_EXCHANGED = (3, True)
_TURNS = {
    "turned upside down": (2, False),
    "turned by 90 degrees clockwise": (1, False),
    "turned by 90 degrees counterclockwise": (3, False),
    "mirrored": (0, True),
    "mirrored upside down": (2, True),
    "turned and mirrored": (1, True),
}
"""How often images must be turned by 90 degrees, and whether they must be mirrored then, to be upright."""
_TURNED = "the images have rows and columns exchanged, as in EMNIST, and were turned upright"
_KEPT = "the images of this file of EMNIST are upright already and were not turned"


def is_emnist(source: str | Path) -> bool:
    """Return whether a file of this path holds images of EMNIST by its name or that of its folder."""
    return any(map(_NAME.search, Path(source).parts[-2:]))


def turned_upright(dataset: Dataset, path: Path) -> Dataset:
    """Return a data set whose images are upright, with a note if they were not, or if the name says that they are not.

    What digits look like decides. Where that does not tell, as for letters, the name "emnist" of the file or its folder
    decides together with the shape: characters are higher than wide on average.

    Parameters
    ----------
    dataset : Dataset
        With dark ink on light paper. Test and validation set are turned if the images for training are.
    path : Path
    """
    shares = _shares_upright(dataset, (_AS_IS, _EXCHANGED))
    by_look = _is_transposed(shares)
    is_turned = by_look or (by_look is None and is_emnist(path) and _is_wider_than_high(dataset.images))
    if not is_turned and shares and shares[0] < _UPRIGHT and (how := _looks_turned(dataset, max(shares))):
        return replace(dataset, notes=(*dataset.notes, f"the images look {how}, and were not turned; turn them"))
    if not is_turned:
        return replace(dataset, notes=(*dataset.notes, _KEPT)) if is_emnist(path) else dataset
    test, validation = (
        None if part is None else replace(part, features=_transposed(part.images))
        for part in (dataset.test, dataset.validation)
    )
    return replace(
        dataset,
        features=_transposed(dataset.images),
        test=test,
        validation=validation,
        notes=(*dataset.notes, _TURNED),
    )


def upright(images: NDArray[np.uint8], source: str) -> tuple[NDArray[np.uint8], str | None]:
    """Return images without labels upright, and a note; the name of the file and the shape decide.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 784)
    source : str
        Path of the file.
    """
    if is_emnist(source) and _is_wider_than_high(images):
        return _transposed(images), _TURNED
    return images, None


def _transposed(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    def turn(rows: NDArray[np.uint8], _: object) -> NDArray[np.uint8]:
        turned = rows.reshape(-1, SIDE, SIDE).transpose(0, 2, 1)
        return np.ascontiguousarray(turned).reshape(rows.shape)

    return cast("NDArray[np.uint8]", changed(images, turn))


def _is_transposed(shares: list[float]) -> bool | None:
    """Return whether images have rows and columns exchanged, by the shares as they are and turned; None if unclear."""
    if not shares or max(shares) < _RIGHT or abs(shares[0] - shares[1]) < _MARGIN:
        return None
    return shares[1] > shares[0]


def _looks_turned(dataset: Dataset, others: float) -> str | None:
    """Return how images of digits look turned or mirrored, if this gives clearly a larger share than `others`."""
    shares = _shares_upright(dataset, [*_TURNS.values()])
    best = max(shares)
    # Digits upside down resemble themselves: 28 to 39 % are nearest to the mean of their class, as of mirrored ones.
    if len(dataset) < _FEWEST_TURNED or best < _RIGHT or best - others < _MARGIN_TURNED:
        return None
    return [*_TURNS][shares.index(best)]


def _shares_upright(dataset: Dataset, turns: Sequence[tuple[int, bool]]) -> list[float]:
    """Return which share of digits look like their class after each turn; none if these are not enough digits."""
    if not all(map(is_digit, dataset.classes)):
        return []
    known = np.array([DIGIT_CLASSES.index(name) for name in dataset.classes])
    every = -(-len(dataset) // _MOST)
    images, labels = dataset.images[::every], known[dataset.labels[::every]]
    if len(images) < _FEWEST:
        return []
    ink = 255.0 - images.reshape(len(images), _FIELDS, SIDE // _FIELDS, _FIELDS, SIDE // _FIELDS).mean(axis=(2, 4))
    means = _normed(np.array([list(bytes.fromhex(digit)) for digit in _DIGITS], dtype=np.float64))
    shares = []
    for n_quarters, is_mirrored in turns:
        turned = np.rot90(ink, n_quarters, (1, 2))
        turned = turned[:, :, ::-1] if is_mirrored else turned
        nearest = (_normed(turned.reshape(len(ink), -1)) @ means.T).argmax(axis=1)
        shares.append(float((nearest == labels).mean()))
    return shares


def _normed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows with mean 0 and length 1, so that their products are correlations."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def _is_wider_than_high(images: NDArray[np.uint8]) -> bool:
    """Return whether the ink of images spreads over more columns than rows."""
    columns = rows = 0
    for part in row_parts(images):
        square = part.reshape(-1, SIDE, SIDE)
        ink = np.abs(square.astype(np.int16) - square[:, :1, :1]) >= _INK
        columns, rows = columns + int(ink.any(axis=1).sum()), rows + int(ink.any(axis=2).sum())
    return columns > rows


def with_class_names(dataset: Dataset, path: Path) -> Dataset:
    """Return a data set of EMNIST with its classes named by the mapping file beside it, if there is one.

    Parameters
    ----------
    dataset : Dataset
    path : Path
        The file with the images: the names of `emnist-letters-train-images-idx3-ubyte` are in
        `emnist-letters-mapping.txt`.
    """
    if not is_emnist(path):
        return dataset
    mapping = _mapping_file(path)
    if mapping is None:
        return dataset
    try:
        names = parse_mapping(read_file(mapping, _MAPPING_LIMIT).decode("ascii", "replace"))
    except (DataError, ValueError) as error:
        return replace(dataset, notes=(*dataset.notes, f"{mapping.name} is ignored: {str(error)[:200]}"))
    return renamed(dataset, names, f"the names of the classes are from {mapping.name}")


def renamed(dataset: Dataset, names: dict[str, str], note: str) -> Dataset:
    """Return a data set with other names of its classes, if `names` has all of them and they differ."""
    classes = tuple(names.get(name, "") for name in dataset.classes)
    if "" in classes or len(set(classes)) < len(classes) or classes == dataset.classes:
        return dataset
    test, validation = (
        None if part is None else replace(part, names=classes) for part in (dataset.test, dataset.validation)
    )
    return replace(dataset, names=classes, test=test, validation=validation, notes=(*dataset.notes, note))


def parse_mapping(text: str) -> dict[str, str]:
    """Return the character of each label; ValueError if a line is not a label with the codes of its characters.

    The first code names the class: "1 65 97" is the letter A, also written a.
    """
    found = {}
    for line in text.splitlines():
        label, *codes = (int(number) for number in line.split()) if line.strip() else (0,)
        if codes:
            if not 0 <= codes[0] <= sys.maxunicode:
                raise ValueError(f"{str(codes[0])[:20]} is not the code of a character")
            found[str(label)] = chr(codes[0])
    if not all(name.isprintable() and name.strip() for name in found.values()):
        raise ValueError("a code is not that of a printable character")
    return found


def _mapping_file(path: Path) -> Path | None:
    folder = path.parent
    found = [one for one in folder.glob("*mapping*.txt") if one.is_file()]
    own = [one for one in found if path.name.lower().startswith(re.split("[-_.]mapping", one.name.lower())[0])]
    return own[0] if len(own) == 1 else None
