"""A run's folder: its model, history, recipe and checkpoint."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fastnn.errors import FastnnError, ModelError, TrainingError
from fastnn.formats import CHECKPOINT_FILE, MODEL_FILE, load_model, write_model
from fastnn.formats.safetensors import read_with_extra
from fastnn.storage import atomic_write
from fastnn.training import EpochReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fastnn.model import Model, ModelCard
    from fastnn.recipe import Recipe

    State = tuple[dict[str, NDArray[np.generic]], dict[str, Any]]

HISTORY_FILE = "history.csv"
RECIPE_FILE = "recipe.toml"

_ADDED = 2
"""Columns that the history has got since its first version, at its end."""

_MOST_BYTES = 1 << 26
_MOST = 1e15

_LEAST_SECONDS = 1.0
_LEAST_RATIO = 50.0
"""A checkpoint is due a second after the last one, and later where writing one takes over a fiftieth of the time."""


class Run:
    """The folder of one training run.

    Holds ``model.safetensors`` once training is done, ``history.csv`` (a line an epoch), ``recipe.toml``, and while
    training ``checkpoint.safetensors``, a model like the other that training can be taken up from.

    Parameters
    ----------
    folder : Path
        See :meth:`create` and :meth:`resume`.
    history : list of EpochReport
        The epochs done.

    Attributes
    ----------
    state : tuple of dict and dict, or None
        What :meth:`fastnn.training.Trainer.restore` needs to go on with a resumed run that has averages or a
        validation part.
    """

    def __init__(self, folder: Path, history: list[EpochReport]) -> None:
        self.folder = folder
        self._history = history
        self._last_time = time.monotonic()
        self._last_cost = 0.0
        self.state: State | None = None

    @classmethod
    def create(cls, folder: str | Path, recipe: Recipe, start: Model) -> Run:
        """Make the folder for a new run, with the recipe and a checkpoint of the untrained model.

        Parameters
        ----------
        folder : path-like
            Must not exist; folders above it are made.
        recipe : Recipe
        start : Model
            Before the first epoch.

        Raises
        ------
        FastnnError
            If the folder exists or cannot be written.
        """
        folder = Path(folder)
        try:
            # A file among the folders above is found by this too, and is not to be taken for a run.
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_make(folder, error) from None
        try:
            folder.mkdir()
        except FileExistsError:
            raise FastnnError(
                f"{folder}: exists already; name another folder with --out, or go on with --resume"
            ) from None
        except OSError as error:
            raise _cannot_make(folder, error) from None
        run = cls(folder, [])
        try:
            run._write_recipe(recipe)
            run.checkpoint(start)
        except BaseException:
            # Nothing is lost with a run that has not begun, and the same command can be given again.
            for name in (RECIPE_FILE, CHECKPOINT_FILE):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
            raise
        return run

    @classmethod
    def resume(cls, folder: str | Path) -> tuple[Run, Model, Recipe]:
        """Open a run to go on with.

        Parameters
        ----------
        folder : path-like
            Of a finished, interrupted or killed run.

        Returns
        -------
        run : Run
        model : Model
            As of the last epoch that was kept; ``model.card.epochs`` says which.
        recipe : Recipe
            The one that the run was started with.

        Raises
        ------
        ModelError
            If there is no model in the folder, or it is damaged, or says nothing of how it was trained.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ModelError(f"{folder}: no run folder to resume")
        found = [read_with_extra(folder / name) for name in (CHECKPOINT_FILE, MODEL_FILE) if (folder / name).is_file()]
        if not found:
            raise ModelError(f"{folder}: nothing to resume, it holds neither {MODEL_FILE} nor {CHECKPOINT_FILE}")
        model, arrays, extra = max(found, key=lambda candidate: candidate[0].card.epochs or 0)
        recipe = model.card.recipe
        if recipe is None or not all(_says_how_trained(model.card) for model, _, _ in found):
            raise ModelError(f"{folder}: its model does not say how it was trained and cannot be resumed")
        # What a killed process was writing is of no use to anyone.
        for name in (MODEL_FILE, CHECKPOINT_FILE, HISTORY_FILE, RECIPE_FILE):
            for stray in folder.glob(f".{name}.*.tmp"):
                stray.unlink(missing_ok=True)
        # Epochs that were trained after the checkpoint will be trained again.
        history = _history_so_far(folder / HISTORY_FILE)
        run = cls(folder, [report for report in history if report.epoch <= (model.card.epochs or 0)])
        if isinstance(extra.get("training"), dict):
            run.state = arrays, extra["training"]
        return run, model, recipe

    def record(self, report: EpochReport) -> None:
        """Add an epoch to the history."""
        self._history.append(report)

    def record_members(self, folders: Sequence[Path]) -> None:
        """Take the mean over the runs of several networks for the history, epoch by epoch; seconds are added up.

        Parameters
        ----------
        folders : sequence of Path
            Of the networks' own runs. Where one has stopped early, the mean is that of the others.
        """
        epochs: dict[int, list[EpochReport]] = {}
        for folder in folders:
            for report in _history_so_far(folder / HISTORY_FILE):
                epochs.setdefault(report.epoch, []).append(report)
        self._history = [_mean(epochs[epoch]) for epoch in sorted(epochs)]

    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough for a new one."""
        return time.monotonic() - self._last_time > max(_LEAST_SECONDS, _LEAST_RATIO * self._last_cost)

    def checkpoint(self, model: Model, state: State | None = None) -> None:
        """Write history and checkpoint.

        Parameters
        ----------
        model : Model
        state : tuple, optional
            See :meth:`fastnn.training.Trainer.state`.

        Raises
        ------
        TrainingError
            If they cannot be written; those from before are then still there.
        """
        start = time.monotonic()
        try:
            self._write_history()
            _write(model, self.folder / CHECKPOINT_FILE, state)
        except OSError as error:
            raise self._cannot_write(error) from None
        self._last_time = time.monotonic()
        self._last_cost = self._last_time - start

    def finish(self, model: Model, recipe: Recipe, state: State | None = None) -> Path:
        """Write model, history and recipe, and remove the checkpoint; return the model's path.

        Parameters
        ----------
        model : Model
        recipe : Recipe
        state : tuple, optional
            As for :meth:`checkpoint`; lets the run be extended.

        Raises
        ------
        TrainingError
            If they cannot be written; the checkpoint is then still there.
        """
        path = self.folder / MODEL_FILE
        try:
            self._write_history()
            self._write_recipe(recipe)
            _write(model, path, state)
            (self.folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise self._cannot_write(error) from None
        return path

    def _write_recipe(self, recipe: Recipe) -> None:
        path, content = self.folder / RECIPE_FILE, recipe.to_toml().encode()
        try:
            # Most often it is there already, and to flush it to the disk takes 6 ms.
            if path.is_file() and path.read_bytes() == content:
                return
            with atomic_write(path) as file:
                file.write(content)
        except OSError as error:
            raise self._cannot_write(error) from None

    def _write_history(self) -> None:
        if not self._history:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(EpochReport)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(report.as_dict() for report in self._history)
        with atomic_write(self.folder / HISTORY_FILE) as file:
            file.write(text.getvalue().encode())

    def _cannot_write(self, error: OSError) -> TrainingError:
        return TrainingError(f"{self.folder}: the run cannot be written ({error.strerror or error})")


def latest_model(folder: Path) -> Model | None:
    """Return the model of a run that may be under way, of the last epoch that was kept; None if there is none."""
    found = []
    for name in (CHECKPOINT_FILE, MODEL_FILE):
        with contextlib.suppress(ModelError):  # not there, or no longer
            found.append(load_model(folder / name))
    return max(found, key=lambda model: model.card.epochs or 0, default=None)


def _write(model: Model, path: Path, state: State | None) -> None:
    if state is None:
        write_model(model, path)
    else:
        write_model(model, path, extra_tensors=state[0], extra={"training": state[1]})


def _cannot_make(folder: Path, error: OSError) -> FastnnError:
    return FastnnError(f"{folder}: the run's folder cannot be made ({error.strerror}); name another one with --out")


def read_history(path: str | Path, *, skip_damaged: bool = False) -> list[EpochReport]:
    """Return the epochs of a run's ``history.csv``, in the order of the file.

    Parameters
    ----------
    path : path-like
    skip_damaged : bool
        Leave lines out that are damaged, instead of raising an error.

    Returns
    -------
    list of EpochReport
        Values that an older fastnn did not write are None.

    Raises
    ------
    ModelError
        If the file cannot be read, is larger than 64 MiB, or does not begin with the columns of a history; and, without
        `skip_damaged`, if a line does not hold an epoch. The message names file and line.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ModelError(f"{path}: too large to be a history")
        header, *rows = list(csv.reader(content.decode().splitlines())) or [[]]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, csv.Error) as error:
        raise ModelError(f"{path}: not a history ({error})") from None
    names = [field.name for field in fields(EpochReport)]
    if header != names[: len(header)] or len(names) - len(header) > _ADDED:
        raise ModelError(f"{path}: does not begin with the columns of a history, {', '.join(names)}")
    history = []
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        report = _report(row) if len(row) == len(header) else None
        if report is not None:
            history.append(report)
        elif not skip_damaged:
            raise ModelError(f"{path}: line {number} does not hold an epoch; the file is damaged")
    return history


def _report(row: list[str]) -> EpochReport | None:
    """Return a line of a history, or None if it is damaged."""
    try:
        values = [float(text) if text else None for text in row[1:]]
        epoch = int(row[0]) if re.fullmatch("[0-9]{1,7}", row[0]) else 0
    except ValueError:
        return None
    known = [value for value in values if value is not None]
    # No value of a sound run is that large, and curves and sums of larger ones would overflow.
    if epoch < 1 or not all(abs(value) <= _MOST for value in known):
        return None
    report = EpochReport(epoch, *cast(Any, values))
    needed = (report.lr, report.loss, report.accuracy, report.samples_per_second, report.seconds, report.test_seconds)
    return None if None in needed else report


def _history_so_far(path: Path) -> list[EpochReport]:
    """Return what is sound in a history that may be missing or damaged: it is no reason not to train on."""
    try:
        return read_history(path, skip_damaged=True)
    except ModelError:
        return []


def _mean(reports: list[EpochReport]) -> EpochReport:
    """Return the mean of reports on one epoch, and the sum of their seconds; None where not all have a value."""
    rows = [report.as_dict() for report in reports]
    means: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        total = math.fsum(values)
        means[name] = total if name in ("seconds", "test_seconds") else total / len(rows)
        if len(values) < len(rows):
            means[name] = None
    return EpochReport(**{**means, "epoch": reports[0].epoch})


def _says_how_trained(card: ModelCard) -> bool:
    return card.epochs is not None and card.recipe is not None and card.data is not None
