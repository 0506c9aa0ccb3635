"""The JSON messages of the API, validated while they are decoded."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from uuid import UUID  # noqa: TC003 - msgspec reads the annotations

import msgspec
from fastapi import HTTPException
from msgspec import Meta, Struct

from fastnn.datasets.dataset import PIXELS

MAX_DIGITS = 100
"""Most digits in one request."""

MAX_NAME_LENGTH = 60

_Pixel = Annotated[int, Meta(ge=0, le=255)]
Pixels = Annotated[
    list[_Pixel],
    Meta(min_length=PIXELS, max_length=PIXELS, description="28 rows of 28 pixels; 255 = white paper, 0 = black ink"),
]
Label = Annotated[int, Meta(ge=0, le=9)]
Name = Annotated[str, Meta(max_length=MAX_NAME_LENGTH)]

T = TypeVar("T")


class PredictRequest(Struct):
    """A drawing to recognise; the border decides which of ink and paper is darker, unless the polarity is given."""

    image: Pixels
    polarity: Literal["auto", "dark-on-light", "light-on-dark"] = "auto"


class Digit(Struct):
    """A drawing with its label; the client makes the id, so a digit that is sent twice is stored once."""

    id: UUID
    image: Pixels
    label: Label


class DigitsRequest(Struct):
    """Digits to store."""

    digits: Annotated[list[Digit], Meta(min_length=1, max_length=MAX_DIGITS)]
    contributor: Name = ""


class Accept(Struct, tag_field="action", tag="accept"):
    """The label is right."""

    reviewer: Name = ""
    label: ClassVar[int | None] = None
    action: ClassVar[Any] = "accept"


class Reject(Struct, tag_field="action", tag="reject"):
    """The drawing is not a digit."""

    reviewer: Name = ""
    label: ClassVar[int | None] = None
    action: ClassVar[Any] = "reject"


class Undo(Struct, tag_field="action", tag="undo"):
    """Put the digit back into the queue; with the state and label of an earlier answer, only if they still hold."""

    reviewer: Name = ""
    state: Literal["accepted", "rejected"] | None = None
    label: Label | None = None
    action: ClassVar[Any] = "undo"

    @property
    def expected(self) -> tuple[str, int | None] | None:
        """State and label that the digit must still have; None if any will do."""
        return None if self.state is None else (self.state, self.label)


class Relabel(Struct, tag_field="action", tag="relabel"):
    """The drawing is another digit; accept it with this label."""

    label: Label
    reviewer: Name = ""
    action: ClassVar[Any] = "relabel"


ReviewRequest = Accept | Reject | Relabel | Undo

predict_request = msgspec.json.Decoder(PredictRequest)
digits_request = msgspec.json.Decoder(DigitsRequest)
review_request: msgspec.json.Decoder[ReviewRequest] = msgspec.json.Decoder(ReviewRequest)


class DigitPrediction(Struct):
    """The prediction for one digit of a picture; the box is its left, top, right and bottom in pixels."""

    label: int | str
    probabilities: list[float]
    doubtful: bool
    reason: str | None
    box: Annotated[list[int], Meta(min_length=4, max_length=4)]


class Prediction(Struct):
    """The predicted label, the probability of each class, and the image that the network received.

    They are those of the first digit; `digits` has all digits on the picture, in reading order.
    """

    label: int | str
    probabilities: list[float]
    doubtful: bool
    reason: str | None
    seen: Pixels
    digits: list[DigitPrediction]


class Stored(Struct):
    """How many of the digits are new; the others were stored before. All of them are on disk."""

    stored: int


class Reviewed(Struct):
    """A digit after its review."""

    id: UUID
    state: str
    label: Label | None


class ErrorMessage(Struct):
    """What went wrong."""

    detail: Any


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode and validate the body of a request.

    Raises
    ------
    HTTPException
        422 if the body is not valid JSON or does not match the schema.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise HTTPException(422, " ".join(str(error).replace("`", "").split())[:200]) from None


def clean_name(name: str) -> str:
    """Return a name in Unicode normal form NFC, without invisible and control characters or repeated spaces."""
    visible = "".join(
        letter if unicodedata.category(letter)[0] not in "CZ" else " " for letter in unicodedata.normalize("NFC", name)
    )
    return re.sub(" +", " ", visible).strip()


def schemas() -> dict[str, Any]:
    """Return the JSON schemas of all messages by name, for the OpenAPI description."""
    messages = (PredictRequest, DigitsRequest, ReviewRequest, Prediction, Stored, Reviewed, ErrorMessage)
    _, components = msgspec.json.schema_components(messages, ref_template="#/components/schemas/{name}")
    return dict(components)
