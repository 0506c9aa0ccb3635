"""Reading a data set from a file or folder, with the reader that its name calls for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fastnn.datasets import idx
from fastnn.datasets.archives import archive_in, is_archive, open_archive
from fastnn.datasets.array_names import ARROW_ENDINGS
from fastnn.datasets.delimited import TEXT_ENDINGS
from fastnn.datasets.emnist import turned_upright, with_class_names
from fastnn.datasets.folder_search import GROUPED_ENDINGS, DataFiles, PictureSet, find_data_set, several_files
from fastnn.datasets.folders import DiskFolder, Folder
from fastnn.datasets.groups import CONTRIBUTOR, check_no_group
from fastnn.datasets.labels import encode_labels
from fastnn.datasets.options import DEFAULT_OPTIONS, ReadOptions
from fastnn.datasets.polarity import dark_on_light
from fastnn.datasets.refused import why_refused
from fastnn.datasets.repeated_labels import check_labels_repeat, odd_classes_note
from fastnn.datasets.store import is_store, open_store
from fastnn.datasets.targets import check_task
from fastnn.errors import NO_SPACE, DataError, cannot_read
from fastnn.images.decode import PICTURE_ENDINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastnn.datasets.array_names import Part
    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.polarity import StoredPolarity

_FORMATS = (
    ".csv, .tsv, .svmlight, .json (also with .gz), .npz, .npy, .mat, .parquet, .arrow, IDX files, a folder of IDX "
    "files, of 0.json to 9.json or of class folders with pictures, a .zip or .tar archive of such a folder, or a .fnn "
    "store"
)
_SPARSE_TEXT = tuple(f"{ending}{packed}" for ending in (".svm", ".libsvm", ".svmlight") for packed in ("", ".gz"))
_JSON = (".json", ".json.gz")
_WITH_TARGET = (*TEXT_ENDINGS, *ARROW_ENDINGS)
"""Names of files whose columns have names, or positions, of which one or several may be asked for as targets."""
TABLE_ENDINGS = (*_WITH_TARGET, ".npz", ".npy", ".mat", *_SPARSE_TEXT)
"""Names of files that may hold a table."""


def read_path(path: Path, options: ReadOptions = DEFAULT_OPTIONS, spool: Path | None = None) -> Dataset:
    """Read a data set from a file or folder; the format is known by the name.

    Readers return images as they are stored, and they are inverted here where needed.

    Parameters
    ----------
    path : Path
    options : ReadOptions
    spool : Path, optional
        A temporary folder for samples, if they are to be left on the disk where their format allows it.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the format is unknown or the content is invalid.
    """
    if path.is_dir() and is_store(path):
        return open_store(path, options)
    try:
        dataset = _read_any(path, options, spool)
    except OSError as error:
        if error.errno in NO_SPACE:  # of the temporary folder, whose owner says so
            raise
        raise cannot_read(path, error) from None
    if dataset.is_images:
        if not options.target and not options.classes:
            check_labels_repeat(dataset, has_columns=path.name.lower().endswith(_WITH_TARGET))
        odd = None if options.classes else odd_classes_note(dataset)
        if odd and odd not in dataset.notes:
            dataset = replace(dataset, notes=(*dataset.notes, odd))
        return _finished(dataset, options, path)
    if options.polarity != "auto":
        raise DataError(f"{path}: is a table; --polarity is for images, drop it")
    return dataset


def _read_any(path: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    if path.is_dir():
        return _read_found(DiskFolder(path), options, spool)
    if is_archive(path.name):
        with open_archive(path, spool) as folder:
            return _read_found(folder, options, spool)
    if not path.name.lower().endswith(TABLE_ENDINGS):
        check_no_target(str(path), options)
    return _read_file(path, options, spool)


def check_no_target(source: str, options: ReadOptions) -> None:
    """Raise a DataError if a target or task is given for a source of images, whose target is their label."""
    check_task(options.task)
    if options.target or options.task not in (None, "classification"):
        raise DataError(f"{source}: holds images with labels; --target and --task are for tables")


def _check_no_target_column(source: str, options: ReadOptions) -> None:
    """Raise a DataError if a target is given for files whose columns have no names."""
    if options.target:
        raise DataError(f"{source}: says itself what its targets are; --target is for .csv, .tsv and .parquet files")


def _dark_on_light(dataset: Dataset, options: ReadOptions, usual: StoredPolarity | None = None) -> Dataset:
    """Return images as stored with dark ink on light paper, and a note if some were inverted."""
    test, validation = (
        None if part is None else _dark_on_light(part, options, usual) for part in (dataset.test, dataset.validation)
    )
    found = dark_on_light(dataset.images, options.polarity, usual=usual)
    own = found.notes()
    parts = (("test", test), ("validation", validation))
    # What holds for all parts is said once.
    of_parts = [f"{name} set: {note}" for name, part in parts if part for note in part.notes if note not in own]
    test, validation = (None if part is None else replace(part, notes=()) for _, part in parts)
    return replace(
        dataset,
        features=found.images,
        test=test,
        validation=validation,
        notes=(*dataset.notes, *own, *of_parts),
        polarity=found.polarity,
    )


def _finished(dataset: Dataset, options: ReadOptions, path: Path, usual: StoredPolarity | None = None) -> Dataset:
    """Return the images of a file upright, with dark ink on light paper and the names of their classes.

    A reader that has decided for each image itself says so by `polarity`.
    """
    if dataset.polarity is not None:
        return dataset
    return with_class_names(turned_upright(_dark_on_light(dataset, options, usual), path), path)


def _read_idx(parts: dict[Part, idx.IdxPair], source: str, options: ReadOptions, spool: Path | None) -> Dataset:
    """Return the images of IDX files, which by their definition have 0 = paper, with dark ink on light paper."""
    dataset = idx.read_parts(parts, source, spool=spool)
    return _finished(dataset, options, parts["train"].images, "light-on-dark")


def _read_file(path: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    if not path.is_file():
        raise DataError(f"{path}: neither a file nor a folder")
    name = path.name.lower()
    reader = next((read for endings, read in _READERS if name.endswith(endings)), None)
    if not name.endswith(_WITH_TARGET):
        _check_no_target_column(str(path), options)
        if not name.endswith(_JSON):
            check_no_group(str(path), options.group)
    if reader is not None:
        return reader(path, options, spool)
    if idx.is_idx(path):
        return _read_idx(idx.parts_of(path), str(path), options, spool)
    if name.endswith(PICTURE_ENDINGS):
        raise DataError(f"{path}: is a single picture, which has no label; a data set is a folder of them")
    reason = why_refused(name)
    raise DataError(f"{path}: {reason}" if reason else f"{path}: unknown format; known are {_FORMATS}")


def _read_json(path: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    from fastnn.datasets.digits_json import read_json, read_json_with_contributors

    check_no_group(str(path), options.group, only=CONTRIBUTOR)
    return (read_json if options.group is None else read_json_with_contributors)(path, spool)


def _read_text(path: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    from fastnn.datasets.table import read_table

    return read_table(path, options.target, options.task, spool=spool, group=options.group)


def _read_npz(path: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    from fastnn.datasets.npz import read_npz

    return read_npz(path, options.task, spool)


def _read_npy(path: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    from fastnn.datasets.npy import read_npy

    return read_npy(path, options.task, spool)


def _read_mat(path: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    from fastnn.datasets.mat import read_mat

    return read_mat(path, options.task, spool)


def _read_sparse(path: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    from fastnn.datasets.svmlight import read_svmlight

    return read_svmlight(path, options.task, spool)


def _read_arrow(path: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    from fastnn.datasets.arrow_files import read_arrow_files

    return read_arrow_files([path], str(path), options, spool)


_READERS: tuple[tuple[tuple[str, ...], Callable[[Path, ReadOptions, Path | None], Dataset]], ...] = (
    (_JSON, _read_json),
    (TEXT_ENDINGS, _read_text),
    ((".npz",), _read_npz),
    ((".npy",), _read_npy),
    ((".mat",), _read_mat),
    (_SPARSE_TEXT, _read_sparse),
    (ARROW_ENDINGS, _read_arrow),
)
"""The reader of files by the ends of their names."""


def _read_group(paths: list[Path], source: str, options: ReadOptions, spool: Path | None) -> Dataset:
    """Return the data set that several files of one kind hold together."""
    if paths[0].name.lower().endswith((".npy", ".npz")):
        from fastnn.datasets.npy import read_array_files

        _check_no_target_column(source, options)
        check_no_group(source, options.group)
        return read_array_files(paths, source, options.task, spool)
    from fastnn.datasets.arrow_files import read_arrow_files

    return read_arrow_files(paths, source, options, spool)


def _read_found(folder: Folder, options: ReadOptions, spool: Path | None, *, nested: bool = False) -> Dataset:
    """Return the only data set in a folder or archive."""
    from fastnn.datasets.picture_sets import read_picture_set

    found, notes = find_data_set(folder, (*TABLE_ENDINGS, *_JSON))
    if found is None:
        known = next((name for name in folder.files if why_refused(name)), None)
        if known is not None:
            raise DataError(f"{folder.shown}/{known}: {why_refused(known)}")
        raise DataError(f"{folder.shown}: no data set in this folder; known are {_FORMATS}")
    if isinstance(found, PictureSet):
        check_no_target(found.shown, options)
        check_no_group(found.shown, options.group)
        dataset = read_picture_set(found, options, spool)
    elif len(found.parts) == 1 and is_archive(found.names[0]):
        if nested:
            raise DataError(f"{found.shown}: is an archive in an archive in another one; unpack it and give its folder")
        with archive_in(found.folder, found.names[0], spool) as inner:
            dataset = _read_found(inner, options, spool, nested=True)
    else:
        dataset = _read_data_files(found, options, spool)
    return replace(dataset, notes=(*notes, *dataset.notes))


def _read_data_files(found: DataFiles, options: ReadOptions, spool: Path | None) -> Dataset:
    """Return the data set of files, which are unpacked to a temporary folder if they are in an archive."""
    with found.folder.on_disk(found.names, spool) as folder:
        here, shown = str(folder), found.folder.shown
        try:
            if found.parts:
                dataset = _read_parts(found, folder, options, spool)
            elif found.names[0].lower().endswith((*GROUPED_ENDINGS, ".npz")):
                dataset = _read_group([folder / name for name in found.names], here, options, spool)
            else:
                check_no_target(shown, options)
                dataset = _read_folder(folder, options, spool)
        except DataError as error:
            raise type(error)(str(error).replace(here, shown)) from None
    if here == shown:
        return dataset
    return replace(
        dataset,
        source=dataset.source.replace(here, shown),
        notes=tuple(note.replace(here, shown) for note in dataset.notes),
        **{
            part: replace(one, source=one.source.replace(here, shown))
            for part in ("test", "validation")
            if (one := getattr(dataset, part)) is not None
        },
    )


def _read_parts(found: DataFiles, folder: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    """Return the data set of one file, or of a file for each part."""
    sets = {part: read_path(folder / name, options, spool) for part, name in found.parts.items()}
    if len(sets) == 1:
        return sets["train"]
    if not all(one.is_images and one.test is None for one in sets.values()):
        raise DataError(f"{found.folder.shown}: {several_files(found.folder, found.names)}")
    indices, classes = encode_labels([name for one in sets.values() for name in one.classes], found.folder.shown)
    start, joined = 0, {}
    for part, one in sets.items():
        new = indices[start : start + len(one.classes)]
        joined[part] = replace(one, targets=new[one.labels], names=classes)
        start += len(one.classes)
    notes = [f"parts of the data set: {', '.join(f'{part} from {name}' for part, name in found.parts.items())}"]
    notes += dict.fromkeys(note for one in sets.values() for note in one.notes)
    return replace(joined["train"], test=joined.get("test"), validation=joined.get("validation"), notes=tuple(notes))


def _read_folder(folder: Path, options: ReadOptions, spool: Path | None) -> Dataset:
    """Return the data set of a folder of IDX files or of JSON files with the names of the original."""
    parts = idx.parts_in(folder)
    whole = idx.existing(folder, "dataset.json")
    if whole is None or parts is not None:
        check_no_group(str(folder), options.group)
    if parts is not None:
        return _read_idx(parts, str(folder), options, spool)
    class_files = [path for digit in range(10) if (path := idx.existing(folder, f"{digit}.json"))]
    if class_files:
        from fastnn.datasets.digits_json import read_class_files

        return read_class_files(class_files, str(folder), spool)
    if whole:
        return _read_file(whole, options, spool)
    raise DataError(f"{folder}: no data set in this folder; known are {_FORMATS}")
