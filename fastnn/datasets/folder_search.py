"""Finding the data set in a folder or archive: which files it has, and the labels of its pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from fastnn.datasets import idx
from fastnn.datasets.archives import is_archive
from fastnn.datasets.array_names import ARROW_ENDINGS, PART_OF, NamedPart, Part, hold_pairs, known_part
from fastnn.datasets.folders import Folder, PassedOver, few
from fastnn.datasets.label_files import LABEL_ENDINGS, FileLabels, labels_from_file
from fastnn.datasets.name_labels import labels_in_names
from fastnn.datasets.picture_lists import JoinedPictures, LabelledPictures, Picture, PicturesOfClass
from fastnn.errors import DataError
from fastnn.images.decode import PICTURE_ENDINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

GROUPED_ENDINGS = (".npy", *ARROW_ENDINGS)
"""Ends of the names of files of which several hold one data set."""
_DEEPEST = 4
"""Levels of folders below the given one that are searched for a data set."""
_OTHER_LABELS = (".json", ".jsonl", ".xml", ".xlsx", ".mat", ".npy", ".pkl")
"""Ends of the names of files in which others keep labels of pictures."""
_MOST_PART_FOLDERS = 50
"""More folders whose names say train, test or validation are those of classes; for each, files of labels are read."""
_PATH = 250
"""Most characters of a path in a list."""
_MOST_STRAY = 0.1
"""Largest share of pictures beside class folders; more of them are hardly there by mistake."""
_PARTS: tuple[Part, ...] = ("train", "test", "validation")
_NO_PART = re.compile(r"(set|data|image|img|picture|pic|photo|file|split|label|folder)s?$")
_ADVICE = (
    "put the pictures of each class into a folder with its name, begin their names with the label, as in 3_001.png, or "
    "add a file labels.csv with the columns filename and label"
)


@dataclass(frozen=True)
class DataFiles:
    """A folder with files that a reader of files takes: IDX files, 0.json to 9.json, or one file for each part.

    Or several files that hold one data set together, such as images.npy and labels.npy.

    Attributes
    ----------
    folder : Folder
    names : tuple of str
        The files, with the folder below that they are in, if they are.
    parts : dict
        The file of "train" and, if there are any, of "test" and "validation"; empty for a folder with names that a
        reader knows.
    """

    folder: Folder
    names: tuple[str, ...]
    parts: dict[Part, str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"{self.folder.shown}/{self.names[0]}" if len(self.parts) == 1 else self.folder.shown


@dataclass(frozen=True)
class PictureSet:
    """Pictures with their labels.

    Attributes
    ----------
    folder : Folder
    parts : dict
        The pictures of "train" and, if the source has these parts, of "test" and "validation".
    passed_over : PassedOver
    notes : tuple of str
    label_file : str
        Name of the file with the labels, if there is one.
    """

    folder: Folder
    parts: dict[Part, Sequence[Picture]]
    passed_over: PassedOver = field(default_factory=PassedOver)
    notes: tuple[str, ...] = ()
    label_file: str = ""

    @property
    def shown(self) -> str:
        """What messages call it."""
        return self.folder.shown


@dataclass(frozen=True)
class _Unclear:
    """A folder that holds pictures or files, but no data set; `reason` follows its name in a message."""

    folder: Folder
    reason: str
    advice: str = ""

    @property
    def shown(self) -> str:
        """What messages call it."""
        return self.folder.shown


_Found: TypeAlias = DataFiles | PictureSet | _Unclear


def find_data_set(folder: Folder, endings: tuple[str, ...]) -> tuple[DataFiles | PictureSet | None, tuple[str, ...]]:
    """Return the only data set in a folder or in the folders below it, and notes on where it was found.

    Parameters
    ----------
    folder : Folder
    endings : tuple of str
        Ends of the names of files that can be read on their own, in lower case. Text files are not looked for: they
        are often notes.

    Returns
    -------
    found : DataFiles, PictureSet or None
        None if there is nothing that could be a data set.
    notes : tuple of str

    Raises
    ------
    DataError
        If there are several, which the message names, or pictures whose labels are unknown.
    """
    found = _Search(tuple(ending for ending in endings if not ending.startswith(".txt"))).find(folder)
    sets = _clear(found)
    unclear = [one for one in found if isinstance(one, _Unclear)]
    if len(sets) > 1:
        names = few((one.shown for one in sets), _PATH)
        raise DataError(f"{folder.shown}: holds several data sets; {folder.choose}: {names}{_nested(sets)}")
    if not sets:
        if len(unclear) > 1 and all(part_of(PurePosixPath(one.shown).name) for one in unclear):
            raise DataError(
                f"{folder.shown}: holds folders such as {unclear[0].shown}, of pictures without folders of their "
                "classes; put the folders of the classes into train and test, and not the other way round"
            )
        if unclear:
            raise DataError(f"{unclear[0].shown}: {unclear[0].reason}{unclear[0].advice}")
        return None, ()
    notes = [] if sets[0].shown == folder.shown else [f"the data set was found in {sets[0].shown}"]
    notes += [f"{one.shown}: passed over, since {one.reason}" for one in unclear]
    return sets[0], tuple(notes)


def _nested(sets: Sequence[DataFiles | PictureSet]) -> str:
    """Return what to do with folders that have the same class folders, such as one for each writer."""
    labels = [{one.label for one in found.parts["train"]} if isinstance(found, PictureSet) else set() for found in sets]
    if len(labels[0] & labels[1]) < 2:
        return ""
    return (
        "; if these folders are the classes, move the pictures right into them; if the folders in them are, join those "
        "of the same name"
    )


def part_of(name: str) -> NamedPart | None:
    """Return "train", "test", "validation" or "eval" if the name of a folder or file says so, else None."""
    words = [_NO_PART.sub("", word) for word in re.findall("t10k|[a-z]+", name.lower())]
    named = [PART_OF[word] for word in words if word in PART_OF]
    others = [word for word in words if word and word not in PART_OF]
    # "mnist_train" and "train_images" are parts; "model train" is rather a class.
    return named[0] if len(named) == 1 and (not others or re.search("[_.-]", name)) else None


class _Search:
    """Finds the data sets in folders that are so many levels below the first one; each folder is searched once.

    Attributes
    ----------
    endings : tuple of str
        Ends of the names of files that can be read on their own.
    """

    def __init__(self, endings: tuple[str, ...], depth: int = 0, known: dict[int, list[_Found]] | None = None) -> None:
        self.endings, self._depth = endings, depth
        self._known: dict[int, list[_Found]] = {} if known is None else known

    def find(self, folder: Folder) -> list[_Found]:
        """Return the data set that a folder is, or those below it; and what is unclear."""
        if self._depth > _DEEPEST:
            return []
        if id(folder) not in self._known:
            own = _set_in(folder, self)
            self._known[id(folder)] = self.below(folder.folders.values()) if own is None else [own]
        return self._known[id(folder)]

    def below(self, folders: Iterable[Folder]) -> list[_Found]:
        """Return what :meth:`find` returns for folders that are one level further down."""
        search = _Search(self.endings, self._depth + 1, self._known)
        return [one for folder in folders for one in search.find(folder)]


def _clear(found: Iterable[_Found]) -> list[DataFiles | PictureSet]:
    return [one for one in found if not isinstance(one, _Unclear)]


def _set_in(folder: Folder, search: _Search) -> _Found | None:
    files = folder.files
    known = [name for name in _others(folder) if idx.is_idx(Path(name))]
    # Some archives unpack to folders that are named like the only file in them.
    known = known or [
        f"{name}/{below.files[0]}"
        for name, below in folder.folders.items()
        if idx.is_idx(Path(name)) and len(below.files) == 1 and idx.is_idx(Path(below.files[0]))
    ]
    known = known or [name for name in files if re.fullmatch(r"[0-9]\.json(\.gz)?", name)]
    known = known or [name for name in files if name in ("dataset.json", "dataset.json.gz")]
    if known:
        return DataFiles(folder, tuple(known))
    holders = {name: below for name, below in folder.folders.items() if _pictures(below)}
    return (
        _parts_in(folder, holders, search)
        or (_class_folders(folder, holders, search) if holders else None)
        or _flat_set(folder)
        or _data_file(folder, search)
    )


def _pictures(folder: Folder) -> list[str]:
    return [name for name in folder.files if name.lower().endswith(PICTURE_ENDINGS)]


def _others(folder: Folder) -> list[str]:
    return [name for name in folder.files if not name.lower().endswith(PICTURE_ENDINGS)]


# ---- parts: train, test, validation ----


def _parts_in(folder: Folder, holders: dict[str, Folder], search: _Search) -> PictureSet | _Unclear | None:
    """Return the data set whose parts are in folders such as train and test, if they are."""
    said = {name: part for name in folder.folders if (part := part_of(name)) is not None}
    named: dict[Part, list[str]] = {}
    for name, part in said.items():
        named.setdefault(known_part(part, said.values()), []).append(name)
    deep = [name for name in named.get("train", ()) if name not in holders]
    flat = bool(holders) and set(holders) <= {name for names in named.values() for name in names}
    if "train" not in named or not (deep or flat) or sum(map(len, named.values())) > _MOST_PART_FOLDERS:
        return None
    found: dict[Part, list[_Found]] = {
        part: [one for name in names for one in _part_sets(folder, name, name in holders, search)]
        for part, names in named.items()
    }
    sets = {part: _clear(some) for part, some in found.items()}
    if not sets["train"]:
        return next((one for one in found["train"] if isinstance(one, _Unclear)), None) if flat else None
    if not all(isinstance(one, PictureSet) for some in sets.values() for one in some):
        return None
    several = next((some for some in sets.values() if len(some) > 1), None)
    rest = [name for name in folder.folders if not any(name in names for names in named.values())]
    beside = _clear(search.below(folder.folders[name] for name in rest))
    if several or beside:
        names = few((one.shown for one in several or [*sets["train"], *beside]), _PATH)
        return _Unclear(folder, f"holds several data sets; {folder.choose}: {names}")
    return _joined(folder, sets, [one for some in found.values() for one in some if isinstance(one, _Unclear)], rest)


def _part_sets(folder: Folder, name: str, holds_pictures: bool, search: _Search) -> list[_Found]:
    """Return the data sets in the folder of a part."""
    below = folder.folders[name]
    if holds_pictures and not any(_pictures(one) for one in below.folders.values()):
        return [_flat_set(below, folder) or _Unclear(below, "is empty")]
    return search.below([below])


def _joined(
    folder: Folder, sets: dict[Part, list[DataFiles | PictureSet]], unclear: list[_Unclear], rest: list[str]
) -> PictureSet:
    """Return one data set of the sets of its parts."""
    passed = PassedOver()
    used = {one.label_file for some in sets.values() for one in some if isinstance(one, PictureSet)}
    passed.add("file", (name for name in _others(folder) if name not in used))
    passed.add("picture", _pictures(folder))
    passed.add("aside", rest)
    for kind, names in folder.passed_over.items():
        passed.add(kind, names)
    parts: dict[Part, Sequence[Picture]] = {}
    notes: list[str] = []
    places = []
    for part in _PARTS:
        for one in sets.get(part, ()):
            if isinstance(one, PictureSet):
                parts[part] = one.parts["train"]
                passed.update(one.passed_over)
                notes += [note for note in one.notes if note not in notes]
                places.append((part, one.shown))
    if len(parts) > 1:
        notes.insert(0, f"parts of the data set: {', '.join(f'{part} from {place}' for part, place in places)}")
    else:
        folder = sets["train"][0].folder
    notes += [f"{one.shown}: passed over, since {one.reason}" for one in unclear]
    return PictureSet(folder, parts, passed, (*notes, *_missing_classes(parts)))


def _missing_classes(parts: dict[Part, Sequence[Picture]]) -> Iterator[str]:
    """Yield a note for each part on the classes that it has not."""
    labels = {part: {picture.label for picture in pictures} for part, pictures in parts.items()}
    known = set().union(*labels.values())
    for part, own in labels.items():
        missing = sorted(known - own)
        if missing:
            effect = ", so that they cannot be learned" if part == "train" else ""
            yield f"classes that have no pictures in the {part} part{effect}: {few(missing)}"


# ---- class folders ----


def _class_folders(folder: Folder, holders: dict[str, Folder], search: _Search) -> PictureSet | _Unclear | None:
    """Return the data set of folders with pictures, which are named after classes."""
    notes = []
    rest = [below for name, below in folder.folders.items() if name not in holders]
    beside = _clear(search.below(rest))
    if len(holders) == 1:
        (name, below), *_ = holders.items()
        if not name.isdecimal():
            if beside:
                return None
            found = _flat_set(below, folder)
            has_table = any(one.lower().endswith((".csv", ".tsv")) for one in folder.files)
            if isinstance(found, PictureSet) or has_table or _is_no_class(name, folder):
                return found
            notes.append(f"all pictures have one label, {name[:60]!r}, the name of their folder")
    if beside:
        return _Unclear(
            folder,
            f"holds folders with pictures ({few(holders)}), and below others a data set "
            f"({few((one.shown for one in beside), _PATH)}); give the path of one, or move all classes to one level",
        )
    pictures = JoinedPictures([PicturesOfClass(below, _pictures(below), label) for label, below in holders.items()])
    stray = _pictures(folder)
    if len(stray) > max(2, _MOST_STRAY * len(pictures)):
        return _Unclear(
            folder,
            f"holds both pictures ({few(stray)}) and folders with pictures ({few(holders)}); move the pictures into "
            "the folders of their classes, or elsewhere",
        )
    passed = PassedOver()
    passed.add("picture", stray)
    passed.add("file", _others(folder))
    passed.add("empty", (name for name in folder.folders if name not in holders))
    for one in (folder, *holders.values()):
        for kind, names in one.passed_over.items():
            passed.add(kind, names)
    for label, below in holders.items():
        passed.add("file", _others(below))
        passed.add("below", (f"{label}/{name}" for name in below.folders))
    return PictureSet(folder, {"train": pictures}, passed, tuple(notes))


def _is_no_class(name: str, folder: Folder) -> bool:
    """Return whether the name of the only folder with pictures in a folder is hardly that of a class."""
    above = PurePosixPath(folder.shown.replace("\\", "/")).name
    return part_of(name) is not None or name == above or _NO_PART.sub("", name.lower()) in ("", "png", "jpg", "jpeg")


# ---- pictures without folders of their classes ----


def _flat_set(folder: Folder, parent: Folder | None = None) -> PictureSet | _Unclear | None:
    """Return the data set of the pictures in a folder, with labels from a file or from their names.

    Parameters
    ----------
    folder : Folder
    parent : Folder, optional
        The folder above, which may hold the file of labels.
    """
    pictures = _pictures(folder)
    if not pictures:
        return None
    try:
        known, file = _labels_of_files(folder, parent, pictures)
    except DataError as error:
        return _Unclear(folder, f"the labels of its pictures are unknown: {error}")
    passed = PassedOver()
    for kind, names in folder.passed_over.items():
        passed.add(kind, names)
    passed.add("file", (name for name in _others(folder) if name != file))
    passed.add("empty", folder.folders)
    if known is not None:
        named = [name for name in pictures if name in known.labels]
        labelled = LabelledPictures(folder, named, [known.labels[name] for name in named])
        passed.add("unlabelled", (name for name in pictures if name not in known.labels))
        passed.add("row", known.unused)
        note = f"the labels of the pictures are from {known.text}"
        return PictureSet(folder, {"train": labelled}, passed, (note,), file)
    found = labels_in_names([PurePosixPath(name).stem for name in pictures])
    if isinstance(found, str):
        return _Unclear(folder, found, f"; {_ADVICE}{_no_labels_in(folder, parent)}")
    labelled = LabelledPictures(folder, pictures, found.labels)
    example = f"{pictures[0][:60]} is {found.labels[0][:60]!r}"
    return PictureSet(folder, {"train": labelled}, passed, (f"the label of a picture {found.rule}: {example}",))


def _no_labels_in(folder: Folder, parent: Folder | None) -> str:
    """Return what is wrong with files beside pictures that may be meant to give their labels."""
    files = [*folder.files, *(() if parent is None else parent.files)]
    texts = [name for name in files if name.lower().endswith(LABEL_ENDINGS)]
    others = [name for name in files if name.lower().endswith(_OTHER_LABELS)]
    said = f" (few of the pictures are named in {few(texts)})" if texts else ""
    return said + (f" ({few(others)}: labels are read from .csv, .tsv and .txt files)" if others else "")


def _labels_of_files(folder: Folder, parent: Folder | None, pictures: list[str]) -> tuple[FileLabels | None, str]:
    """Return the labels that a file in the folder or in the one above gives, with its name; None if there is none.

    Raises
    ------
    DataError
        If two files give different labels.
    """
    found: list[tuple[str, FileLabels]] = []
    for name in folder.files:
        if name.lower().endswith(LABEL_ENDINGS):
            labels = labels_from_file(folder, name, pictures)
            if labels is not None:
                found.append((name, labels))
    if parent is not None:
        found += _labels_above(folder, parent, pictures)
    if not found:
        return None, ""
    for name, labels in found[1:]:
        if labels.labels != found[0][1].labels:
            raise DataError(f"{found[0][0]} and {name} give different labels; remove one of them")
    return found[0][1], found[0][0]


def _labels_above(folder: Folder, parent: Folder, pictures: list[str]) -> Iterator[tuple[str, FileLabels]]:
    """Yield the labels that files in the folder above give."""
    here = PurePosixPath(folder.shown.replace("\\", "/")).name
    others = [below for below in parent.folders.values() if below is not folder and _pictures(below)]
    paths = {f"{here}/{name}": name for name in pictures}
    for name in parent.files:
        if not name.lower().endswith(LABEL_ENDINGS):
            continue
        # With several folders of pictures, names alone may be those of the others.
        is_own = not others or part_of(PurePosixPath(name).stem) == part_of(here) is not None
        labels = labels_from_file(parent, name, list(paths), by_path=not is_own)
        if labels is not None:
            own = {paths[path]: label for path, label in labels.labels.items()}
            yield name, FileLabels(own, labels.unused if is_own else [], labels.text)


# ---- a file, or one for each part ----


def _data_file(folder: Folder, search: _Search) -> DataFiles | _Unclear | None:
    """Return the only file of a folder that can be a data set, or those of its parts."""
    files = [name for name in folder.files if name.lower().endswith(search.endings) or is_archive(name)]
    if not files or any(name.endswith(".safetensors") for name in folder.files):
        # Runs have tables, too.
        return None
    beside = _clear(search.below(folder.folders.values()))
    if beside and all(name.lower().endswith((".json", ".json.gz")) for name in files):
        # They rather describe the data set.
        return None
    if beside:
        names = few([*(f"{folder.shown}/{name}" for name in files), *(one.shown for one in beside)], _PATH)
        return _Unclear(folder, f"holds several data sets; {folder.choose}: {names}")
    if len(files) == 1:
        return DataFiles(folder, tuple(files), {"train": files[0]})
    if any(all(name.lower().endswith(ending) for name in files) for ending in GROUPED_ENDINGS):
        return DataFiles(folder, tuple(files))
    if all(name.lower().endswith(".npz") for name in files) and hold_pairs([Path(name).stem for name in files]):
        return DataFiles(folder, tuple(files))
    said = {name: part_of(PurePosixPath(name).stem) for name in files if not is_archive(name)}
    parts: dict[Part, str] = {}
    for name, part in said.items():
        if part is not None:
            parts.setdefault(known_part(part, said.values()), name)
    if "train" in parts and len(parts) == len(files):
        return DataFiles(folder, tuple(files), parts)
    return _Unclear(folder, several_files(folder, files))


def several_files(folder: Folder, names: Sequence[str]) -> str:
    """Return what is wrong with a folder of several data files."""
    stems = [PurePosixPath(name).stem for name in names]
    if hold_pairs(stems):
        return f"holds rows and labels in files of their own ({few(names)}); join them to one, with a column label"
    if len(names) > 2 and all(map(str.isdecimal, stems)):
        return f"holds a file for each class ({few(names)}); join them to one, with a column label"
    return f"holds several data files; {folder.choose}: {few(names)}"
