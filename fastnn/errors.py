"""What can go wrong, as few exceptions as the command line needs to tell apart."""


class FastnnError(Exception):
    """Something the user can mend: the message is one line with the file's name, the fault and the fix.

    Attributes
    ----------
    exit_code : int
        What the command line exits with: 2 for bad input, 1 for work that failed.

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
    """A data set, an image or a label is not what it should be."""


class ModelError(FastnnError):
    """A model file or a run folder is not what it should be."""


class RecipeError(FastnnError):
    """A recipe or an option asks for something impossible."""


class MissingExtraError(FastnnError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra [{extra}]: pip install 'fastnn-trainer[{extra}]'")


class TrainingError(FastnnError):
    """Training failed: it diverged, or its run folder could not be written."""

    exit_code = 1


class FetchError(FastnnError):
    """A download failed."""

    exit_code = 1
