"""The result of comparing runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.evaluation.figures import Figure
    from fastnn.evaluation.intervals import McNemar
    from fastnn.evaluation.student import PairedTest
    from fastnn.network import Task


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Attributes
    ----------
    run : str
        Its folder or model file, as given.
    recipe : dict
        The recipe stored in the model; empty if there is none.
    data : str
        The data that it was trained on, or "unknown".
    layers : tuple of int
        Layer sizes.
    networks : int
        Number of networks in the ensemble.
    epochs : int or None
    seconds : float or None
        Training time, if the run has a history.
    tested_on : str
        The test samples in words.
    correct : int or None
        Number of test samples classified correctly, by a multilabel model with all labels; None for a regression.
    total : int
        Number of test samples.
    figures : dict of str to Figure
        Metrics with their intervals, see :func:`fastnn.evaluation.figures.figures_of`; the first one is the score.
    """

    run: str
    recipe: dict[str, Any]
    data: str
    layers: tuple[int, ...]
    networks: int
    epochs: int | None
    seconds: float | None
    tested_on: str
    correct: int | None
    total: int
    figures: dict[str, Figure]

    @property
    def metric(self) -> str:
        """The name of the score: "accuracy", or "r2" of a regression."""
        return next(iter(self.figures))

    @property
    def score(self) -> float:
        """Accuracy, or R2 of a regression."""
        return self.figures[self.metric].value

    @property
    def accuracy(self) -> float | None:
        """The accuracy; None for a regression."""
        return None if self.metric == "r2" else self.score

    @property
    def low(self) -> float:
        """Lower end of the confidence interval of the score."""
        return self.figures[self.metric].low

    @property
    def high(self) -> float:
        """Upper end of the confidence interval of the score."""
        return self.figures[self.metric].high

    def as_dict(self) -> dict[str, Any]:
        """Return the run, fit for JSON: also the score, by its own name, and its interval."""
        more = {"layers": list(self.layers), self.metric: self.score, "low": self.low, "high": self.high}
        return asdict(self) | more


@dataclass(frozen=True)
class ComparedPair:
    """Two runs compared on the test samples that they share.

    Attributes
    ----------
    first, second : str
        The runs.
    shared : int
        Number of samples that both can be tested on.
    first_score, second_score : float or None
        Accuracy or R2 of each run on these; None if no samples are shared.
    first_correct, second_correct : int or None
        How many of these each run classifies correctly; None for a regression.
    test : McNemar or PairedTest or None
        Of regressions a paired test of the squared errors, in units of the variance of each target, so that its
        difference is that of R2. Of others McNemar's test. None if no samples are shared.
    p_adjusted : float or None
        p of the test, adjusted for the number of pairs (Holm).
    """

    first: str
    second: str
    shared: int
    first_score: float | None
    second_score: float | None
    first_correct: int | None
    second_correct: int | None
    test: McNemar | PairedTest | None
    p_adjusted: float | None

    @property
    def better(self) -> str | None:
        """The run that is significantly better (adjusted p below 0.05), or None."""
        if self.p_adjusted is None or self.p_adjusted >= 0.05:
            return None
        if self.first_score is None or self.second_score is None:
            return None
        return self.first if self.first_score > self.second_score else self.second


@dataclass(frozen=True)
class Comparison:
    """A comparison of two or more runs.

    Attributes
    ----------
    rows : tuple of ComparedRun
    pairs : tuple of ComparedPair
        Every pair of runs.
    differences : tuple of str
        Keys of the recipe in which the runs differ.
    confidence : float
        Confidence level of the intervals.
    notes : tuple of str
        Remarks for the user.
    task : {"classification", "multilabel", "regression"}
    """

    rows: tuple[ComparedRun, ...]
    pairs: tuple[ComparedPair, ...]
    differences: tuple[str, ...]
    confidence: float
    notes: tuple[str, ...]
    task: Task

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison, fit for JSON."""
        return {
            "task": self.task,
            "runs": [row.as_dict() for row in self.rows],
            "differences": list(self.differences),
            "confidence": self.confidence,
            "pairs": [asdict(pair) | {"better": pair.better} for pair in self.pairs],
            "notes": list(self.notes),
        }
