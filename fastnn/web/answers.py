"""The JSON answers of the API. Routes encode them, and the OpenAPI description is made of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from fastnn.web.messages import Pixels, Position  # noqa: TC001 - msgspec reads the annotations

DigitState = Literal["pending", "accepted", "rejected"]
Image = Annotated[list[int], Meta(description="784 pixels, row by row; 255 = white paper, 0 = black ink")]
Time = Annotated[int, Meta(description="ms since 1970, UTC")]
Next = Annotated[int | None, Meta(description="`before` of the next page; null if there is none")]


# ---- the model ----


class ModelInfo(Struct):
    """What the pages show about a model; `accuracy` on a test set of `tested_on` images, if it was measured."""

    name: str
    layers: list[int]
    classes: list[str]
    accuracy: Annotated[float, Meta(ge=0, le=1)] | None
    tested_on: int | None


class Health(Struct):
    """The server and its database work."""

    status: Literal["ok"]
    version: str
    model: ModelInfo | None


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


class InputScaling(Struct):
    """What a network is fed for a pixel: (value - mean) * factor. Both have a number for each input, or one for all."""

    mean: list[float]
    factor: list[float]


class PageLayer(Struct):
    """A layer of a network."""

    inputs: int
    outputs: int
    activation: str


class PageNetwork(Struct):
    """A network; its weights are `bytes` bytes of model.bin, from `offset` on."""

    layers: list[PageLayer]
    offset: int
    bytes: int


class PageCalibration(Struct):
    """How probabilities are calibrated: their logarithms are multiplied by `slope`, and `offset` is added."""

    slope: float
    offset: float
    least: float


class PageDoubt(Struct):
    """Limits below which a prediction is doubtful, see :func:`fastnn.recognition.doubt_limits`."""

    margin: float
    evidence: float | None
    leastProbability: float  # noqa: N815 - as in the page's script


class PageModel(Struct):
    """The model in use without its weights, as scripts of pages read it."""

    key: str
    task: str
    names: list[str]
    normalise: bool
    inputs: InputScaling
    dividesBySum: bool  # noqa: N815 - as in the page's script
    precision: str
    networks: list[PageNetwork]
    about: ModelInfo
    doubt: PageDoubt
    weights: str
    calibration: PageCalibration | UnsetType = UNSET


class OriginalMatrix(Struct):
    """Weights, or biases in one column; a row for each output."""

    rows: int
    cols: int
    values: list[list[float]]


class OriginalModel(Struct):
    """A network in the format of the original project; `training` are notes of any kind."""

    inputs: int
    hidden1: int
    hidden2: int
    outputs: int
    weights_ih1: OriginalMatrix
    weights_h1h2: OriginalMatrix
    weights_h2o: OriginalMatrix
    bias_h1: OriginalMatrix
    bias_h2: OriginalMatrix
    bias_o: OriginalMatrix
    training: Any = None


# ---- collection ----


class Stored(Struct):
    """How many of the digits are new; the others were stored before. All of them are on disk."""

    stored: int


class Credit(Struct):
    """A contributor, and how many accepted digits have this name."""

    name: str
    digits: int


class Stats(Struct):
    """How many digits there are in each state, and of the accepted ones in each class and of each contributor."""

    pending: int
    accepted: int
    rejected: int
    digits: dict[str, int]
    classes: list[str]
    collecting: bool
    credits: list[Credit]
    model: ModelInfo | None


class SharedDigit(Struct):
    """An accepted digit; its label is the name of its class, as a number if that is the position of the class, too."""

    image: Image
    label: int | str


# ---- class ----


class ClassBoard(Struct):
    """What a projector shows: counts, the address to draw at, and `picture`, which changes with /class.png."""

    collecting: bool
    shows_pending: bool
    drawn: int
    pending: int
    accepted: int
    contributors: int
    classes: Annotated[dict[str, int], Meta(description="drawn of each class")]
    picture: str | None
    address: str


# ---- review ----


class QueuedDigit(Struct):
    """A digit that waits for its review; `uncertainty` is 1 - the model's probability of its label."""

    number: Annotated[int, Meta(description="counts digits in order of arrival")]
    id: str
    image: Image
    label: Position | None
    contributor: str
    created: Time
    predicted_label: Position | None
    uncertainty: float


class ListedDigit(QueuedDigit):
    """A digit in any state: `label` as reviewed if it is accepted, else as `given`."""

    given: Position
    state: DigitState


class HistoryEntry(Struct):
    """A review."""

    number: int
    id: str
    action: str
    label: Position | None
    reviewer: str
    created: Time


class PicturedEntry(HistoryEntry):
    """A review, with the digit as it is now."""

    image: Image
    state: DigitState
    given: Position
    current_label: Position | None
    digit_number: Annotated[int, Meta(description="`number` of the digit")]


class Queue(Struct):
    """The digits to review next, counts of all digits (`waiting`: pending by class), and the latest reviews."""

    pending: int
    accepted: int
    rejected: int
    waiting: dict[str, int]
    classes: list[str]
    digits: list[QueuedDigit]
    history: list[HistoryEntry]


class Listed(Struct):
    """A page of digits."""

    digits: list[ListedDigit]
    next: Next
    total: Annotated[int | UnsetType, Meta(description="of a contributor: all digits in this state")] = UNSET


class History(Struct):
    """A page of reviews."""

    history: list[PicturedEntry]
    next: Next


class Reviewed(Struct):
    """A digit after its review."""

    id: str
    state: DigitState
    label: Position | None


class ReviewResult(Struct):
    """The result of one of several verdicts: its status as of a single review, and the digit or the reason."""

    id: str
    status: Literal[200, 404, 409]
    state: DigitState | UnsetType = UNSET
    label: Position | UnsetType | None = UNSET
    detail: str | UnsetType = UNSET


class ReviewResults(Struct):
    """The results of several verdicts, in their order."""

    results: list[ReviewResult]


class Released(Struct):
    """How many sessions were named."""

    sessions: int


class Changed(Struct):
    """How many digits were changed."""

    digits: int


# ---- live training ----


class WrongDigit(Struct):
    """A test digit that the network gets wrong, with its 784 pixels."""

    image: bytes
    label: str
    answer: str


class LearnProgress(Struct):
    """What a network can do after it has learned some digits; bytes are in base64.

    `accuracy` is measured on the test digits. `per_second` counts the digits learned in a second of training alone.
    `pictures` are the weights of the first hidden units: 784 signed bytes each, whose largest is 127 or -127. `wrong`
    are some of the test digits that it gets wrong.
    """

    trained: int
    train_digits: int
    test_digits: int
    accuracy: Annotated[float, Meta(ge=0, le=1)]
    per_second: float
    pictures: list[bytes]
    wrong: list[WrongDigit]


class LearnEnd(Struct):
    """Why a training has ended: all epochs, the time, the server stops, or an error."""

    reason: Literal["epochs", "time", "stopped", "failed"]


# ---- errors ----


class ErrorMessage(Struct):
    """What is wrong, and what helps."""

    detail: str
