from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from fastnn.model import Model
from fastnn.network import Network
from fastnn.web import background
from fastnn.web.judge import Judge
from fastnn.web.recogniser import Loaded
from fastnn.web.store import Store, StoreError
from tests.helpers import PATIENCE
from tests.web.servers import new_digit

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def waiting(sqlite_url: str) -> Iterator[Store]:
    store = Store(sqlite_url)
    store.add([new_digit(n) for n in range(3)], "", "an old model")
    yield store
    store.close()


def test_a_database_that_is_away_for_a_while_is_asked_again(
    waiting: Store, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, done = iter(range(3)), threading.Event()
    real = waiting.score

    def score(*args: Any) -> None:
        for _ in failures:
            raise StoreError("gone")
        real(*args)
        done.set()

    monkeypatch.setattr(waiting, "score", score)
    monkeypatch.setattr(background, "_LOOK_EVERY", 0.01)
    judge = Judge(waiting, lambda: loaded)
    judge.start()
    assert done.wait(PATIENCE)
    judge.stop()
    assert waiting.stale(loaded.key) == []


def test_it_goes_over_to_the_model_that_takes_over_and_to_what_came_late(
    waiting: Store, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Loaded.of(Model((Network((784, 10)).initialise("uniform", 0),), tuple("0123456789")), "other")
    current = [loaded]
    judge = Judge(waiting, lambda: current[0])
    real, judged = waiting.score, threading.Event()

    def score(opinions: Any, model: str) -> None:
        real(opinions, model)
        if current[0] is loaded:
            # In the midst of it another model takes over, and a digit comes that the old one has judged.
            current[0] = other
            waiting.add([new_digit(9)], "", loaded.key)
            judge.nudge()
        elif not waiting.stale(other.key):
            judged.set()

    monkeypatch.setattr(waiting, "score", score)
    judge.start()
    assert judged.wait(PATIENCE)
    judge.stop()


def test_digits_that_come_past_the_server_are_judged_too(waiting: Store, loaded: Loaded) -> None:
    judge = Judge(waiting, lambda: loaded)
    judge.judge()
    waiting.add([new_digit(7)], "", "")
    judge.judge()
    assert waiting.stale(loaded.key) == []
    Judge(waiting, lambda: None).judge()
