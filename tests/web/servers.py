"""What the tests of the web app share."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.web.store import NewDigit, Opinion

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from fastnn.datasets import Dataset

TOKEN = "the-token-of-the-tests"  # noqa: S105
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class Server:
    """A ``fastnn serve`` in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    db: str
    log: Path


def new_id() -> str:
    return str(uuid.uuid4())


def digit(dataset: Dataset, position: int, **changes: Any) -> dict[str, Any]:
    """Return a digit as the API takes it."""
    values = {
        "id": new_id(),
        "image": dataset.images[position].tolist(),
        "label": int(dataset.labels[position]),
    }
    return {**values, **changes}


def new_digit(position: int, *, label: int = 0, doubt: float = 0.5, id: str | None = None) -> NewDigit:  # noqa: A002
    """Return a digit as the store takes it; its pixels are noise that depends on `position` alone."""
    pixels = np.random.default_rng(position).integers(0, 256, 784, dtype=np.uint8).tobytes()
    return NewDigit(id or new_id(), pixels, label, Opinion(label, doubt))
