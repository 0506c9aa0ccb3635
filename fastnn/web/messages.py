"""The JSON requests of the API, validated while they are decoded."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar
from uuid import UUID  # noqa: TC003 - msgspec reads the annotations

import msgspec
from fastapi import HTTPException
from msgspec import Meta, Struct

from fastnn.datasets.dataset import PIXELS
from fastnn.datasets.schema import MAX_CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DIGITS = 100
"""Most digits in one request."""

MAX_VERDICTS = 200
"""Most verdicts in one request; a screen of the grid has 100."""

MAX_NAME_LENGTH = 60

MAX_LIVE_EPOCHS = 2000
"""Most epochs of a training that a page watches: a few million digits."""

_Pixel = Annotated[int, Meta(ge=0, le=255)]
Pixels = Annotated[
    list[_Pixel],
    Meta(min_length=PIXELS, max_length=PIXELS, description="28 rows of 28 pixels; 255 = white paper, 0 = black ink"),
]
Position = Annotated[int, Meta(ge=0, le=MAX_CLASSES - 1, description="position of the class; for digits, the digit")]
Label = Position | Annotated[str, Meta(min_length=1, max_length=60, description="name of the class")]
Name = Annotated[str, Meta(max_length=MAX_NAME_LENGTH)]

WITHOUT_NUL = r"^[^\x00]*$"
"""PostgreSQL refuses texts with this character; names that are stored have lost it."""

KnownName = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, pattern=WITHOUT_NUL)]

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
    label: ClassVar[Any] = None
    action: ClassVar[Any] = "accept"


class Reject(Struct, tag_field="action", tag="reject"):
    """The drawing is of none of the classes."""

    reviewer: Name = ""
    label: ClassVar[Any] = None
    action: ClassVar[Any] = "reject"


class Undo(Struct, tag_field="action", tag="undo"):
    """Put the digit back into the queue; with the state and label of an earlier answer, only if they still hold."""

    reviewer: Name = ""
    state: Literal["accepted", "rejected"] | None = None
    label: Label | None = None
    action: ClassVar[Any] = "undo"


class Relabel(Struct, tag_field="action", tag="relabel"):
    """The drawing is of another class; accept it with this label."""

    label: Label
    reviewer: Name = ""
    action: ClassVar[Any] = "relabel"


ReviewRequest = Accept | Reject | Relabel | Undo


class ListedVerdict(Struct):
    """What a reviewer decides about one of several digits; the fields are those of a single review."""

    id: UUID
    action: Literal["accept", "reject", "relabel", "undo"]
    label: Label | None = None
    state: Literal["accepted", "rejected"] | None = None


class ReviewsRequest(Struct):
    """Verdicts on several digits, which are applied in their order."""

    reviews: Annotated[list[ListedVerdict], Meta(min_length=1, max_length=MAX_VERDICTS)]
    reviewer: Name = ""


class ReleaseRequest(Struct):
    """Sessions that no longer need the digits lent to them."""

    sessions: Annotated[list[UUID], Meta(min_length=1, max_length=100)]


class ContributorRequest(Struct):
    """One verdict on all digits of a contributor that are in one state: pending ones, or reviewed ones to undo."""

    contributor: KnownName
    action: Literal["accept", "reject", "undo"]
    state: Literal["pending", "accepted", "rejected"] = "pending"
    reviewer: Name = ""


class StrikeRequest(Struct):
    """A name that must not be shown; digits that have it are kept without a name."""

    name: KnownName


class LearnRequest(Struct):
    """How a network learns: on built-in digits or on accepted ones, and by which rule."""

    source: Literal["drawn", "accepted"] = "drawn"
    rule: Literal["original", "backprop"] = "backprop"
    hidden: Annotated[int, Meta(ge=1, le=500, description="hidden units")] = 64
    rate: Annotated[float, Meta(gt=0, le=1000, description="learning rate")] = 0.02
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    epochs: Annotated[int, Meta(ge=1, le=MAX_LIVE_EPOCHS, description="ends after these, if time allows")] = (
        MAX_LIVE_EPOCHS
    )


class ClassRequest(Struct):
    """What a teacher changes; a field that is left out stays as it is."""

    collecting: bool | None = None
    shows_pending: bool | None = None


predict_request = msgspec.json.Decoder(PredictRequest)
learn_request = msgspec.json.Decoder(LearnRequest)
digits_request = msgspec.json.Decoder(DigitsRequest)
review_request: msgspec.json.Decoder[ReviewRequest] = msgspec.json.Decoder(ReviewRequest)
reviews_request = msgspec.json.Decoder(ReviewsRequest)
release_request = msgspec.json.Decoder(ReleaseRequest)
contributor_request = msgspec.json.Decoder(ContributorRequest)
strike_request = msgspec.json.Decoder(StrikeRequest)
class_request = msgspec.json.Decoder(ClassRequest)


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode and validate the body of a request.

    Raises
    ------
    HTTPException
        422 if the body is not valid JSON or does not match the schema.
    """
    try:
        return decoder.decode(body)
    except UnicodeDecodeError:
        raise HTTPException(422, "the body is not UTF-8") from None
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).replace("`", "").split())[:200]
        # The decoder says of half a character at the end of a text that the input is truncated.
        if "surrogate" in reason or ("truncated" in reason and _SURROGATE.search(body)):
            reason = r"a text has half a character (a lone surrogate such as \ud800); send whole characters"
        elif "truncated" in reason:
            reason = "the JSON ends too early" if body.strip() else "the body is empty; send JSON"
        raise HTTPException(422, reason) from None


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
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


def label_position(label: int | str, classes: Sequence[str]) -> int:
    """Return the position of a class that a request names by its position or its name.

    Raises
    ------
    HTTPException
        422 if there is no such class.
    """
    if isinstance(label, str):
        if label in classes:
            return classes.index(label)
    elif label < len(classes):
        return label
    listed = ", ".join(classes[:30]) + (" ..." if len(classes) > 30 else "")
    raise HTTPException(422, f"there is no class {label!r}; the classes are {listed}")
