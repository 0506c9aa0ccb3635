"""Training in the background: a new network after so many newly accepted digits, in use if it is better."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fastnn.datasets.split import Split
from fastnn.web.background import Background, ShutdownError
from fastnn.web.logs import log
from fastnn.web.serving import ServedModel, model_name
from fastnn.web.transactions import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset
    from fastnn.model import Model
    from fastnn.web.store import Store

SPLIT = Split(kind="hash", fraction=0.1)
"""The pixels alone decide which digits are held back, so that a digit held back once is so for ever."""

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
        A preset or a TOML file. The networks of an ensemble are trained one at a time.
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
        self._recipe = load_recipe(recipe)
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
        dataset = self._store.dataset()
        learn, held_back = SPLIT.divide(dataset)
        fair = held_back if old is None else self._unseen(old, held_back)
        if len(fair) < LEAST_HELD_BACK or np.count_nonzero(learn.counts) < 2:
            self._too_few = accepted
            log("training waits", held_back=len(held_back), unseen_by_the_model=len(fair), needed=LEAST_HELD_BACK)
            return False
        log("training", digits=len(learn), held_back=len(held_back), compared_on=len(fair))
        self._tried = accepted
        try:
            self._train_and_compare(dataset, fair, old)
        except Exception:
            with contextlib.suppress(StoreError):
                self._store.note_training(accepted, None)
            raise
        return True

    def _unseen(self, old: ServedModel, held_back: Dataset) -> Dataset:
        """Return what of the digits held back `old` cannot have been trained on.

        What was trained here saw none of them; any other model may have seen all that were there before it.
        """
        data = old.model.card.data
        if data is not None and data.split == SPLIT:
            return held_back
        unseen = self._store.unseen(self._store.first_used(old.key))
        return held_back.take([n for n, image in enumerate(held_back.images) if image.tobytes() in unseen])

    def _train_and_compare(self, dataset: Dataset, fair: Dataset, old: ServedModel | None) -> None:
        # Before training: a model that cannot be measured on these digits is not worth the time.
        before = None if old is None else _accuracy(old.model, fair)
        named = "" if old is None else old.origin_key
        model, run = self._train(dataset, named)
        accuracy = _accuracy(model, fair)
        better = before is None or accuracy > before
        new = ServedModel.from_model(model, model_name(model, run.name), named)
        # Noted first: a run that is in use but not noted would be forgotten at the next start.
        self._store.note_training(self._tried, str(run.resolve()) if better else None)
        if better:
            self._take_over(new)
        log("trained", run=str(run), accuracy=accuracy, before=before, takes_over=better)

    def _train(self, dataset: Dataset, origin_key: str) -> tuple[Model, Path]:
        """Train into a run folder of its own; one that is broken off is removed."""
        from fastnn.session import Session

        folder = _free_folder(self._folder / FOLDER)
        session = Session(
            dataset,
            self._recipe,
            folder,
            split=SPLIT,
            on_chunk=self._give_way,
            # In this thread, which has a low priority; the other cores are for the requests.
            threads=1,
        )
        session.card = msgspec.structs.replace(session.card, origin_key=origin_key)
        try:
            for _ in session:
                pass
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return session.model, folder

    def _give_way(self, _: object) -> None:
        if self._stopping.is_set():
            raise ShutdownError


def _accuracy(model: Model, held_back: Dataset) -> float:
    from fastnn.evaluation.metrics import evaluate

    return evaluate(model, held_back).score


def _free_folder(root: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder, number = root / stamp, 2
    while folder.exists():
        folder, number = root / f"{stamp}-{number}", number + 1
    return folder
