"""The model in use as files: for the pages, which recognise without the server, and for the original's page."""

from __future__ import annotations

import gzip
import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from fastnn.errors import ModelError
from fastnn.formats import original_json
from fastnn.formats.html_page import split_content
from fastnn.recognition import doubt_limits
from fastnn.web.answers import PageModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnn.web.serving import ServedModel

_WORTH_IT = 0.9
"""A file is sent compressed if that makes it at least a tenth smaller."""


@dataclass(frozen=True)
class ModelFile:
    """A file made from a model.

    Attributes
    ----------
    content : bytes
    compressed : bytes or None
        The same, gzipped; None if that is hardly smaller.
    key : str
        First 16 hexadecimal digits of a SHA-256: changes with the content.
    """

    content: bytes
    compressed: bytes | None
    key: str

    @classmethod
    def of(cls, content: bytes, key: str = "") -> ModelFile:
        """Return a file with this content; its key is that of the content unless one is given."""
        compressed = gzip.compress(content, 9, mtime=0)
        smaller = compressed if len(compressed) < _WORTH_IT * len(content) else None
        return cls(content, smaller, key or _digest(content))


class ModelFiles:
    """The files of the model in use, each made when it is first asked for; thread-safe.

    Parameters
    ----------
    current : callable
        Returns the model in use, or None.
    """

    def __init__(self, current: Callable[[], ServedModel | None]) -> None:
        self._current, self._lock = current, threading.Lock()
        self._model: ServedModel | None = None
        self._made: dict[str, tuple[ModelFile, ...]] = {}

    def for_pages(self) -> tuple[ModelFile, ModelFile]:
        """Return ``model.json`` and ``model.bin``, which have the same key.

        Raises
        ------
        ModelError
            If there is no model, or a page cannot run it.
        """
        description, weights = self._get("pages", _for_pages)
        return description, weights

    def original(self) -> ModelFile:
        """Return ``NN.json``, in the format of the original project.

        Raises
        ------
        ModelError
            If there is no model, or the original cannot run it.
        """
        return self._get("original", lambda model: (ModelFile.of(original_json.dump(model.model)),))[0]

    def _get(self, name: str, make: Callable[[ServedModel], tuple[ModelFile, ...]]) -> tuple[ModelFile, ...]:
        model = self._current()
        if model is None:
            raise ModelError("this server has no model")
        with self._lock:
            if model is not self._model:
                self._model, self._made = model, {}
            if name not in self._made:
                self._made[name] = make(model)
            return self._made[name]


def _for_pages(model: ServedModel) -> tuple[ModelFile, ...]:
    content, weights = split_content(model.model, "float16")
    content |= {"about": model.describe(), "doubt": doubt_limits(model.model), "weights": "model.bin"}
    key = _digest(msgspec.json.encode(content) + weights)
    described = msgspec.convert({"key": key, **content}, PageModel, from_attributes=True)
    return ModelFile.of(msgspec.json.encode(described), key), ModelFile.of(weights, key)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
