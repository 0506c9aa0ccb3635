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


_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that show nothing, although Unicode counts them as letters, marks or symbols."""
_MARKS = ("Mn", "Me")
_MOST_MARKS = 2
"""Most combining marks on a letter; dozens of them draw a line across the page. Vietnamese and Thai need two."""


def clean_name(name: str) -> str:
    """Return a name in Unicode normal form NFC, without what is not to be seen.

    Left out are invisible and control characters, repeated spaces, combining marks without a letter or beyond two on a
    letter, and the whole name if it has no letter or digit.
    """
    kept: list[str] = []
    marks = _MOST_MARKS
    for letter in unicodedata.normalize("NFC", name):
        category = unicodedata.category(letter)
        if category in _MARKS:
            marks += 1
            if marks <= _MOST_MARKS and letter not in _INVISIBLE:
                kept.append(letter)
        elif category[0] in "CZ" or letter in _INVISIBLE:
            kept.append(" ")
            marks = _MOST_MARKS
        else:
            kept.append(letter)
            marks = 0
    cleaned = re.sub(" +", " ", "".join(kept)).strip()
    return cleaned if any(unicodedata.category(letter)[0] in "LN" for letter in cleaned) else ""


def contributor_name(name: str) -> str:
    """Return the cleaned name of a contributor; empty if none was given.

    Raises
    ------
    HTTPException
        422 if a name was given, but nothing of it could be shown among the credits.
    """
    cleaned = clean_name(name)
    if not cleaned and name.strip():
        raise HTTPException(422, "the name needs at least one letter or digit; leave it empty to stay anonymous")
    return cleaned


def schemas() -> dict[str, Any]:
    """Return the JSON schemas of all messages by name, for the OpenAPI description."""
    messages = (PredictRequest, DigitsRequest, ReviewRequest, Prediction, Stored, Reviewed, ErrorMessage)
    _, components = msgspec.json.schema_components(messages, ref_template="#/components/schemas/{name}")
    return dict(components)
