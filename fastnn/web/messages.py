"""What the API takes: its messages, checked against their schema while they are read."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from uuid import UUID  # noqa: TC003 - msgspec reads the annotations

import msgspec
from fastapi import HTTPException
from msgspec import Meta, Struct

from fastnn.datasets.dataset import PIXELS

MOST_DIGITS = 100
"""Digits in one request."""

MOST_NAME = 60

_Pixel = Annotated[int, Meta(ge=0, le=255)]
Pixels = Annotated[
    list[_Pixel], Meta(min_length=PIXELS, max_length=PIXELS, description="28 rows of 28; 255 = paper, 0 = ink")
]
Label = Annotated[int, Meta(ge=0, le=9)]
Name = Annotated[str, Meta(max_length=MOST_NAME)]

T = TypeVar("T")


class PredictRequest(Struct):
    """A drawing to recognise."""

    image: Pixels


class Digit(Struct):
    """A drawing with its label; the id is made by the sender, so that sending twice stores once."""

    id: UUID
    image: Pixels
    label: Label


class DigitsRequest(Struct):
    """Digits to store."""

    digits: Annotated[list[Digit], Meta(min_length=1, max_length=MOST_DIGITS)]
    contributor: Name = ""


class Accept(Struct, tag_field="action", tag="accept"):
    """The label is right."""

    reviewer: Name = ""
    label: ClassVar[int | None] = None
    action: ClassVar[Any] = "accept"


class Reject(Struct, tag_field="action", tag="reject"):
    """The drawing is no digit."""

    reviewer: Name = ""
    label: ClassVar[int | None] = None
    action: ClassVar[Any] = "reject"


class Undo(Struct, tag_field="action", tag="undo"):
    """Back into the queue; with state and label, as the review answered, only if nobody has changed them since."""

    reviewer: Name = ""
    state: Literal["accepted", "rejected"] | None = None
    label: Label | None = None
    action: ClassVar[Any] = "undo"

    @property
    def undone(self) -> tuple[str, int | None] | None:
        """State and label that are to be undone; None for any."""
        return None if self.state is None else (self.state, self.label)


class Relabel(Struct, tag_field="action", tag="relabel"):
    """The drawing is another digit."""

    label: Label
    reviewer: Name = ""
    action: ClassVar[Any] = "relabel"


ReviewRequest = Accept | Reject | Relabel | Undo

predict_request = msgspec.json.Decoder(PredictRequest)
digits_request = msgspec.json.Decoder(DigitsRequest)
review_request: msgspec.json.Decoder[ReviewRequest] = msgspec.json.Decoder(ReviewRequest)


class Prediction(Struct):
    """What a drawing is taken for, and what the network saw of it."""

    label: int | str
    probabilities: list[float]
    seen: Pixels


class Stored(Struct):
    """How many of the digits are new; the others were there before. All of them are on disk."""

    stored: int


class Reviewed(Struct):
    """A digit after review."""

    id: UUID
    state: str
    label: Label | None


class Fault(Struct):
    """What went wrong."""

    detail: Any


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Read a message.

    Raises
    ------
    HTTPException
        422 if it is not as its schema has it.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise HTTPException(422, " ".join(str(error).replace("`", "").split())[:200]) from None


def clean_name(name: str) -> str:
    """Return a name as it is stored: in one normal form, without characters that are not seen or steer the text."""
    shown = "".join(
        letter if unicodedata.category(letter)[0] not in "CZ" else " " for letter in unicodedata.normalize("NFC", name)
    )
    return re.sub(" +", " ", shown).strip()


def schemas() -> dict[str, Any]:
    """Return the JSON schemas of all messages by name, for the API's description."""
    kinds = (PredictRequest, DigitsRequest, ReviewRequest, Prediction, Stored, Reviewed, Fault)
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    return dict(components)
