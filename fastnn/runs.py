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
from typing import TYPE_CHECKING, Any

from fastnn.errors import FastnnError, ModelError, TrainingError
from fastnn.formats import CHECKPOINT_FILE, MODEL_FILE, load_model, write_model
from fastnn.formats.safetensors import read_with_extra
from fastnn.recipe import WHOLE, Recipe
from fastnn.storage import atomic_write
from fastnn.training import EpochReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fastnn.model import Model

    State = tuple[dict[str, NDArray[np.generic]], dict[str, Any]]

HISTORY_FILE = "history.csv"
RECIPE_FILE = "recipe.toml"

_ADDED = 2
"""Columns that the history has got since its first version, at its end."""

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
    history : list of dict
        The epochs done, as :meth:`EpochReport.as_dict` has them.

    Attributes
    ----------
    state : tuple of dict and dict, or None
        What :meth:`fastnn.training.Trainer.restore` needs to go on with a resumed run that has averages or a
        validation part.
    """

    def __init__(self, folder: Path, history: list[dict[str, Any]]) -> None:
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
            As of the last epoch that was kept; ``model.info["epochs"]`` says which.
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
        if not all(_says_how_trained(model.info) for model, _, _ in found):
            raise ModelError(f"{folder}: its model does not say how it was trained and cannot be resumed")
        model, arrays, extra = max(found, key=lambda candidate: int(candidate[0].info["epochs"]))
        # What a killed process was writing is of no use to anyone.
        for name in (MODEL_FILE, CHECKPOINT_FILE, HISTORY_FILE, RECIPE_FILE):
            for stray in folder.glob(f".{name}.*.tmp"):
                stray.unlink(missing_ok=True)
        run = cls(folder, _read_history(folder / HISTORY_FILE, model.info["epochs"]))
        if isinstance(extra.get("training"), dict):
            run.state = arrays, extra["training"]
        return run, model, Recipe.from_dict(model.info["recipe"], str(folder))

    def record(self, report: EpochReport) -> None:
        """Add an epoch to the history."""
        self._history.append(report.as_dict())

    def record_members(self, folders: Sequence[Path]) -> None:
        """Take the mean over the runs of several networks for the history, epoch by epoch; seconds are added up.

        Parameters
        ----------
        folders : sequence of Path
            Of the networks' own runs. Where one has stopped early, the mean is that of the others.
        """
        epochs: dict[int, list[dict[str, Any]]] = {}
        for folder in folders:
            for row in _read_history(folder / HISTORY_FILE, WHOLE["epochs"][1]):
                epochs.setdefault(int(row["epoch"]), []).append(row)
        self._history = [{**_means(epochs[epoch]), "epoch": epoch} for epoch in sorted(epochs)]

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
        writer.writerows(self._history)
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
    return max(found, key=lambda model: int(model.info["epochs"]), default=None)


def _write(model: Model, path: Path, state: State | None) -> None:
    if state is None:
        write_model(model, path)
    else:
        write_model(model, path, extra_tensors=state[0], extra={"training": state[1]})


def _cannot_make(folder: Path, error: OSError) -> FastnnError:
    return FastnnError(f"{folder}: the run's folder cannot be made ({error.strerror}); name another one with --out")


def _says_how_trained(info: dict[str, Any]) -> bool:
    epochs, data = info.get("epochs"), info.get("data")
    return (
        isinstance(epochs, int)
        and not isinstance(epochs, bool)
        and epochs >= 0
        and isinstance(info.get("recipe"), dict)
        and isinstance(data, dict)
        and all(isinstance(data.get(key), str) for key in ("source", "description", "hash"))
    )


def _read_history(path: Path, epochs: int) -> list[dict[str, Any]]:
    """Return the lines of the first `epochs` epochs; what else stands there was trained after the checkpoint."""
    names = [field.name for field in fields(EpochReport)]
    try:
        header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError, csv.Error):
        return []
    if header == names[: len(header)] and len(names) - len(header) <= _ADDED:
        # Written before the last columns were added.
        rows = [row + [""] * (len(names) - len(header)) for row in rows if len(row) == len(header)]
        header = names
    if header != names:
        return []
    return [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names) and _is_within(row[0], epochs)]


def _means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of each column, and the sum of seconds; one in which not all rows have a number is empty."""
    means: dict[str, Any] = {}
    for name in rows[0]:
        try:
            total = math.fsum(float(row[name]) for row in rows)
            means[name] = total if name in ("seconds", "test_seconds") else total / len(rows)
        except ValueError:
            means[name] = ""
    return means


def _is_within(epoch: str, epochs: int) -> bool:
    return re.fullmatch("[0-9]{1,7}", epoch) is not None and int(epoch) <= epochs
