"""Training in the background: a new network after so many newly accepted digits, in use if it is better."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from fastnn import __version__
from fastnn.web.background import Background, ShutdownError
from fastnn.web.logs import log
from fastnn.web.serving import ServedModel, model_name
from fastnn.web.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset
    from fastnn.model import Model
    from fastnn.web.store import Store

_HELD_BACK = 10
"""One in so many digits is never trained on."""

HELD_BACK_RULE = f"one in {_HELD_BACK} by the SHA-256 of its pixels"
"""What models trained here say of :func:`divide`; it changes with it."""

FOLDER = "web"
"""Where in the folder of runs those trained here go; one below the others, so that none is taken for the newest run."""

LEAST_HELD_BACK = 20
"""With fewer digits held back, nothing can be said of which network is better."""


class Trainer(Background):
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
        Of the runs; those trained here go to its subfolder ``web``, and earlier ones are left alone.
    recipe : str
        A preset or a TOML file; of an ensemble one network is trained, since the other cores are for the requests.
    """

    def __init__(
        self,
        store: Store,
        every: int,
        *,
        current: Callable[[], ServedModel | None],
        take_over: Callable[[ServedModel], None],
        folder: Path,
        recipe: str = "original",
    ) -> None:
        from fastnn.recipe import load_recipe

        super().__init__("trainer", "training failed")
        self._store, self._every, self._folder = store, every, folder
        self._current, self._take_over = current, take_over
        self._recipe = load_recipe(recipe).replace(ensemble=1)
        # Accepted digits when it was tried last, should the database not take the note, and when they were too few.
        self._tried = self._too_few = 0

    def work(self) -> None:
        """Train if it is time."""
        self.train_if_due()

    def _run(self) -> None:
        # Requests go first where the system can tell threads apart.
        with contextlib.suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        super()._run()

    def train_if_due(self) -> bool:
        """Train if enough digits were accepted since the last time; return whether it was done.

        Whatever comes of it, it is tried again only when as many have been accepted anew.
        """
        accepted = self._store.states()["accepted"]
        if accepted - max(self._tried, self._store.training()[1]) < self._every or accepted == self._too_few:
            return False
        old = self._current()
        learn, held_back = divide(self._store.dataset())
        fair = held_back if old is None else self._unseen(old, held_back)
        if len(fair) < LEAST_HELD_BACK or np.count_nonzero(learn.counts) < 2:
            self._too_few = accepted
            log("training waits", held_back=len(held_back), unseen_by_the_model=len(fair), needed=LEAST_HELD_BACK)
            return False
        log("training", digits=len(learn), held_back=len(held_back), compared_on=len(fair))
        self._tried = accepted
        try:
            self._train_and_compare(learn, held_back, fair, old)
        except Exception:
            with contextlib.suppress(StoreError):
                self._store.note_training(accepted, None)
            raise
        return True

    def _unseen(self, old: ServedModel, held_back: Dataset) -> Dataset:
        """Return what of the digits held back `old` cannot have been trained on.

        What was trained here saw none of them; any other model may have seen all that were there before it.
        """
        data = old.model.info.get("data")
        if isinstance(data, dict) and data.get("held_back") == HELD_BACK_RULE:
            return held_back
        unseen = self._store.unseen(self._store.first_used(old.key))
        return held_back.take([n for n, image in enumerate(held_back.images) if image.tobytes() in unseen])

    def _train_and_compare(self, learn: Dataset, held_back: Dataset, fair: Dataset, old: ServedModel | None) -> None:
        # Before training: a model that cannot be measured on these digits is not worth the time.
        before = None if old is None else _accuracy(old.model, fair)
        named = "" if old is None else old.origin_key
        model, run = self._train(learn, held_back, named)
        accuracy = _accuracy(model, fair)
        better = before is None or accuracy > before
        new = ServedModel.from_model(model, model_name(model, run.name), named)
        # Noted first: a run that is in use but not noted would be forgotten at the next start.
        self._store.note_training(self._tried, str(run.resolve()) if better else None)
        if better:
            self._take_over(new)
        log("trained", run=str(run), accuracy=accuracy, before=before, takes_over=better)

    def _train(self, learn: Dataset, held_back: Dataset, named: str) -> tuple[Model, Path]:
        """Train into a run folder of its own, as ``fastnn train`` does; one that is broken off is removed."""
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
                "held_back": HELD_BACK_RULE,
            },
            "seed": recipe.seed,
            "version": __version__,
            "metrics": {},
            "named": named,
        }
        folder = _free_folder(self._folder / FOLDER)
        run = Run.create(folder, recipe, as_model(network, learn, recipe, info))
        try:
            for report in train(network, learn, recipe, test=held_back, on_chunk=self._give_way):
                run.record(report)
            model = as_model(network, learn, recipe, {**info, "epochs": recipe.epochs})
            model.info["metrics"] = self._metrics(model, held_back)
            run.finish(model, recipe)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return model, folder

    def _metrics(self, model: Model, held_back: Dataset) -> dict[str, float]:
        from fastnn.evaluation.metrics import evaluate

        result = evaluate(model, held_back)
        return {
            "test_accuracy": result.accuracy,
            "balanced_accuracy": result.balanced_accuracy,
            "test_loss": result.loss,
        }

    def _give_way(self, _: object) -> None:
        if self._stopping.is_set():
            raise ShutdownError


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
    from fastnn.evaluation.metrics import evaluate

    return evaluate(model, held_back).accuracy


def _free_folder(root: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder, number = root / stamp, 2
    while folder.exists():
        folder, number = root / f"{stamp}-{number}", number + 1
    return folder
