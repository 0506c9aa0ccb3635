"""Data sets: where they come from, and how they are divided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastnn.datasets.dataset import PIXELS, SIDE, Dataset, encode_labels
from fastnn.datasets.split import Split, per_class, split
from fastnn.errors import DataError

if TYPE_CHECKING:
    from fastnn.datasets.fetch import Progress

__all__ = ["NAMES", "PIXELS", "SIDE", "Dataset", "Split", "encode_labels", "load_dataset", "per_class", "split"]

NAMES = ("digits", "mnist", "drawn")
_DATABASES = ("sqlite:", "postgresql:", "postgresql+psycopg:", "postgres:")


def load_dataset(source: str | Path, *, progress: Progress | None = None) -> Dataset:
    """Load a data set by its name or from a path.

    Parameters
    ----------
    source : str or Path
        A name: ``digits`` (the 13,942 digits of the original; found in ``$FASTNN_DATA``, ``./data`` or the
        user's cache, else downloaded), ``mnist`` (the same way) or ``drawn`` (made on the spot; ``drawn:2000`` and
        ``drawn:2000:7`` for another number of digits and another seed). Or a path:
        ``.json``, ``.json.gz``, ``.csv``, ``.npz``, IDX files, or a folder of IDX files, of ``0.json`` to
        ``9.json`` or of class folders with PNG or JPEG files. Or the URL of a database that the web app fills,
        ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``: its accepted digits.
    progress : callable, optional
        Called with a text and the share done, 0 to 1, while something is downloaded.

    Returns
    -------
    Dataset
        255 = paper, whatever the source; with `test` where the source has a test set of its own.

    Raises
    ------
    DataError
        If there is no such source, or its content is not as it should be; the message names the file.
    FetchError
        If a download is needed and fails.

    Examples
    --------
    >>> import fastnn
    >>> data = fastnn.load_dataset("drawn:200")
    >>> len(data), data.images.shape, data.classes[:3]
    (200, (200, 784), ('0', '1', '2'))
    """
    if isinstance(source, str) and (source in NAMES or source.startswith("drawn:")):
        return _load_name(source, progress)
    if isinstance(source, str) and source.startswith(_DATABASES):
        from fastnn.datasets.database import read_database

        return read_database(source)
    return _load_path(source)


def _load_name(name: str, progress: Progress | None) -> Dataset:
    from fastnn.storage import cache_dir

    if name == "digits":
        from fastnn.datasets.digits import digits

        return digits(cache_dir() / name, progress)
    if name == "mnist":
        from fastnn.datasets.mnist import mnist

        return mnist(cache_dir() / name, progress)
    return _drawn(name)


def _drawn(name: str) -> Dataset:
    from fastnn.datasets.drawn import built_in, drawn

    numbers = name.split(":")[1:]
    if len(numbers) > 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise DataError(f"{name}: drawn takes a number of digits and a seed, as in drawn:2000:7")
    return drawn(*(int(number) for number in numbers)) if numbers else built_in()


def _load_path(source: str | Path) -> Dataset:
    from fastnn.datasets.readers import read_path

    path = Path(source).expanduser()
    try:
        exists = path.exists()
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror or error})") from None
    if not exists:
        raise DataError(f"{source}: no such file or folder, nor a data set by name; those are {', '.join(NAMES)}")
    return read_path(path)
