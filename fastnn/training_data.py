"""The data that one network is trained on: checked, preprocessed, and with a validation set held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.split import Split
from fastnn.errors import DataError, RecipeError
from fastnn.model import OUTPUT_WORDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.datasets import Dataset
    from fastnn.datasets.scaling import Scaling
    from fastnn.datasets.sparse import SparseRows
    from fastnn.network import Network
    from fastnn.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Part:
    """Preprocessed samples with their targets, and the number of blank images among them."""

    features: NDArray[Any] | SparseRows
    targets: NDArray[Any]
    blank: int


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Training, validation and test sets; `factors` of the learning rate of each training sample, shape (n,)."""

    train: Part
    factors: NDArray[np.float64] | None
    validation: Part | None
    test: Part | None


def prepare(
    dataset: Dataset,
    recipe: Recipe,
    test: Dataset | None,
    sample_weight: NDArray[Any] | None,
    scaling: Scaling | None,
) -> TrainingData:
    """Return the data with the validation set held out, images normalised as the recipe says, and targets scaled."""
    factors = _factors(dataset, recipe, sample_weight)
    dataset, factors, validation = _hold_out_validation(dataset, recipe, factors)
    parts = (None if part is None else _preprocess(part, recipe, scaling) for part in (validation, test))
    return TrainingData(_preprocess(dataset, recipe, scaling), factors, *parts)


def fit_scalings(dataset: Dataset, *, standardise: bool) -> tuple[Scaling | None, Scaling | None]:
    """Return the scalings of the features and of the targets, fitted on this data set; None for what is not scaled."""
    if not standardise:
        return None, None
    return dataset.feature_scaling, dataset.target_scaling if dataset.task == "regression" else None


def _preprocess(dataset: Dataset, recipe: Recipe, scaling: Scaling | None) -> Part:
    """Return the features, of images normalised if the recipe says so, with the targets, scaled if there is a scaling.

    Rows are standardised by the kernels.
    """
    targets = dataset.targets if scaling is None else scaling.apply(dataset.targets)
    if not recipe.normalise:
        return Part(dataset.features, targets, 0)
    from fastnn.images.normalised_rows import normalise_rows

    images, blank = normalise_rows(dataset.images)
    return Part(images, targets, int(blank.sum()))


def _factors(dataset: Dataset, recipe: Recipe, sample_weight: NDArray[Any] | None) -> NDArray[np.float64] | None:
    """Return the factor of the learning rate for each sample, shape (n,); None if all are 1."""
    if sample_weight is None and recipe.class_weight is None and not recipe.balance:
        return None
    factors = np.ones(len(dataset))
    if sample_weight is not None:
        try:
            factors = np.asarray(sample_weight, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError(f"{dataset.source}: sample weights must be numbers") from None
        if factors.shape != (len(dataset),) or not (np.isfinite(factors).all() and (factors >= 0).all()):
            raise DataError(f"{dataset.source}: sample weights must be {len(dataset)} numbers, finite and not negative")
    if recipe.class_weight is not None:
        if len(recipe.class_weight) != len(dataset.classes):
            raise RecipeError(
                f"class_weight has {len(recipe.class_weight)} numbers, but there are {len(dataset.classes)} classes"
            )
        factors = factors * np.asarray(recipe.class_weight)[dataset.labels]
    if recipe.balance:
        occurring = int(np.count_nonzero(dataset.counts))
        factors = factors * (len(dataset) / occurring / np.maximum(dataset.counts, 1))[dataset.labels]
    return factors


def _hold_out_validation(
    dataset: Dataset, recipe: Recipe, factors: NDArray[np.float64] | None
) -> tuple[Dataset, NDArray[np.float64] | None, Dataset | None]:
    """Return the part to train on, the factors of its samples, and the validation set."""
    if not recipe.validation_fraction:
        return dataset, factors, None
    if dataset.validation is not None:
        return dataset, factors, dataset.validation
    chosen = Split(fraction=recipe.validation_fraction, seed=recipe.seed).test_mask(dataset)
    if chosen.all() or not chosen.any():
        what = "images" if dataset.is_images else "rows"
        raise DataError(f"{dataset.source}: too few {what} for a validation fraction of {recipe.validation_fraction:g}")
    rest = np.flatnonzero(~chosen)
    classes = dataset.task == "classification"
    missing = np.setdiff1d(dataset.labels, dataset.labels[rest]) if classes else np.array([], dtype=np.int64)
    if len(missing):
        raise DataError(
            f"{dataset.source}: a validation fraction of {recipe.validation_fraction:g} leaves no sample of class "
            f"{', '.join(dataset.classes[label] for label in missing.tolist())} to train on; "
            "choose another seed or fraction"
        )
    return dataset.take(rest), None if factors is None else factors[rest], dataset.take(np.flatnonzero(chosen))


def check_fit(network: Network, dataset: Dataset) -> None:
    """Raise DataError if the data do not fit the network's inputs, outputs and task."""
    if len(dataset) == 0:
        raise DataError(f"{dataset.source}: no samples to train on or to test")
    n_inputs, n_outputs = dataset.n_inputs, len(dataset.names)
    if (n_inputs, n_outputs) != (network.sizes[0], network.sizes[-1]):
        inputs = "pixels" if dataset.is_images else "columns"
        raise DataError(
            f"{dataset.source}: {n_inputs} {inputs} and {n_outputs} {OUTPUT_WORDS[dataset.task]} do not fit a network "
            f"of {network.sizes[0]} inputs and {network.sizes[-1]} outputs"
        )
    if dataset.task != network.task:
        raise DataError(
            f"{dataset.source}: its task is {dataset.task}, but the outputs of the network are for {network.task}"
        )
    if dataset.task == "classification" and not 0 <= dataset.labels.min() <= dataset.labels.max() < n_outputs:
        raise DataError(f"{dataset.source}: a label is outside of the {n_outputs} classes")


def check_test(dataset: Dataset, test: Dataset) -> None:
    """Raise DataError if the samples of a test set are not of the same kind as those of the training set."""
    if test.is_images != dataset.is_images:
        one, other = ("images", "a table") if test.is_images else ("a table", "images")
        raise DataError(f"{test.source}: a test set of {one} does not fit a training set of {other}")
    if test.names != dataset.names:
        raise DataError(
            f"{test.source}: its {OUTPUT_WORDS[test.task]} are {', '.join(test.names[:20])}, but those of the training "
            f"set are {', '.join(dataset.names[:20])}"
        )
    if None not in (test.columns, dataset.columns) and test.columns != dataset.columns:
        raise DataError(f"{test.source}: the test set has other columns than the training set")


def check_recipe(recipe: Recipe, dataset: Dataset) -> None:
    """Raise RecipeError if the recipe has settings that these data cannot have."""
    task = dataset.task
    if not dataset.is_images and recipe.for_images:
        raise RecipeError(
            f"recipe {recipe.name} has {recipe.for_images[0]}, which is for images, but {dataset.source} is a table; "
            "use recipe table"
        )
    if dataset.is_images and recipe.standardise:
        raise RecipeError(
            f"recipe {recipe.name} standardises columns of a table, but {dataset.source} holds images; "
            "drop standardise (--standardise), or use recipe original, modern, mnist or best"
        )
    given = {
        "huber_delta": recipe.huber_delta is not None and task != "regression",
        "label_smoothing": recipe.label_smoothing and task != "classification",
        "balance": recipe.balance and task != "classification",
        "class_weight": recipe.class_weight is not None and task != "classification",
    }
    for name, wrong in given.items():
        if wrong:
            raise RecipeError(f"recipe {recipe.name} has {name}, which a {task} cannot have; drop it")
