"""What is in a model file, and the runs below a folder."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from fastnn.errors import FastnnError, ModelError
from fastnn.formats import CHECKPOINT_FILE, MODEL_FILE, find_model, load_model
from fastnn.runs import HISTORY_FILE, read_history
from fastnn.storage import user_path

if TYPE_CHECKING:
    from fastnn.model import Model
    from fastnn.network import Task
    from fastnn.training import EpochReport

_MOST_RUNS = 100_000
"""More folders than this are no folder of runs, but a disk."""


@dataclass(frozen=True, eq=False)
class ModelSummary:
    """What is in a model file.

    Attributes
    ----------
    path : str
        The file.
    size : int
        Its bytes.
    model : Model
    """

    path: str
    size: int
    model: Model

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of each network, such as "784-200-40-10, relu, softmax, float32"."""
        return tuple(
            f"{'-'.join(map(str, network.sizes))}, {network.activation}, {network.output}, {network.dtype.name}"
            for network in self.model.networks
        )

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases of all networks."""
        return sum(network.n_parameters for network in self.model.networks)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, fit for JSON."""
        model, card = self.model, self.model.card
        return {
            "model": self.path,
            "size": self.size,
            "task": model.task,
            "takes": model.takes,
            "networks": [
                {
                    "sizes": list(network.sizes),
                    "rule": network.rule,
                    "activation": network.activation,
                    "output": network.output,
                    "dtype": network.dtype.name,
                }
                for network in model.networks
            ],
            "n_parameters": self.n_parameters,
            "names": list(model.names),
            "columns": None if model.columns is None else [column.name for column in model.columns],
            "invert": model.invert,
            "normalise": model.normalise,
            "standardised": model.scaling is not None,
            "weights_sha256": model.sha256(),
            "card": to_builtins(card),
        }


@dataclass(frozen=True)
class RunSummary:
    """A run, as a line of a table.

    Attributes
    ----------
    run : str
        Its folder.
    finished : bool
        Whether training has ended; else there is a checkpoint only.
    recipe : str
        Name of the recipe, or "".
    data : str
        Description of the data, or "".
    layers : str
        Such as "784-200-40-10"; of an ensemble "2 x 784-500-150-10".
    task : {"classification", "multilabel", "regression"}
    epochs : int or None
        Number of epochs trained.
    seed : int or None
    score : float or None
        On the test set: accuracy, share of samples with all labels right, or R2.
    seconds : float or None
        Training time, the sum of all networks' (they may have been trained side by side); None without a history.
    size : int
        Bytes of the model file.
    modified : float
        When the model file was last written, in seconds since 1970.
    curve : tuple of float
        Test score after each epoch; without a test set that of the training samples.
    """

    run: str
    finished: bool
    recipe: str
    data: str
    layers: str
    task: Task
    epochs: int | None
    seed: int | None
    score: float | None
    seconds: float | None
    size: int
    modified: float
    curve: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, fit for JSON."""
        return {**asdict(self), "curve": list(self.curve)}


def summarise(path: str | Path) -> ModelSummary:
    """Return what is in the model at `path`, see :func:`fastnn.load_model`.

    Raises
    ------
    ModelError
        If there is no such model, or it is damaged.
    """
    file = find_model(path)
    model = load_model(file)
    try:
        size = file.stat().st_size
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror})") from None
    return ModelSummary(str(file), size, model)


def find_runs(folder: str | Path) -> tuple[list[RunSummary], list[str]]:
    """Return the runs in a folder and below it, in the order of their names, and what is wrong with damaged ones.

    Symbolic links to folders and hidden folders are not followed.

    Raises
    ------
    ModelError
        If `folder` is no folder, cannot be read, or has far too many folders below it.
    """
    top = user_path(folder)
    if not top.is_dir():
        raise ModelError(f"{folder}: no such folder; give the folder that holds the runs")
    runs, faults = [], []
    for number, place in enumerate(_folders(top)):
        if number > _MOST_RUNS:
            raise ModelError(f"{folder}: holds more than {_MOST_RUNS:,} folders; give the folder that holds the runs")
        for name in (MODEL_FILE, CHECKPOINT_FILE):
            if (place / name).is_file():
                try:
                    runs.append(_summarise_run(place, name))
                except FastnnError as error:
                    faults.append(str(error))
                break
    return runs, faults


def _folders(top: Path) -> list[Path]:
    """Return a folder and all below it, sorted."""

    def refuse(error: OSError) -> None:
        if Path(error.filename) == top:
            raise ModelError(f"{top}: cannot be read ({error.strerror}); check its permissions")

    found = []
    for place, names, _ in os.walk(top, onerror=refuse):
        names[:] = sorted(name for name in names if not name.startswith("."))
        found.append(Path(place))
        if len(found) > _MOST_RUNS + 1:
            break
    return found


def _summarise_run(folder: Path, name: str) -> RunSummary:
    summary = summarise(folder / name)
    model, card = summary.model, summary.model.card
    history = _history(folder)
    layers = "-".join(map(str, model.sizes))
    scores = [report.accuracy if report.test_accuracy is None else report.test_accuracy for report in history]
    return RunSummary(
        run=str(folder),
        finished=name == MODEL_FILE,
        recipe="" if card.recipe is None else card.recipe.name,
        data="" if card.data is None else card.data.description,
        layers=layers if len(model.networks) == 1 else f"{len(model.networks)} x {layers}",
        task=model.task,
        epochs=card.epochs,
        seed=card.seed,
        score=_score(model, history),
        seconds=math.fsum(report.seconds for report in history) if history else None,
        size=summary.size,
        modified=(folder / name).stat().st_mtime,
        curve=tuple(scores),
    )


def _history(folder: Path) -> list[EpochReport]:
    """Return the epochs of a run; none if its history is missing or damaged, which its model does not need."""
    try:
        return read_history(folder / HISTORY_FILE, skip_damaged=True)
    except ModelError:
        return []


def _score(model: Model, history: list[EpochReport]) -> float | None:
    score = model.card.metrics.get("test_r2" if model.task == "regression" else "test_accuracy")
    if score is None and history:
        score = history[-1].test_accuracy
    return score
