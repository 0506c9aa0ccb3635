"""The settings of the web app, and the objects that its routes share."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from fastnn.web.classroom import Classroom
from fastnn.web.description import Description
from fastnn.web.export import Export
from fastnn.web.limits import RateLimiter
from fastnn.web.live_training import LiveTrainings
from fastnn.web.model_files import ModelFiles
from fastnn.web.rescoring import Rescorer
from fastnn.web.trainer import Trainer
from fastnn.web.transactions import StoreError

if TYPE_CHECKING:
    from fastnn.web.middleware import AllowedHosts
    from fastnn.web.serving import ServedModel
    from fastnn.web.store import Store

_GUESSES_PER_SECOND = 1.0
"""Wrong tokens that one address may send per second in the long run."""

_LONG_TOKEN, _VARIED_TOKEN = 24, 10
"""Characters, and different ones, of a token that nobody finds by trying, however many may be tried."""


@dataclass
class Settings:
    """The settings of a server.

    Attributes
    ----------
    store : Store
        The database; the app closes it when the server stops.
    token : str
        Secret that opens the review.
    model : ServedModel or None
        The model to start with.
    rate : float
        Requests per second that one address may make in the long run; 0 sets no limit.
    train_every : int
        Number of newly accepted digits after which a new model is trained; 0 disables training.
    runs : Path
        Folder for the runs of that training.
    recipe : str
        Recipe of that training: a preset or a TOML file.
    hosts : AllowedHosts or None
        The hosts that requests may name; None allows any, for apps that another server runs.
    """

    store: Store
    token: str
    model: ServedModel | None = None
    rate: float = 50.0
    train_every: int = 0
    runs: Path = field(default_factory=lambda: Path("runs"))
    recipe: str = "original"
    hosts: AllowedHosts | None = None


class State:
    """The objects that all routes share."""

    def __init__(self, settings: Settings) -> None:
        self.store, self.model = settings.store, settings.model
        self.description = Description()
        self.export, self.classroom = Export(settings.store), Classroom(settings.store)
        self.live = LiveTrainings()
        self.model_files = ModelFiles(lambda: self.model)
        self.limiter = RateLimiter(settings.rate)
        self.class_address = ""
        """Address under which the machines of a class reach the server; empty if it is the one that they ask for."""
        # Wrong tokens have their own buckets: somebody who guesses must not use up what others behind the same address
        # need to draw.
        self.guesses = RateLimiter(_GUESSES_PER_SECOND if settings.rate else 0.0)
        # Images and downloads have their own thread limiters, so that they cannot starve other requests.
        self.image_threads, self.download_threads = anyio.CapacityLimiter(2), anyio.CapacityLimiter(4)
        token = settings.token
        self.token_is_long = len(token) >= _LONG_TOKEN and len(set(token)) >= _VARIED_TOKEN
        self._token = hashlib.sha256(token.encode()).digest()
        self._rescorer = Rescorer(settings.store, lambda: self.model)
        self.trainer: Trainer | None = None
        if settings.train_every:
            self.trainer = Trainer(
                settings.store,
                settings.train_every,
                current=lambda: self.model,
                take_over=self.replace_model,
                folder=settings.runs,
                recipe=settings.recipe,
            )

    def is_token(self, given: str) -> bool:
        """Return whether `given` is the token, in constant time; hashing hides the token's length too."""
        return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), self._token)

    def replace_model(self, model: ServedModel) -> None:
        """Serve another model from now on, and sort the queue by its uncertainty."""
        self.model = model
        self._rescorer.wake()

    def start(self) -> None:
        """Record the first use of the model, and start the background threads."""
        if self.model is not None:
            # If the database cannot be reached now, the trainer, if there is one, records the model later.
            with contextlib.suppress(StoreError):
                self.store.first_used(self.model.key)
        if self.store.read_only:
            return
        self._rescorer.start()
        if self.trainer is not None:
            self.trainer.start()

    def stop(self) -> None:
        """Stop the background threads and close the database."""
        self.live.close()
        if self.trainer is not None:
            self.trainer.stop()
        self._rescorer.stop()
        self.store.close()
