"""How a data set is to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastnn.datasets.labels import parse_classes
from fastnn.datasets.polarity import Polarity, polarity_sign
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.network import Task


@dataclass(frozen=True)
class ReadOptions:
    """How a data set is to be read; the parameters of :func:`fastnn.load_dataset`.

    Attributes
    ----------
    target : tuple of str
        The columns of a table to learn; none if the reader is to choose.
    task : {"classification", "multilabel", "regression"} or None
        What is learned from a table; None if its targets decide.
    polarity : {"auto", "dark-on-light", "light-on-dark"}
        Whether the ink of images is darker or lighter than the paper.
    strict : bool
        Whether a damaged file among many is an error, and not left out with a note.
    classes : tuple of str
        The only classes to take, in the order of the outputs; none for all that the data have.
    group : str or None
        The column of a table, or ``contributor`` of a database or of a JSON file of digits, that says which samples
        belong together; see `Dataset.groups`.

    Raises
    ------
    DataError
        If a value is not one of these.
    """

    target: tuple[str, ...] = ()
    task: Task | None = None
    polarity: Polarity = "auto"
    strict: bool = False
    classes: tuple[str, ...] = ()
    group: str | None = None

    def __post_init__(self) -> None:
        if not all(isinstance(name, str) for name in self.target):
            raise DataError('target must be names of columns, or their positions as text such as "4"')
        polarity_sign(self.polarity)

    @classmethod
    def of(
        cls,
        target: str | Sequence[str] | None = None,
        task: Task | None = None,
        polarity: Polarity = "auto",
        *,
        strict: bool = False,
        classes: str | Sequence[str] | None = None,
        group: str | None = None,
    ) -> ReadOptions:
        """Return the options; a single target may be given as text, and classes as "0-9" or "A-Z,a-z"."""
        chosen = parse_classes(classes) if isinstance(classes, str) else tuple(classes or ())
        targets = (target,) if isinstance(target, str | int) else tuple(target or ())
        return cls(targets, task, polarity, strict, chosen, group)


DEFAULT_OPTIONS = ReadOptions()
"""The reader decides everything by the data."""
