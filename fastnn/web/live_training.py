"""A training that a page watches: fastnn learns the same digits as the network in the page, and reports as it goes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
from starlette.responses import StreamingResponse

from fastnn.datasets.dataset import Dataset
from fastnn.errors import FastnnError
from fastnn.images import normalise_batch
from fastnn.recipe import Recipe
from fastnn.training import Trainer, as_model, epoch_order
from fastnn.web.answers import LearnEnd, LearnProgress, WrongDigit
from fastnn.web.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.types import Receive, Scope, Send

    from fastnn.network import Network, Rule

T = TypeVar("T")

MOST_DIGITS = 5000
"""Digits that the page learns from; of many, the latest."""

MOST_SECONDS = 60.0
"""A training ends after this time."""

_SENDING_SECONDS = 15.0
"""A client that takes no more reports is given up after this time beyond the end of the training."""

_MOST_TESTED = 500
_MOST_PICTURES = 64
_MOST_WRONG = 20

_REPORT_SECONDS = 0.25
_FIRST_REPORT = 10
_GROWTH = 1.5
"""Factor between the digits of two reports, until time decides: most is learned from the first hundreds of digits."""


class LiveTraining:
    """Trains a network as the page does: the same digits, rule, hidden units, learning rate and test digits.

    Parameters
    ----------
    dataset : Dataset
        Images of digits, which are normalised here. The first tenth, at most 500, are the test digits, as in the page.
    hidden : int
        Number of hidden units.
    rule : {"original", "backprop"}
    rate : float
        Learning rate.
    epochs : int
        After these, the training ends.
    seed : int
        Of the initial weights and the order of the digits.

    Attributes
    ----------
    train, test : Dataset
    recipe : Recipe
    """

    def __init__(self, dataset: Dataset, *, hidden: int, rule: Rule, rate: float, epochs: int, seed: int = 0) -> None:
        images, blank = normalise_batch(dataset.images, polarity="dark-on-light")
        kept = np.flatnonzero(~blank)
        ready = Dataset(images[kept], dataset.labels[kept], dataset.classes, dataset.source)
        n_test = min(_MOST_TESTED, -(-len(kept) // 10))
        self.test, self.train = ready.take(range(n_test)), ready.take(range(n_test, len(kept)))
        original = rule == "original"
        self.recipe = Recipe(
            name="live",
            hidden=(hidden,),
            rule=rule,
            activation="sigmoid" if original else "relu",
            init="uniform" if original else "he",
            invert=not original,
            epochs=epochs,
            lr=rate,
            schedule="constant",
            seed=seed,
        )

    def reports(self, stopped: Callable[[], bool] = lambda: False) -> Iterator[LearnProgress]:
        """Train, and yield reports until `stopped` returns true, which is asked after each epoch.

        After whole epochs, the network is that of :func:`fastnn.train` with the recipe, bit for bit.

        Raises
        ------
        TrainingError
            If the loss or a weight is not finite.
        """
        network = self.recipe.network(self.train.n_inputs, len(self.train.classes))
        yield self._report(network, 0, 0.0)
        # A Trainer trains whole epochs. What a network can do within the first one is shown by others, which
        # begin with the same weights and learn the same first digits in the same order.
        order = epoch_order(self.recipe.seed, 1, len(self.train))
        for n in takewhile(lambda n: n < len(order), _growing(_FIRST_REPORT)):
            other = network.copy()
            trainer = Trainer(other, self.train.take(order[:n]), self.recipe, shuffle=False)
            trainer.warm_up()
            yield self._report(other, n, n / trainer.epoch(1).seconds)
            if stopped():
                return
        trainer = Trainer(network, self.train, self.recipe)
        trainer.warm_up()
        trained = since = due = 0
        seconds, reported = 0.0, time.monotonic()
        for epoch in range(1, self.recipe.epochs + 1):
            seconds += trainer.epoch(epoch).seconds
            trained, since = trained + trainer.samples, since + trainer.samples
            late = time.monotonic() - reported > _REPORT_SECONDS
            if trained >= due or late or epoch == self.recipe.epochs or stopped():
                yield self._report(network, trained, since / seconds)
                due, since, seconds, reported = int(_GROWTH * trained), 0, 0.0, time.monotonic()
            if stopped():
                return

    def _report(self, network: Network, trained: int, per_second: float) -> LearnProgress:
        """Measure a network between two epochs."""
        model = as_model(network.copy(), self.train, self.recipe)
        answers = model.predict_proba(self.test.images).argmax(axis=1)
        missed = np.flatnonzero(answers != self.test.labels)
        first = network.weights[0][:, :_MOST_PICTURES].T.astype(np.float64)
        largest = np.maximum(np.abs(first).max(axis=1, keepdims=True), 1e-9)
        names = self.test.classes
        return LearnProgress(
            trained=trained,
            train_digits=len(self.train),
            test_digits=len(self.test),
            accuracy=1 - len(missed) / len(self.test),
            per_second=per_second,
            pictures=[unit.tobytes() for unit in np.rint(127 * first / largest).astype(np.int8)],
            wrong=[
                WrongDigit(self.test.images[k].tobytes(), names[self.test.labels[k]], names[answers[k]])
                for k in missed[:_MOST_WRONG].tolist()
            ],
        )


def _growing(n: int) -> Iterator[int]:
    """Yield n and ever larger numbers."""
    while True:
        yield n
        n = int(_GROWTH * n)


class LiveTrainings:
    """The one thread in which such trainings run, one at a time; it has a low priority, and requests go first.

    All methods but :meth:`stop` must be called from one thread, the event loop's.

    Parameters
    ----------
    seconds : float
        Longest time that a training takes.
    """

    def __init__(self, seconds: float = MOST_SECONDS) -> None:
        self.seconds = seconds
        # Its thread starts with the first training. The kernels release the GIL, so that requests are answered.
        self._thread = ThreadPoolExecutor(1, "live-training", initializer=_lower_priority)
        self._stopping = threading.Event()
        self._busy = False

    def try_begin(self) -> bool:
        """Return whether a training may begin; then others may not before :meth:`end`."""
        if self._busy or self._stopping.is_set():
            return False
        self._busy = True
        return True

    def end(self) -> None:
        """Let another training begin; one that is still computing ends first."""
        self._busy = False

    def stop(self) -> None:
        """End a training that is running, and allow no other one; may be called by a signal handler."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and wait for the thread to end."""
        self.stop()
        self._thread.shutdown()

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def events(self, make: Callable[[], LiveTraining]) -> AsyncIterator[bytes]:
        """Yield a training as server-sent events: ``progress``, and at last ``end``.

        The next part is trained when the client has taken the report on the last one.
        """
        until = time.monotonic() + self.seconds
        stopping = threading.Event()

        def stopped() -> bool:
            return stopping.is_set() or self._stopping.is_set() or time.monotonic() > until

        end = LearnEnd("epochs")
        try:
            training = await self.run(make)
            reports = training.reports(stopped)
            while (report := await self.run(lambda: next(reports, None))) is not None:
                yield server_sent_event("progress", report)
            if stopped():
                end = LearnEnd("stopped" if self._stopping.is_set() else "time")
        except FastnnError as error:
            log("live training failed", reason=str(error)[:300])
            end = LearnEnd("failed")
        finally:  # also if the client has gone
            stopping.set()
        yield server_sent_event("end", end)


def server_sent_event(kind: str, message: LearnProgress | LearnEnd) -> bytes:
    """Return a server-sent event whose data are a message as JSON, which has no line breaks."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(message))


def _lower_priority() -> None:
    # Only Linux can tell threads apart.
    with contextlib.suppress(AttributeError, OSError):
        lower = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), lower)


class TrainingResponse(StreamingResponse):
    """The events of a training, whose end lets another one begin, even if the client has gone or takes nothing."""

    def __init__(self, trainings: LiveTrainings, make: Callable[[], LiveTraining]) -> None:
        # A proxy such as nginx must not collect the events.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(trainings.events(make), media_type="text/event-stream", headers=headers)
        self._trainings = trainings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._trainings.seconds + _SENDING_SECONDS):
                    await super().__call__(scope, receive, send)
        finally:
            self._trainings.end()
