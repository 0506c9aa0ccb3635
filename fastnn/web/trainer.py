"""Training in the background: a new network after so many newly accepted digits, in use if it is better."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from fastnn import __version__
from fastnn.errors import FastnnError
from fastnn.web.guard import log
from fastnn.web.recogniser import Loaded, model_name
from fastnn.web.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset
    from fastnn.model import Model
    from fastnn.web.store import Store

_LOOK_EVERY = 60.0
"""Seconds after which it looks by itself: digits also come by ``fastnn data import``."""

_HELD_BACK = 10
"""One in so many digits is never trained on."""

LEAST_HELD_BACK = 20
"""With fewer digits held back, nothing can be said of which network is better."""


class Trainer:
    """A thread that trains on the accepted digits.

    Parameters
    ----------
    store : Store
    every : int
        How many digits must have been accepted since the last training.
    current : callable
        Returns the model in use, or None.
    take_over : callable
        Called with the new model if it is better.
    folder : Path
        Where the runs' folders go. Those of earlier runs are left alone.
    recipe : str
        A preset or a TOML file; of an ensemble one network is trained, since the other cores are for the requests.
    """

    def __init__(
        self,
        store: Store,
        every: int,
        *,
        current: Callable[[], Loaded | None],
        take_over: Callable[[Loaded], None],
        folder: Path,
        recipe: str = "original",
    ) -> None:
        from fastnn.recipes import load_recipe

        self._store, self._every, self._folder = store, every, folder
        self._current, self._take_over = current, take_over
        self._recipe = load_recipe(recipe).replace(ensemble=1)
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="trainer", daemon=True)

    def start(self) -> None:
        """Begin to look for work."""
        self._thread.start()

    def nudge(self) -> None:
        """Look now: digits have been accepted."""
        self._wake.set()

    def stop(self) -> None:
        """Break off what is being trained, and wait until that is done."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        # Requests go first where the system can tell threads apart.
        with contextlib.suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while not self._stopping.is_set():
            try:
                self.train_if_due()
            except _Stopped:
                return
            except (FastnnError, StoreError, OSError) as error:
                log("training failed", reason=" ".join(str(error).split())[:300])
            self._wake.wait(_LOOK_EVERY)
            self._wake.clear()

    def train_if_due(self) -> bool:
        """Train if enough digits were accepted since the last time; return whether it was done."""
        accepted = self._store.states()["accepted"]
        if accepted - self._store.training()[1] < self._every:
            return False
        learn, held_back = divide(self._store.dataset())
        if len(held_back) < LEAST_HELD_BACK or np.count_nonzero(learn.counts) < 2:
            return False
        log("training", digits=len(learn), held_back=len(held_back))
        new, run = self._train(learn, held_back)
        old = self._current()
        accuracy, before = _accuracy(new, held_back), None if old is None else _accuracy(old.model, held_back)
        better = before is None or accuracy > before
        # Noted first: a run that is in use but not noted would be forgotten at the next start.
        self._store.note_training(accepted, str(run) if better else None)
        if better:
            self._take_over(Loaded.of(new, model_name(new, run.name)))
        log("trained", run=str(run), accuracy=accuracy, before=before, takes_over=better)
        return True

    def _train(self, learn: Dataset, held_back: Dataset) -> tuple[Model, Path]:
        """Train into a run folder of its own, as ``fastnn train`` does."""
        from fastnn.runs import Run
        from fastnn.training import as_model, train

        recipe, source = self._recipe, learn.source
        network = recipe.network(learn.images.shape[1], len(learn.classes))
        info = {
            "recipe": recipe.as_dict(),
            "epochs": 0,
            "data": {
                "source": source,
                "description": f"{source}, less one in {_HELD_BACK} held back",
                "hash": learn.content_hash,
                "n_train": len(learn),
                "n_test": len(held_back),
            },
            "seed": recipe.seed,
            "version": __version__,
            "metrics": {},
        }
        folder = _free_folder(self._folder)
        run = Run.create(folder, recipe, as_model(network, learn, recipe, info))
        for report in train(network, learn, recipe, test=held_back, on_chunk=self._give_way):
            run.record(report)
        model = as_model(network, learn, recipe, {**info, "epochs": recipe.epochs})
        model.info["metrics"] = self._metrics(model, held_back)
        run.finish(model, recipe)
        return model, folder

    def _metrics(self, model: Model, held_back: Dataset) -> dict[str, float]:
        from fastnn.metrics import evaluate

        result = evaluate(model, held_back)
        return {
            "test_accuracy": result.accuracy,
            "balanced_accuracy": result.balanced_accuracy,
            "test_loss": result.loss,
        }

    def _give_way(self, _: object) -> None:
        if self._stopping.is_set():
            raise _Stopped


class _Stopped(BaseException):
    """The server ends; raised in the midst of an epoch."""


def divide(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Divide digits into those to learn and those held back.

    The pixels alone decide, so that a digit held back once is so for ever, and copies of it with it.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    learn, held_back : Dataset
    """
    held = np.asarray(
        [hashlib.sha256(image.tobytes()).digest()[0] % _HELD_BACK == 0 for image in dataset.images], np.bool_
    )
    return dataset.take(np.flatnonzero(~held)), dataset.take(np.flatnonzero(held))


def _accuracy(model: Model, held_back: Dataset) -> float:
    from fastnn.metrics import evaluate

    return evaluate(model, held_back).accuracy


def _free_folder(root: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder, number = root / f"web-{stamp}", 2
    while folder.exists():
        folder, number = root / f"web-{stamp}-{number}", number + 1
    return folder
