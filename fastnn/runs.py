"""Run folders: model, history, recipe and checkpoint of one training run."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import math
import os
import re
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from fastnn.errors import FastnnError, ModelError, TrainingError, cannot_write, fault
from fastnn.formats import CHECKPOINT_FILE, MODEL_FILE, write_model
from fastnn.formats.safetensors import read_with_extra
from fastnn.reading import read_csv_rows, read_file
from fastnn.recipe import load_recipe
from fastnn.storage import atomic_write, check_home, check_name, put_in_place, temporary_folder
from fastnn.temporaries import clear_dead, is_temporary
from fastnn.training import EpochReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fastnn.model import Model, ModelCard
    from fastnn.network import Network
    from fastnn.recipe import Recipe

    State = tuple[dict[str, NDArray[np.generic]], dict[str, Any]]

HISTORY_FILE = "history.csv"
RECIPE_FILE = "recipe.toml"

_COLUMNS = tuple(field.name for field in fields(EpochReport) if field.name not in ("member", "task"))
"""Columns of the history. Its values are means over the networks (`member`) of an ensemble, and have one `task`."""

_MAX_BYTES = 1 << 26
_MAX_VALUE = 1e15

_NEW_COLUMNS = 2
"""Number of columns at the end that old histories do not have."""

CHECKPOINT_SECONDS = 1.0
"""Shortest time between two checkpoints, in seconds."""
CHECKPOINT_COST = 50.0
"""The time between two checkpoints is at least this many times the time to write one."""


@dataclass(frozen=True, eq=False)
class SavedNetwork:
    """One network of a run as it was saved.

    Attributes
    ----------
    epochs : int
        Number of epochs that it is trained for.
    network : Network
    state : tuple of dict and dict, or None
        The arguments of :meth:`fastnn.training.Trainer.load_state_dict`; None if weights and epoch are enough.
    """

    epochs: int
    network: Network
    state: State | None = None


class Run:
    """The folder of one training run.

    It holds ``recipe.toml``, ``history.csv`` (a line for each epoch, the mean over the networks of an ensemble), during
    training ``checkpoint.safetensors``, a model file from which training can resume, and at the end
    ``model.safetensors``.

    Parameters
    ----------
    folder : Path
        See :meth:`create` and :meth:`resume`.
    history : sequence of EpochReport
        Earlier epochs.

    Attributes
    ----------
    networks : tuple of SavedNetwork or None
        The networks of a resumed run: None for one that is not trained yet, an empty tuple if none is.
    """

    def __init__(self, folder: Path, history: Sequence[EpochReport] = ()) -> None:
        self.folder = folder
        self._place = folder
        """Where its files are written: a temporary folder until the run is complete enough to be resumed."""
        self._rows: dict[int, dict[int, EpochReport]] = {}
        for report in history:
            self.record(report)
        self._last_time = time.monotonic()
        self._last_cost = 0.0
        self.networks: tuple[SavedNetwork | None, ...] = ()

    @classmethod
    def create(cls, folder: str | Path, recipe: Recipe, start: Model, *, anew: bool = False) -> Run:
        """Create the folder of a new run, with the recipe and a checkpoint of the untrained model.

        The folder appears in one step, so that a run that was killed can always be resumed.

        Parameters
        ----------
        folder : path-like
            Must not exist, or be empty; its parent folders are created.
        recipe : Recipe
        start : Model
            The untrained model.
        anew : bool
            Whether the folder may be that of a run for which :func:`begun_recipe` returns a recipe.

        Raises
        ------
        FastnnError
            If the folder exists or cannot be written.
        """
        folder = Path(folder)
        if not anew:
            check_new_run(folder)
        run = cls(folder)
        if folder.is_dir():
            run._begin(recipe, start)
            return run
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with temporary_folder(folder) as made:
                run._place = made
                run._begin(recipe, start)
                put_in_place(made, folder)
        except FileExistsError:
            # One of the folders to make is a file.
            raise _cannot_make(folder, OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))) from None
        except OSError as error:
            # Another run may have been faster.
            if error.errno == errno.ENOTEMPTY:
                raise folder_exists(folder) from None
            raise _cannot_make(folder, error) from None
        run._place = folder
        return run

    def _begin(self, recipe: Recipe, start: Model) -> None:
        """Write the first files of a run; the checkpoint, which says all that is needed to resume, comes first."""
        try:
            self.checkpoint(start)
            self._write_recipe(recipe)
        except BaseException:
            # Nothing is lost, and the same command then works again.
            (self._place / CHECKPOINT_FILE).unlink(missing_ok=True)
            raise

    @classmethod
    def resume(cls, folder: str | Path) -> tuple[Run, Model, Recipe]:
        """Open a run to continue it.

        Parameters
        ----------
        folder : path-like
            The folder of a finished, interrupted or killed run.

        Returns
        -------
        run : Run
        model : Model
            The model of the last saved epoch, ``model.card.epochs``.
        recipe : Recipe
            The recipe that the run was started with.

        Raises
        ------
        ModelError
            If there is no model in the folder, or it is damaged, or does not say how it was trained, or its parts
            contradict each other.
        """
        folder = Path(folder)
        _check_run_folder(folder)
        paths = [folder / name for name in (CHECKPOINT_FILE, MODEL_FILE) if (folder / name).is_file()]
        found = {path: read_with_extra(path) for path in paths}
        if not found:
            raise ModelError(
                f"{folder}: nothing to resume, it holds neither {MODEL_FILE} nor {CHECKPOINT_FILE}; "
                "begin a run in an empty folder with --out"
            )
        model, arrays, extra = max(found.values(), key=lambda candidate: candidate[0].card.epochs or 0)
        recipe = model.card.recipe
        if recipe is None or not all(_says_how_trained(model.card) for model, _, _ in found.values()):
            raise ModelError(
                f"{folder}: its model does not say how it was trained and cannot be resumed; start a new run from it "
                "with Session.from_model (--from)"
            )
        for path, (one, _, _) in found.items():
            _check_recipe(one, path)
        _check_same_run(*(one for one, _, _ in found.values()), folder=folder)
        _clear_leftovers(folder)
        # Epochs after the checkpoint will be trained again.
        history = _read_intact_lines(folder / HISTORY_FILE)
        epochs = model.card.epochs or 0
        run = cls(folder, [report for report in history if report.epoch <= epochs])
        saved = extra.get("training")
        state = (arrays, saved) if isinstance(saved, dict) else None
        if recipe.ensemble == 1:
            run.networks = (SavedNetwork(epochs, model.network, state),)
        else:
            run._load_ensemble(model, recipe, state)
        return run, model, recipe

    def _load_ensemble(self, model: Model, recipe: Recipe, state: State | None) -> None:
        """Set `networks` to those of an ensemble; add epochs to the history that only some of them have trained."""
        count, own = recipe.ensemble, _saved_networks(model, recipe, state, self.folder)
        members = [_first_edition_member(self.folder / f"member-{number + 1}") for number in range(count)]
        old = [None if member is None else member.networks[0] for member in members]
        trained, trained_before = (sum(one.epochs for one in some if one is not None) for some in (own, old))
        if trained_before > trained or (trained_before and not own):
            self.networks = tuple(old)
            # The folders of the networks have all epochs, the run's history has means of some of them.
            self._rows = {}
            for number, member in enumerate(members):
                for report in member.history if member else ():
                    self.record(replace(report, member=number))
            return
        if not own and model.card.epochs:
            raise ModelError(
                f"{self.folder}: has {len(model.networks)} of the {count} networks of its recipe and cannot be resumed"
            )
        self.networks = own
        for report in _partial_epochs(state, recipe, self.folder):
            self.record(report)

    @property
    def history(self) -> list[EpochReport]:
        """One report for each epoch, in order: of the network, or the mean over the networks of an ensemble."""
        return [_mean(list(self._rows[epoch].values())) for epoch in sorted(self._rows)]

    def record(self, report: EpochReport) -> None:
        """Add the report of a network's epoch to the history."""
        self._rows.setdefault(report.epoch, {})[report.member] = report

    def reports_after(self, epoch: int) -> list[EpochReport]:
        """Return the reports of later epochs, which only some networks of an ensemble have trained."""
        return [row for later in sorted(self._rows) if later > epoch for row in self._rows[later].values()]

    def is_due(self) -> bool:
        """Return whether it is time for the next checkpoint."""
        return time.monotonic() - self._last_time > max(CHECKPOINT_SECONDS, CHECKPOINT_COST * self._last_cost)

    def checkpoint(self, model: Model, state: State | None = None) -> None:
        """Write history and checkpoint.

        Parameters
        ----------
        model : Model
        state : tuple of dict and dict, optional
            Arrays and values from which training resumes; see :attr:`SavedNetwork.state` and :func:`ensemble_state`.

        Raises
        ------
        TrainingError
            If they cannot be written; the previous ones are kept.
        """
        start = time.monotonic()
        try:
            self._write_history(model)
            _write(model, self._place, CHECKPOINT_FILE, state)
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
        state : tuple of dict and dict, optional
            As for :meth:`checkpoint`, so that more epochs can be added later.

        Raises
        ------
        TrainingError
            If they cannot be written; the checkpoint is kept.
        """
        path = self.folder / MODEL_FILE
        try:
            self._write_history(model)
            self._write_recipe(recipe)
            _write(model, self.folder, MODEL_FILE, state)
            (self.folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise self._cannot_write(error) from None
        return path

    def _write_recipe(self, recipe: Recipe) -> None:
        path, content = self._place / RECIPE_FILE, recipe.to_toml().encode()
        # Usually it is there already; flushing it to the disk takes 6 ms.
        with contextlib.suppress(ModelError):
            if read_file(path, len(content), error=ModelError) == content:
                return
        try:
            with atomic_write(path) as file:
                file.write(content)
        except OSError as error:
            raise self._cannot_write(error) from None

    def _write_history(self, model: Model) -> None:
        """Write the history of the epochs that all networks of the model have trained."""
        reports = [report.as_dict() for report in self.history if report.epoch <= (model.card.epochs or 0)]
        if not reports:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(reports)
        with atomic_write(self._place / HISTORY_FILE) as file:
            file.write(text.getvalue().encode())

    def _cannot_write(self, error: OSError) -> TrainingError:
        failed = cannot_write(self.folder, error, words="the run cannot be written")
        return TrainingError(str(failed))


def ensemble_state(networks: Sequence[SavedNetwork], ahead: Sequence[EpochReport]) -> State:
    """Return the states of an ensemble's networks as one state for :meth:`Run.checkpoint`.

    Parameters
    ----------
    networks : sequence of SavedNetwork
    ahead : sequence of EpochReport
        Epochs that only some networks have trained.
    """
    arrays, members = {}, []
    for number, one in enumerate(networks):
        own, values = one.state or ({}, {})
        members.append({"epoch": one.epochs, **values})
        arrays.update({f"{number}.{name}": array for name, array in own.items()})
    return arrays, {"members": members, "ahead": [report.as_dict() for report in ahead]}


def _saved_networks(model: Model, recipe: Recipe, state: State | None, folder: Path) -> tuple[SavedNetwork, ...]:
    """Return the networks of an ensemble with their states; empty if training cannot resume from them."""
    epochs = model.card.epochs or 0
    if len(model.networks) != recipe.ensemble:
        return ()
    if state is None and not epochs:
        # Random weights, or those of the model that training starts from.
        return tuple(SavedNetwork(0, network) for network in model.networks)
    if state is None:
        # The first edition kept each network's state in a folder of its own.
        if recipe.needs_state:
            return ()
        return tuple(SavedNetwork(epochs, network) for network in model.networks)
    arrays, values = state
    members = values.get("members")
    if not isinstance(members, list) or len(members) != recipe.ensemble:
        raise _damaged(folder)
    saved = []
    for number, (network, one) in enumerate(zip(model.networks, members, strict=True)):
        if not isinstance(one, dict) or not isinstance(one.get("epoch"), int) or one["epoch"] < 0:
            raise _damaged(folder)
        prefix = f"{number}."
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        saved.append(SavedNetwork(one["epoch"], network, (own, one) if recipe.needs_state else None))
    if not min(one.epochs for one in saved) <= epochs <= max(one.epochs for one in saved):
        raise _damaged(folder)
    return tuple(saved)


def _partial_epochs(state: State | None, recipe: Recipe, folder: Path) -> list[EpochReport]:
    """Return the saved reports of epochs that only some networks have trained."""
    try:
        reports = msgspec.convert((state or ({}, {}))[1].get("ahead", []), list[EpochReport])
    except msgspec.ValidationError:
        raise _damaged(folder) from None
    if not all(report.epoch > 0 and 0 <= report.member < recipe.ensemble for report in reports):
        raise _damaged(folder)
    return reports


def _damaged(folder: Path) -> ModelError:
    return ModelError(f"{folder}: the training state does not fit the recipe; the checkpoint is damaged")


def _first_edition_member(folder: Path) -> Run | None:
    """Return the run of one network of an ensemble, for which the first edition had a folder of its own."""
    if not any((folder / name).is_file() for name in (CHECKPOINT_FILE, MODEL_FILE)):
        return None
    return Run.resume(folder)[0]


def _write(model: Model, folder: Path, name: str, state: State | None) -> None:
    # If only the user may read the model, the same holds for the checkpoint, and the other way round.
    like = folder / (MODEL_FILE if name == CHECKPOINT_FILE else CHECKPOINT_FILE)
    if state is None:
        write_model(model, folder / name, like=like)
    else:
        write_model(model, folder / name, extra_tensors=state[0], extra={"training": state[1]}, like=like)


def begun_recipe(folder: str | Path) -> Recipe | None:
    """Return the recipe of a run that was killed before its first checkpoint, or None if the folder is another one.

    Earlier versions of fastnn wrote ``recipe.toml`` before the first checkpoint.

    Raises
    ------
    FastnnError
        If there is no such folder, or the recipe is damaged.
    """
    folder = Path(folder)
    _check_run_folder(folder)
    _clear_leftovers(folder)
    names = {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    members = [path for path in folder.iterdir() if path.is_dir()]
    trained = any((member / name).exists() for member in members for name in (MODEL_FILE, CHECKPOINT_FILE))
    if RECIPE_FILE not in names or not names <= {RECIPE_FILE, HISTORY_FILE} or trained:
        return None
    return load_recipe(folder / RECIPE_FILE)


def check_new_run(folder: str | Path) -> None:
    """Raise the error that :meth:`Run.create` would raise for this folder, before any work is done.

    Raises
    ------
    FastnnError
        If it exists and is not empty, or its name is impossible or too long.
    """
    folder = Path(folder)
    try:
        check_name(folder)
        check_home(folder)
        if not folder.exists() and not folder.is_symlink():
            return
        clear_dead(folder)
        empty = folder.is_dir() and not any(folder.iterdir())
    except OSError as error:
        raise _cannot_make(folder, error) from None
    if not empty:
        raise folder_exists(folder)


def folder_exists(folder: str | Path) -> FastnnError:
    """Return the error that the folder of a new run exists already."""
    fix = "name another folder (--out), or continue the run with Session.resume (--resume)"
    return FastnnError(f"{folder}: exists already; {fix}")


def _cannot_make(folder: Path, error: OSError) -> FastnnError:
    return cannot_write(folder, error, words="the run folder cannot be created", remedy="name another one (--out)")


def _check_run_folder(folder: Path) -> None:
    """Raise a ModelError if `folder` is no folder."""
    try:
        check_name(folder)
        found = folder.is_dir()
    except OSError as error:
        raise ModelError(f"{folder}: no run folder to resume ({fault(error)})") from None
    if not found:
        is_model = folder.suffix == ".safetensors" and folder.is_file()
        other = "; start a new run from a model file with Session.from_model (--from)" if is_model else ""
        raise ModelError(f"{folder}: no run folder to resume{other}")


def _clear_leftovers(folder: Path) -> None:
    """Remove half-written files of killed processes; those of earlier versions do not say which process made them."""
    clear_dead(folder)
    for name in (MODEL_FILE, CHECKPOINT_FILE, HISTORY_FILE, RECIPE_FILE):
        for stray in folder.glob(f".{name}.*.tmp"):
            if not is_temporary(stray.name):
                stray.unlink(missing_ok=True)


def _says_how_trained(card: ModelCard) -> bool:
    return card.epochs is not None and card.recipe is not None and card.data is not None


def _check_recipe(model: Model, path: Path) -> None:
    """Raise ModelError if the recipe in a model file contradicts the model, which stores some values again."""
    card, recipe = model.card, model.card.recipe
    if recipe is None:
        return
    # An ensemble of the first edition has fewer networks while it is trained.
    count = len(model.networks)
    pairs: list[tuple[str, object, object]] = [("ensemble", min(count, recipe.ensemble), count)]
    for network in model.networks:
        pairs.append(("hidden", list(recipe.hidden), list(network.sizes[1:-1])))
        pairs += [(name, getattr(recipe, name), getattr(network, name)) for name in ("rule", "activation")]
        pairs.append(("dtype", recipe.dtype, network.dtype.name))
    pairs += [(name, getattr(recipe, name), getattr(model, name)) for name in ("invert", "normalise")]
    if card.seed is not None:
        pairs.append(("seed", recipe.seed, card.seed))
    if recipe.class_weight is not None:
        pairs.append(("number of class weights", len(recipe.class_weight), len(model.classes)))
    for name, said, real in pairs:
        if said != real:
            raise ModelError(
                f"{path}: its recipe has {name} = {said}, but its model has {real}; "
                "the file is damaged or was changed, start a new run"
            )


def _check_same_run(*models: Model, folder: Path) -> None:
    """Raise ModelError if the model and the checkpoint in a folder are not of one run."""
    runs = []
    for model in models:
        # Training for more epochs changes the recipe's number of them.
        recipe = {} if model.card.recipe is None else msgspec.structs.asdict(model.card.recipe) | {"epochs": None}
        runs.append((recipe, model.card.data, model.sizes, model.classes))
    if any(run != runs[0] for run in runs):
        raise ModelError(
            f"{folder}: {MODEL_FILE} and {CHECKPOINT_FILE} are of different runs; remove the file of the other run"
        )


def read_history(path: str | Path, *, skip_damaged: bool = False) -> list[EpochReport]:
    """Return the epochs of a run's ``history.csv``, in the order of the file.

    Parameters
    ----------
    path : path-like
    skip_damaged : bool
        Whether to skip damaged lines instead of raising an error.

    Returns
    -------
    list of EpochReport
        Values that are missing in files of older versions are None.

    Raises
    ------
    ModelError
        If the file cannot be read, is larger than 64 MiB, or does not begin with the columns of a history; and, without
        `skip_damaged`, if a line does not hold an epoch. The message names file and line.
    """
    path = Path(path)
    rows = read_csv_rows(path, _MAX_BYTES, what="a history", error=ModelError)
    header = next((row for _, row in rows), [])
    names = list(_COLUMNS)
    if header != names[: len(header)] or len(names) - len(header) > _NEW_COLUMNS:
        raise ModelError(f"{path}: does not begin with the columns of a history, {', '.join(names)}")
    history = []
    for number, row in rows:
        report = _report(row) if len(row) == len(header) else None
        if report is not None:
            history.append(report)
        elif not skip_damaged:
            raise ModelError(f"{path}: line {number} does not hold an epoch; the file is damaged")
    return history


def _report(row: list[str]) -> EpochReport | None:
    """Return the report in a line of a history, or None if the line is damaged."""
    try:
        values = [float(text) if text else None for text in row[1:]]
        epoch = int(row[0]) if re.fullmatch("[0-9]{1,7}", row[0]) else 0
    except ValueError:
        return None
    known = [value for value in values if value is not None]
    # Real runs have no larger values; sums and plots of them would overflow.
    if epoch < 1 or not all(abs(value) <= _MAX_VALUE for value in known):
        return None
    report = EpochReport(epoch, *cast(Any, values))
    needed = (report.lr, report.loss, report.accuracy, report.samples_per_second, report.seconds, report.test_seconds)
    return None if None in needed else report


def _read_intact_lines(path: Path) -> list[EpochReport]:
    """Return the intact lines of a history, none if it is missing: a damaged history must not prevent training."""
    try:
        return read_history(path, skip_damaged=True)
    except ModelError:
        return []


def _mean(reports: list[EpochReport]) -> EpochReport:
    """Return the mean of each value over several networks, and the sum of seconds; None if a report has no value."""
    if len(reports) == 1:
        return replace(reports[0], member=0)
    means: dict[str, Any] = {}
    for name in _COLUMNS[1:]:
        values = [getattr(report, name) for report in reports]
        if None in values:
            means[name] = None
        else:
            total = math.fsum(values)
            means[name] = total if name in ("seconds", "test_seconds") else total / len(values)
    return EpochReport(reports[0].epoch, **means, task=reports[0].task)
