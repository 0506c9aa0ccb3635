"""One trial of a sweep: training a recipe and measuring it on a validation set, in this process or on a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fastnn.errors import FastnnError
from fastnn.session import Session
from fastnn.threads import TrainingInterrupted

if TYPE_CHECKING:
    from fastnn.cluster import Task
    from fastnn.datasets import Dataset, Split
    from fastnn.recipe import Recipe

State = Literal["complete", "stopped", "failed"]


@dataclass(frozen=True)
class TrialJob:
    """What a trial trains.

    Attributes
    ----------
    number : int
        Of the trial in its study, from 0.
    recipe : Recipe
    """

    number: int
    recipe: Recipe


@dataclass(frozen=True)
class TrialResult:
    """What a trial has found.

    Attributes
    ----------
    number : int
    state : {"complete", "stopped", "failed"}
    accuracy : float
        On the validation set; of a regression R2.
    loss : float
        On the validation set.
    size : int
        Number of weights and biases of all networks.
    seconds : float
        Time of training, without compiling and measuring.
    epochs : int
    reached : bool
        Whether the accuracy of the recipe's `until` was reached.
    weights : str
        SHA-256 (hexadecimal) of the weights.
    reason : str
        Why it failed.
    """

    number: int
    state: State
    accuracy: float = 0.0
    loss: float = 0.0
    size: int = 0
    seconds: float = 0.0
    epochs: int = 0
    reached: bool = False
    weights: str = ""
    reason: str = ""


@dataclass(frozen=True)
class TrialWork:
    """Does a trial; the same result for the same job on every machine, but for the time.

    Attributes
    ----------
    validation : Split
        Which part of the data is the validation set; the data must not hold those that test the final model.
    sends : bool
        Whether the accuracy of each epoch is sent to the client, which may stop the trial.
    """

    validation: Split
    sends: bool = False

    def __call__(self, dataset: Dataset, job: TrialJob, task: Task) -> TrialResult:
        """Train and measure the recipe of a job."""
        try:
            # What the session calls the test set is the validation set of the sweep.
            session = Session(dataset, job.recipe, split=self.validation, on_chunk=lambda _: task.check(), threads=1)
            for report in session:
                if self.sends and report.member == 0 and report.test_accuracy is not None:
                    task.send((report.epoch, report.test_accuracy))
        except TrainingInterrupted:
            return TrialResult(job.number, "stopped")
        except FastnnError as error:
            return TrialResult(job.number, "failed", reason=str(error))
        found, model = session.evaluation, session.model
        if found is None:
            return TrialResult(job.number, "failed", reason="there is no validation set")
        return TrialResult(
            job.number,
            "complete",
            accuracy=float(found.score),
            loss=float(found.loss),
            size=sum(network.parameters.size for network in model.networks),
            seconds=session.timings.training,
            epochs=session.epochs,
            reached=session.reached,
            weights=model.sha256(),
        )
