"""What networks say of images they have not seen: k-fold training, the folds side by side on the cores."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.split import assign_folds
from fastnn.errors import DataError
from fastnn.workers import cores, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from fastnn.datasets import Dataset
    from fastnn.recipe import Recipe


def out_of_sample(
    dataset: Dataset,
    recipe: Recipe,
    *,
    folds: int = 5,
    repeats: int = 1,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Return for each image the class probabilities of networks that were not trained on it.

    The images are dealt into folds; for each fold a network learns the others and predicts it. Copies of one image
    share a fold. The result depends on data, recipe, folds and repeats alone, not on the workers. With more than one
    worker each is a process of its own that is spawned, so a script that calls this must do so under
    ``if __name__ == "__main__":``.

    Parameters
    ----------
    dataset : Dataset
        Its images go to the network as they are.
    recipe : Recipe
        Its seed also deals the folds.
    folds : int
        At least 2.
    repeats : int
        How often all is done, dealt anew; the probabilities are averaged.
    workers : int, optional
        Processes; by default as many as there are cores, and none beyond the number of trainings.
    progress : callable, optional
        Called with the number of trainings done and of all.

    Returns
    -------
    ndarray of float64, shape (n, k)

    Raises
    ------
    DataError
        If the numbers make no sense, or there are too few images for the folds.
    TrainingError
        If a training diverges, or a process dies.
    """
    if folds < 2 or repeats < 1 or (workers is not None and workers < 1):
        raise DataError(f"{dataset.source}: it takes at least 2 folds, 1 repeat and 1 worker")
    dealt = [assign_folds(dataset, folds, recipe.seed + repeat) for repeat in range(repeats)]
    if any(np.bincount(folding, minlength=folds).min() == 0 for folding in dealt):
        raise DataError(f"{dataset.source}: {len(dataset)} images (copies count once) are too few for {folds} folds")
    jobs = [(repeat, fold) for repeat in range(repeats) for fold in range(folds)]
    processes = min(len(jobs), workers or cores())
    total = np.zeros((len(dataset), len(dataset.classes)))
    # Summed in the order of the jobs: floating point sums depend on it, and processes finish as they like.
    results: dict[tuple[int, int], NDArray[np.float64]] = {}
    # Closed also where `progress` raises: the workers end then and there.
    with contextlib.closing(_run(jobs, (dataset, recipe, dealt), processes)) as done:
        for job, probabilities in done:
            results[job] = probabilities
            if progress is not None:
                progress(len(results), len(jobs))
    for repeat, fold in jobs:
        total[dealt[repeat] == fold] += results[repeat, fold]
    return total / repeats


_Task = tuple["Dataset", "Recipe", "list[NDArray[np.int64]]"]
_Job = tuple[int, int]


def _run(jobs: list[_Job], task: _Task, workers: int) -> Generator[tuple[_Job, NDArray[np.float64]], None, None]:
    if workers == 1:
        return ((job, train_fold(task, job)) for job in jobs)
    _warm_up(task)
    return side_by_side(train_fold, task, jobs, workers)


def _warm_up(task: _Task) -> None:
    """Compile once and keep it in the cache, so that the workers load it rather than compile side by side."""
    from fastnn.training import Trainer

    dataset, recipe, _ = task
    Trainer(recipe.network(dataset.images.shape[1], len(dataset.classes)), dataset, recipe).warm_up()


def train_fold(task: _Task, job: _Job, tell: object = None) -> NDArray[np.float64]:  # noqa: ARG001 - for workers
    """Train on all folds but one; return the probabilities of that one's images, shape (its images, k)."""
    from fastnn.training import as_model, train

    dataset, recipe, dealt = task
    repeat, fold = job
    held_back = dealt[repeat] == fold
    own = recipe.replace(seed=(recipe.seed + 1_000_003 * repeat + fold) % (1 << 63))
    part = dataset.take(np.flatnonzero(~held_back))
    network = own.network(dataset.images.shape[1], len(dataset.classes))
    for _ in train(network, part, own):
        pass
    return as_model(network, part, own).predict_proba(dataset.images[np.flatnonzero(held_back)])
