from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from fastnn.model import Model
from fastnn.network import Network
from fastnn.web.rescoring import Rescorer
from fastnn.web.serving import ServedModel
from fastnn.web.store import Store, StoreError
from tests.helpers import TIMEOUT
from tests.web.servers import new_digit

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def queue(sqlite_url: str) -> Iterator[Store]:
    """A store with three pending digits, scored by a model that is no longer used."""
    store = Store(sqlite_url)
    store.add([new_digit(n) for n in range(3)], "", "an old model")
    yield store
    store.close()


def test_it_tries_again_after_the_database_failed(
    queue: Store, loaded: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, done = iter(range(3)), threading.Event()
    real = queue.save_scores

    def save_scores(*args: Any) -> None:
        for _ in failures:
            raise StoreError("gone")
        real(*args)
        done.set()

    monkeypatch.setattr(queue, "save_scores", save_scores)
    rescorer = Rescorer(queue, lambda: loaded, poll_seconds=0.01)
    rescorer.start()
    assert done.wait(TIMEOUT)
    rescorer.stop()
    assert queue.outdated(loaded.key) == []


def test_a_model_change_during_rescoring_leaves_no_outdated_scores(
    queue: Store, loaded: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ServedModel.from_model(Model((Network((784, 10)).initialise("uniform", 0),), tuple("0123456789")), "other")
    current = [loaded]
    rescorer = Rescorer(queue, lambda: current[0])
    real, done = queue.save_scores, threading.Event()

    def save_scores(scores: Any, model_key: str) -> None:
        real(scores, model_key)
        if current[0] is loaded:
            # The model is replaced halfway, and a digit arrives that the old model has scored.
            current[0] = other
            queue.add([new_digit(9)], "", loaded.key)
            rescorer.wake()
        elif not queue.outdated(other.key):
            done.set()

    monkeypatch.setattr(queue, "save_scores", save_scores)
    rescorer.start()
    assert done.wait(TIMEOUT)
    rescorer.stop()


def test_digits_that_are_added_past_the_server_are_scored_too(queue: Store, loaded: ServedModel) -> None:
    rescorer = Rescorer(queue, lambda: loaded)
    rescorer.rescore()
    queue.add([new_digit(7)], "", "")
    rescorer.rescore()
    assert queue.outdated(loaded.key) == []
    Rescorer(queue, lambda: None).rescore()
