"""The exceptions of fastnn, which all derive from :class:`FastnnError`.

::

    FastnnError            bad input; exit code 2
     +- DataError          a data set, an image or a label
     +- ModelError         a model file or a run folder
     +- RecipeError        a recipe or an option
     +- MissingExtraError  an optional dependency is not installed
     +- TrainingError      training failed; exit code 1
     +- FetchError         a download failed; exit code 1
"""


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
