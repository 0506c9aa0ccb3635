"""The exceptions of fastnn, which all derive from :class:`FastnnError`.

::

    FastnnError            bad input; exit code 2
     +- DataError          a data set, an image or a label
     |   +- InputError     an argument of an estimator; a ValueError too
     +- ModelError         a model file or a run folder
     +- RecipeError        a recipe or an option
     +- MissingExtraError  an optional dependency is not installed
     +- TrainingError      training failed; exit code 1
     +- FetchError         a download failed; exit code 1

:func:`cannot_read` and :func:`cannot_write` turn an error of the system into one of these.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class FastnnError(Exception):
    """An error that the user can fix. The message is one line: the file's name, what is wrong, and the fix.

    Attributes
    ----------
    exit_code : int
        Exit code of the command line: 2 for bad input, 1 for work that failed.

    Examples
    --------
    >>> import fastnn
    >>> try:
    ...     fastnn.load_model("missing.safetensors")
    ... except fastnn.FastnnError as error:
    ...     print(error)
    missing.safetensors: no such file or folder
    """

    exit_code = 2


class DataError(FastnnError):
    """A data set, an image or a label is invalid or cannot be read."""


class InputError(DataError, ValueError):
    """An argument or the data given to an estimator of scikit-learn or River is invalid.

    These libraries expect a ValueError, and usually their words.
    """


class ModelError(FastnnError):
    """A model file or a run folder is invalid or cannot be read."""


class RecipeError(FastnnError):
    """A recipe or an option has an invalid value."""


class MissingExtraError(FastnnError):
    """An optional dependency is not installed; the message names the extra to install.

    Parameters
    ----------
    feature : str
        What needs the dependency.
    extra : str
        Name of the extra.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra [{extra}]: pip install 'fastnn-trainer[{extra}]'")


class TrainingError(FastnnError):
    """Training diverged, or its run folder could not be written."""

    exit_code = 1


class FetchError(FastnnError):
    """A download failed."""

    exit_code = 1


_BAD_TARGETS = {
    errno.EACCES: "choose another place, or change its permissions",
    errno.EPERM: "choose another place, or change its permissions",
    errno.EEXIST: "choose another name",
    errno.EINVAL: "choose another name",
    errno.EISDIR: "choose another name",
    errno.ELOOP: "choose another name; its symbolic links lead in a circle",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "make its folder first",
    errno.ENOTDIR: "choose another place; a part of its path is a file",
    errno.EROFS: "choose a place on another disk",
}
"""Faults of a name that was given, with their fixes."""
_FAILURES = {
    errno.EDQUOT: "free some space, and try again",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or choose a place on another disk",
    errno.EIO: "check the disk",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOSPC: "free some space, and try again",
}
"""Faults of the system, with their fixes."""
NO_SPACE = frozenset({errno.EDQUOT, errno.EFBIG, errno.ENOSPC})
"""Numbers of the faults that only writing has."""


def fault(error: OSError) -> str:
    """Return what is wrong, in the system's words and without its number."""
    return error.strerror or " ".join(str(error).split()) or type(error).__name__


def cannot_read(path: Path | str, error: OSError, kind: type[FastnnError] = DataError) -> FastnnError:
    """Return the error that an input cannot be read."""
    return kind(f"{path}: cannot be read ({fault(error)})")


def cannot_write(
    path: Path | str,
    error: OSError,
    kind: type[FastnnError] = FastnnError,
    *,
    words: str = "cannot be written",
    remedy: str | None = None,
) -> FastnnError:
    """Return the error that a result cannot be written.

    Parameters
    ----------
    path : path-like
        The file or folder.
    error : OSError
    kind : type, optional
        Its exit code is 2 if the fault is that of the name or place, such as a missing folder, and 1 otherwise.
    words : str, optional
        What cannot be done.
    remedy : str, optional
        The fix for a bad name or place.
    """
    number = error.errno or 0
    bad_target = number in _BAD_TARGETS
    advice = (remedy or _BAD_TARGETS[number]) if bad_target else _FAILURES.get(number)
    made = kind(f"{path}: {words} ({fault(error)})" + (f"; {advice}" if advice else ""))
    made.exit_code = 2 if bad_target else 1
    return made
