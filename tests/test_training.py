"""The training loop: reports, learning, and reproducible results."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from fastnn import Dataset, EpochReport, Network, Recipe, evaluate, split, train
from fastnn.datasets.split import Split
from fastnn.engine import Engine, run_images
from fastnn.errors import DataError, ModelError, RecipeError, TrainingError
from fastnn.images import normalise_batch
from fastnn.inputs import ImageInput
from fastnn.kernels.workspace import BLOCK
from fastnn.model import ModelCard
from fastnn.recipe import presets
from fastnn.training import ChunkReport, Trainer, as_model, epoch_order
from tests.helpers import blobs

ORIGINAL = Recipe(hidden=(32,), lr=0.1, epochs=4)
RELU = Recipe(hidden=(16, 8), rule="backprop", activation="relu", init="he", invert=True, lr=0.02, epochs=4)
SMOOTH = RELU.replace(label_smoothing=0.1, dtype="float64")
# After one step the weights are about 1e6, and the product of six layers exceeds the range of float32.
DIVERGING = RELU.replace(hidden=(32,) * 6, lr=1e6)


def trained(recipe: Recipe, dataset: Dataset, **options: Any) -> tuple[Network, list[EpochReport]]:
    network = recipe.network(dataset.images.shape[1], len(dataset.classes))
    return network, list(train(network, dataset, recipe, **options))


@pytest.mark.parametrize("first_layer", ["sparse", "dense"])
@pytest.mark.parametrize("recipe", [ORIGINAL, RELU, SMOOTH], ids=["original", "relu", "smooth"])
def test_training_learns_easy_data(recipe: Recipe, first_layer: str) -> None:
    data, test = split(blobs(400), 0.25)
    network, reports = trained(recipe.replace(first_layer=first_layer), data, test=test)
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert reports[-1].loss < reports[0].loss
    assert reports[-1].accuracy > reports[0].accuracy
    assert reports[-1].test_accuracy is not None
    assert reports[-1].test_accuracy > 0.9
    measured = evaluate(as_model(network, data, recipe), test)
    assert measured.accuracy == reports[-1].test_accuracy
    assert measured.loss == pytest.approx(reports[-1].test_loss, rel=1e-5)


def test_reports_hold_the_schedule_and_the_times() -> None:
    data = blobs(60)
    _, reports = trained(ORIGINAL.replace(lr_every=2, lr_decay=0.1), data)
    assert [report.lr for report in reports] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    for report in reports:
        assert report.test_loss is report.test_accuracy is None
        assert report.seconds > 0
        assert report.test_seconds >= 0
        assert report.samples_per_second == pytest.approx(60 / report.seconds)
        assert 0 <= report.accuracy <= 1
        assert set(report.as_dict()) == set(EpochReport.__dataclass_fields__)


def test_accuracy_and_loss_are_those_before_each_sample() -> None:
    """With a tiny learning rate they are those of the untrained network."""
    data, recipe = blobs(50), ORIGINAL.replace(lr=1e-30, epochs=1)
    network, (report,) = trained(recipe, data)
    measured = evaluate(as_model(network, data, recipe), data)
    assert report.accuracy == measured.accuracy
    assert report.loss == pytest.approx(measured.loss, rel=1e-5)


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    orders = {(seed, epoch): epoch_order(seed, epoch, 50).tolist() for seed in (0, 1, 5) for epoch in (1, 2)}
    for key, order in orders.items():
        assert sorted(order) == list(range(50))
        assert order == epoch_order(*key, 50).tolist()
    assert len(set(map(tuple, orders.values()))) == 6
    assert epoch_order(0, 1, 50).dtype == np.int64
    assert epoch_order(0, 1, 50, dtype=np.uint8).tolist() == orders[0, 1]
    assert orders[0, 1] == np.random.default_rng([0, 1]).permutation(50).tolist()


def test_order_of_shuffled_blocks_is_random_within_64_of_them() -> None:
    n = 147 * 1024
    order = epoch_order(0, 1, n, blocks=True)
    assert order.tolist() == epoch_order(0, 1, n, blocks=True).tolist()
    assert not np.array_equal(order, epoch_order(0, 2, n, blocks=True))
    assert np.array_equal(np.sort(order), np.arange(n))
    assert order.dtype == np.int64
    assert np.array_equal(order, epoch_order(0, 1, n, blocks=True, dtype=np.uint32))
    mixed = order[: 64 * 1024] // 1024
    # Whole blocks are read together, from all of the data set, and their samples mixed.
    assert len(np.unique(mixed)) == 64
    assert np.ptp(mixed) > 100
    assert np.count_nonzero(np.diff(mixed) == 0) < len(mixed) / 30


DISTORTED = RELU.replace(rotation=5.0, shift=1.0)
RESUMABLE = {
    "original": ORIGINAL,
    "relu": RELU,
    "cosine": RELU.replace(schedule="cosine"),
    "affine": DISTORTED,
    "elastic": DISTORTED.replace(elastic_alpha=0.5, normalise=True, balance=True),
    "original, dense": ORIGINAL.replace(scale=0.1, first_layer="dense"),
}


@pytest.mark.parametrize("recipe", RESUMABLE.values(), ids=RESUMABLE)
def test_interrupted_and_resumed_training_gives_the_same_bits(recipe: Recipe) -> None:
    data = blobs(90)
    whole, _ = trained(recipe, data)
    again, _ = trained(recipe, data)
    assert whole.sha256() == again.sha256()
    other, _ = trained(recipe.replace(seed=1), data)
    assert other.sha256() != whole.sha256()
    pieces = recipe.network(784, 10)
    for report in train(pieces, data, recipe):
        if report.epoch == 2:
            break
    assert pieces.sha256() != whole.sha256()
    rest = list(train(pieces, data, recipe, first_epoch=3))
    assert [report.epoch for report in rest] == [3, 4]
    assert pieces.sha256() == whole.sha256()


@pytest.mark.parametrize("changes", [{}, {"averaging": "ema"}, {"averaging": "tail", "averaging_epochs": 3}])
def test_a_test_set_does_not_change_training(changes: dict[str, Any]) -> None:
    """With averaging, the average is measured, and training continues from the current weights."""
    data, recipe, test = blobs(90), ORIGINAL.replace(**changes), blobs(60, seed=1)
    network, reports = trained(recipe, data, test=test)
    assert trained(recipe, data)[0].sha256() == network.sha256()
    measured = evaluate(as_model(network, data, recipe), test)
    assert reports[-1].test_accuracy == measured.accuracy
    assert reports[-1].test_loss == pytest.approx(measured.loss, rel=1e-5)


def test_chunks_are_whole_blocks_and_shorter_for_larger_networks() -> None:
    images = blobs(8).images

    def chunk(*hidden: int, first_layer: str = "sparse") -> int:
        engine = Engine(ORIGINAL.replace(hidden=hidden).network(784, 10))
        return engine.chunk_size(ImageInput(images, False, first_layer))

    assert chunk(32) == 4096
    assert chunk(500, 150) > chunk(500, 150, first_layer="dense") > chunk(1503, 1503) > 0
    assert all(chunk(width, width) % BLOCK == 0 for width in (500, 701, 1503))


def test_chunks_report_the_progress_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "chunk_size", lambda *_: 400)
    chunks: list[ChunkReport] = []
    data = blobs(1500)
    _, reports = trained(ORIGINAL.replace(epochs=2), data, on_chunk=chunks.append)
    assert {chunk.epoch for chunk in chunks} == {1, 2}
    for epoch in (1, 2):
        mine = [chunk for chunk in chunks if chunk.epoch == epoch]
        assert [chunk.done for chunk in mine] == [400, 800, 1200, 1500]
        assert {(chunk.total, chunk.member) for chunk in mine} == {(1500, 0)}
        assert (mine[-1].loss, mine[-1].accuracy) == (reports[epoch - 1].loss, reports[epoch - 1].accuracy)


def test_an_error_in_a_callback_stops_training_and_leaves_a_usable_network() -> None:
    data = blobs(90)
    network = ORIGINAL.network(784, 10)

    def stop(chunk: ChunkReport) -> None:
        if chunk.epoch == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(train(network, data, ORIGINAL, on_chunk=stop))
    whole = trained(ORIGINAL.replace(epochs=2), data)[0]
    assert network.sha256() == whole.sha256()


def test_diverging_training_stops() -> None:
    with pytest.raises(
        TrainingError, match=r"diverged in epoch 1 \(loss is not finite\); try a learning rate below 1e\+06$"
    ) as caught:
        trained(DIVERGING, blobs(100))
    assert caught.value.exit_code == 1


def test_training_stops_at_the_chunk_that_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "chunk_size", lambda *_: 8)
    chunks: list[ChunkReport] = []
    with pytest.raises(TrainingError, match="diverged in epoch 1"):
        trained(DIVERGING, blobs(100), on_chunk=chunks.append)
    assert len(chunks) < 12
    assert all(np.isfinite(chunk.loss) for chunk in chunks)


def test_a_step_that_is_too_large_is_detected_after_the_last_sample() -> None:
    """The loss of the only sample is finite, since it is computed before the step."""
    recipe = RELU.replace(hidden=(), lr=1e6, epochs=1)
    with pytest.raises(TrainingError, match=r"diverged in epoch 1 .*; try a learning rate below 1e\+06$"):
        trained(recipe, blobs(1), sample_weight=np.array([1e38]))


def test_weights_that_overflow_in_the_last_step_are_detected() -> None:
    """The loss is computed before each step, so it does not show the effect of the last one."""
    data, recipe = blobs(10), RELU.replace(hidden=(), lr=1e6, epochs=1)
    network = recipe.network(784, 10)
    network.weights[0][...] = 0
    network.weights[0][:, 3] = np.finfo(np.float32).max
    with pytest.raises(TrainingError, match="diverged in epoch 1"):
        list(train(network, data, recipe))


def test_weights_that_overflow_in_the_evaluation_are_detected() -> None:
    """They are finite, and blank images do not use them in training, but the sums on the test set overflow."""
    data, recipe = blobs(10), RELU.replace(epochs=1)
    network = recipe.network(784, 10)
    network.weights[0][...] = np.finfo(np.float32).max
    blank = Dataset(np.full((10, 784), 255, dtype=np.uint8), data.labels, data.classes, "blank")
    with pytest.raises(TrainingError, match="diverged in epoch 1"):
        list(train(network, blank, recipe, test=data))


def test_outputs_that_are_not_finite_on_the_test_set_alone_are_detected() -> None:
    """One pixel alone makes the units so large; white, black and mixed images do not."""
    data, recipe = blobs(10), RELU.replace(epochs=3, lr=1e-4)
    network = recipe.network(784, 10)
    network.weights[0][:, 0] = -1e30
    network.weights[0][5, 0] = 1e30
    network.weights[1][0] = 1e30
    white = replace(data, features=np.full_like(data.images, 255))
    one_pixel = replace(data, features=white.images.copy())
    one_pixel.images[:, 5] = 0
    with pytest.raises(
        TrainingError, match=r"^training diverged in epoch 3 \(loss is not finite\); try a learning rate below 0\.0001$"
    ):
        list(train(network, white, recipe, test=one_pixel, first_epoch=3))


@pytest.mark.parametrize(
    ("sizes", "data", "test", "message"),
    [
        ((784, 10), blobs(0), None, "no samples"),
        ((784, 10), blobs(10), blobs(0), "no samples"),
        ((783, 10), blobs(10), None, "784 pixels and 10 classes do not fit a network of 783 inputs and 10 outputs"),
        ((784, 9), blobs(10), None, "do not fit"),
        ((784, 10), blobs(10), blobs(10, classes=("a", "b")), "2 classes do not fit"),
    ],
)
def test_data_that_do_not_fit_the_network_are_refused(
    sizes: Any, data: Dataset, test: Dataset | None, message: str
) -> None:
    network = Network(sizes).initialise()
    before = network.sha256()
    with pytest.raises(DataError, match=message):
        list(train(network, data, ORIGINAL, test=test))
    assert network.sha256() == before


def table(task: str) -> Dataset:
    """Return a small random table."""
    rng = np.random.default_rng(3)
    rows = rng.normal(5, 3, (41, 6))
    targets = {
        "classification": rows.argmax(axis=1) % 3,
        "multilabel": (rows[:, :3] > 5).astype(np.uint8),
        "regression": 100 + 10 * rows[:, :3],
    }[task]
    return Dataset(rows, targets, ("a", "b", "c"), "made")


STEPPED = {
    **{
        task: (table(task), presets["table"].replace(seed=2, hidden=(7,)))
        for task in ("classification", "multilabel", "regression")
    },
    "images": (blobs(40), Recipe(hidden=(5,), rule="backprop", lr=0.01)),
    "inverted images": (blobs(40), Recipe(hidden=(5,), rule="backprop", invert=True, lr=0.01)),
}


@pytest.mark.parametrize("kind", STEPPED)
def test_steps_in_the_order_of_an_epoch_are_an_epoch(kind: str) -> None:
    dataset, recipe = STEPPED[kind]
    networks = [recipe.network(dataset.n_inputs, len(dataset.names), dataset.task) for _ in range(2)]
    epochs, steps = (Trainer(network, dataset, recipe) for network in networks)
    for epoch in (1, 2):
        epochs.epoch(epoch)
        if epoch == 1:
            for i in epoch_order(recipe.seed, epoch, len(dataset)).tolist():
                with pytest.raises(DataError, match="target: must be"):
                    steps.step(dataset.features[i], "no target")
                steps.step(dataset.features[i], dataset.targets[i])
        else:
            # A Trainer counts its own epochs alone.
            arrays, values = steps.state_dict()
            steps.load_state_dict(arrays, {**values, "epoch": 1})
            steps.epoch(epoch)
        found, expected = steps.result(), epochs.result()
        np.testing.assert_allclose(found.parameters, expected.parameters, rtol=1e-4, atol=1e-5)
        assert found is networks[1]


def test_steps_do_not_normalise() -> None:
    dataset, recipe = blobs(10), Recipe(hidden=(5,), normalise=True)
    trainer = Trainer(recipe.network(784, len(dataset.names)), dataset, recipe)
    with pytest.raises(RecipeError, match=r"normalises images, which step\(\) does not"):
        trainer.step(dataset.images[0], 0)


def test_warming_up_changes_nothing() -> None:
    network = RELU.network(784, 10)
    before = network.sha256()
    trainer = Trainer(network, blobs(20), RELU)
    assert trainer.warm_up() > 0
    assert network.sha256() == before
    assert trainer.first_layer == "sparse"
    assert Trainer(network, blobs(20), RELU.replace(first_layer="dense")).first_layer == "dense"
    assert 0.1 < trainer.density < 0.4


def test_the_network_of_a_model_can_only_be_trained_as_a_copy() -> None:
    data = blobs(20)
    model = as_model(RELU.network(784, 10), data, RELU)
    before = model.sha256()
    with pytest.raises(ModelError, match=r"frozen; train a copy of it, network\.copy\(\)"):
        next(train(model.network, data, RELU))
    copy = model.network.copy()
    for _ in train(copy, data, RELU.replace(epochs=1)):
        pass
    assert copy.sha256() != before == model.sha256()


def test_as_model_keeps_classes_and_kind_of_inputs() -> None:
    data = blobs(20)
    network = RELU.network(784, 10)
    model = as_model(network, data, RELU, ModelCard(epochs=3))
    assert (model.classes, model.invert, model.card) == (data.classes, True, ModelCard(epochs=3))
    assert np.array_equal(model.outputs(data.images), run_images(Engine(network), data.images, True))
    assert as_model(network, data, ORIGINAL).invert is False


def test_distortions_that_change_nothing_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that pass through the buffer of distorted images unchanged give the same bits."""
    data, recipes = blobs(900), (ORIGINAL, RELU, ORIGINAL.replace(first_layer="dense"))
    monkeypatch.setattr(Engine, "chunk_size", lambda *_: 400)
    for recipe, weights in product(recipes, (None, np.linspace(0, 2, 900))):
        plain, (report,) = trained(recipe.replace(epochs=1), data, sample_weight=weights)
        with monkeypatch.context() as patch:
            patch.setattr(Recipe, "distorts", property(lambda _: True))
            through, (other,) = trained(recipe.replace(epochs=1), data, sample_weight=weights)
        assert plain.sha256() == through.sha256()
        assert (report.loss, report.accuracy) == (other.loss, other.accuracy)


def test_distortions_apply_to_training_but_not_to_the_test_set() -> None:
    data, test = split(blobs(300), 0.3)
    plain, _ = trained(RELU, data, test=test)
    network, reports = trained(RELU.replace(shift=0.5), data, test=test)
    assert network.sha256() != plain.sha256()
    assert reports[-1].test_accuracy == evaluate(as_model(network, data, RELU), test).accuracy
    assert reports[-1].test_accuracy > 0.9


def test_normalise_trains_on_normalised_images_and_marks_the_model() -> None:
    data, test = blobs(60), blobs(30, seed=1)
    data.images[7] = 255
    recipe = RELU.replace(normalise=True)
    trainer = Trainer(recipe.network(784, 10), data, recipe)
    assert trainer.notes == ("1 of the training images are blank and stay as they are",)
    with pytest.warns(UserWarning, match="1 of the training images are blank"):
        network, reports = trained(recipe, data, test=test)
    images, _ = normalise_batch(data.images, polarity="dark-on-light")
    other, _ = trained(RELU, Dataset(images, data.labels, data.classes, "normalised"))
    assert network.sha256() == other.sha256()
    model = as_model(network, data, recipe)
    assert model.normalise
    assert evaluate(model, test).accuracy == reports[-1].test_accuracy


def test_a_validation_set_must_leave_images_of_each_class_to_train_on() -> None:
    data = blobs(60)
    alone = data.take(np.flatnonzero((data.labels != 3) | (np.arange(60) == 3)))
    for seed in range(50):
        recipe = RELU.replace(validation_fraction=0.3, seed=seed, epochs=1)
        if Split(fraction=0.3, seed=seed).test_mask(alone)[3]:
            with pytest.raises(DataError, match="leaves no sample of class 3 to train on"):
                trained(recipe, alone)
            return
    pytest.fail("the image was never held back")


def test_averages_are_taken_over_the_weights_after_each_epoch() -> None:
    data = blobs(90)
    network = RELU.network(784, 10)
    steps = [network.parameters.copy() for _ in train(network, data, RELU)]
    tail, _ = trained(RELU.replace(averaging="tail", averaging_epochs=3), data)
    assert tail.parameters == pytest.approx(np.mean(steps[1:], axis=0), abs=1e-6)
    moving = steps[0]
    for step in steps[1:]:
        moving = moving + (step - moving) / 2
    ema, _ = trained(RELU.replace(averaging="ema", averaging_epochs=2), data)
    assert ema.parameters == pytest.approx(moving, abs=1e-6)


VALIDATED = RELU.replace(validation_fraction=0.25, epochs=6)


def test_the_best_epoch_is_selected() -> None:
    data = blobs(120)
    network = VALIDATED.network(784, 10)
    steps, reports = [], []
    for report in train(network, data, VALIDATED):
        steps.append(network.copy())
        reports.append(report)
    best = max(reports, key=lambda report: (report.validation_accuracy, -report.validation_loss))
    assert network.sha256() == steps[best.epoch - 1].sha256()
    chosen = Split(fraction=0.25, seed=VALIDATED.seed).test_mask(data)
    train_set, test_set = data.take(np.flatnonzero(~chosen)), data.take(np.flatnonzero(chosen))
    assert reports[-1].samples_per_second == pytest.approx(len(train_set) / reports[-1].seconds)
    plain, others = trained(RELU.replace(epochs=6), train_set, test=test_set)
    assert plain.sha256() == steps[-1].sha256()
    assert [report.validation_accuracy for report in reports] == [other.test_accuracy for other in others]


@pytest.mark.parametrize("averaging", ["ema", "tail"])
def test_with_averages_the_best_epoch_is_that_of_the_average(averaging: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last epochs destroy what the network has learned, so that the best epoch is an earlier one."""
    monkeypatch.setattr(Recipe, "lr_at", lambda _, epoch: 0.02 if epoch < 5 else 5.0)
    data, recipe = blobs(200), VALIDATED.replace(averaging=averaging, averaging_epochs=4)
    held = Split(fraction=0.25, seed=recipe.seed).test_mask(data)
    train_set, test_set = data.take(np.flatnonzero(~held)), data.take(np.flatnonzero(held))
    alone = recipe.replace(validation_fraction=0.0)
    trainer = Trainer(alone.network(784, 10), train_set, alone, test_set)
    averages, reports = [], []
    for epoch in range(1, 7):
        reports.append(trainer.epoch(epoch))
        averages.append(trainer.result().copy())
    best = max(reports, key=lambda report: (report.test_accuracy, -report.test_loss)).epoch
    assert 2 <= best <= 4
    network, others = trained(recipe, data)
    assert network.sha256() == averages[best - 1].sha256()
    assert [other.validation_loss for other in others] == [report.test_loss for report in reports]


def test_patience_stops_training() -> None:
    """With a tiny learning rate no epoch is better than the first."""
    recipe = VALIDATED.replace(lr=1e-30, patience=2)
    _, reports = trained(recipe, blobs(60))
    assert [report.epoch for report in reports] == [1, 2, 3]


STATEFUL = {
    "ema": RELU.replace(averaging="ema", averaging_epochs=2),
    "tail": RELU.replace(averaging="tail", averaging_epochs=3),
    "best": RELU.replace(validation_fraction=0.25, patience=2),
    "all": DISTORTED.replace(validation_fraction=0.25, averaging="ema", schedule="cosine"),
}


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize("recipe", STATEFUL.values(), ids=STATEFUL)
def test_training_from_a_saved_state_gives_the_same_bits(recipe: Recipe, after: int) -> None:
    data = blobs(90)
    whole, _ = trained(recipe, data)
    first = Trainer(recipe.network(784, 10), data, recipe)
    for epoch in range(1, after + 1):
        first.epoch(epoch)
    state = first.state_dict()
    second = Trainer(recipe.network(784, 10), data, recipe)
    second.load_state_dict(*state)
    for epoch in range(after + 1, recipe.epochs + 1):
        if not second.stopped:
            second.epoch(epoch)
    assert second.result().sha256() == whole.sha256()
    with pytest.raises(RecipeError, match="need the state"):
        list(train(recipe.network(784, 10), data, recipe, first_epoch=2))


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays, _: arrays.clear(),
        lambda arrays, _: arrays.pop("average"),
        lambda arrays, _: arrays.update(best=arrays["network"][:-1]),
        lambda arrays, _: arrays["average"].fill(np.nan),
        lambda arrays, _: arrays.update(network=arrays["network"].astype(np.float64)),
        lambda _, values: values.clear(),
        lambda _, values: values.update(epoch="3"),
        lambda _, values: values.update(best_score=[1.0]),
        lambda _, values: values.update(best_score=["a", "b"]),
        lambda _, values: values.update(progress=[1]),
        lambda _, values: values.update(progress={"waited": -5}),
        lambda _, values: values.update(progress={"lr_factor": 1e300}),
    ],
)
def test_a_damaged_state_is_refused(damage: Any) -> None:
    data, recipe = blobs(60), STATEFUL["all"]
    trainer = Trainer(recipe.network(784, 10), data, recipe)
    trainer.epoch(1)
    arrays, values = trainer.state_dict()
    damage(arrays, values)
    with pytest.raises(ModelError, match="checkpoint is damaged"):
        trainer.load_state_dict(arrays, values)


def test_sample_weights_multiply_the_learning_rate() -> None:
    data = blobs(100)
    half = np.full(100, 0.5)
    small, _ = trained(RELU.replace(lr=RELU.lr / 2), data)
    assert trained(RELU, data, sample_weight=half)[0].sha256() == small.sha256()
    assert trained(RELU.replace(class_weight=[0.5] * 10), data)[0].sha256() == small.sha256()
    assert trained(RELU.replace(balance=True), data)[0].sha256() == trained(RELU, data)[0].sha256()
    assert trained(RELU.replace(balance=True), data, sample_weight=half)[0].sha256() == small.sha256()
    uneven = data.take(np.r_[np.arange(0, 100, 10), np.arange(100)])
    weights = (11 / 10) * 10 / np.asarray(uneven.counts)[uneven.labels]
    balanced, _ = trained(RELU.replace(balance=True), uneven)
    assert balanced.sha256() == trained(RELU, uneven, sample_weight=weights)[0].sha256()
    # A class without images does not count.
    fewer = uneven.take(np.flatnonzero(uneven.labels != 3))
    weights = len(fewer) / 9 / np.maximum(fewer.counts, 1)[fewer.labels]
    balanced, _ = trained(RELU.replace(balance=True), fewer)
    assert balanced.sha256() == trained(RELU, fewer, sample_weight=weights)[0].sha256()
    # Each weight stays with its image if a validation set is held back.
    only = (data.labels == 3).astype(float)
    network, _ = trained(VALIDATED, data, sample_weight=only)
    assert (as_model(network, data, VALIDATED).predict(data.images) == 3).mean() > 0.7


@pytest.mark.parametrize(
    ("recipe", "weights", "error", "message"),
    [
        (RELU, np.ones(19), DataError, "must be 20 numbers"),
        (RELU, np.full(20, np.nan), DataError, "finite"),
        (RELU, np.full(20, -1.0), DataError, "not negative"),
        (RELU.replace(class_weight=[1.0]), None, RecipeError, "class_weight has 1 numbers, but there are 10 classes"),
        (RELU.replace(validation_fraction=0.99), None, DataError, "too few images for a validation fraction"),
    ],
)
def test_invalid_weights_and_fractions_are_refused(recipe: Recipe, weights: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        trained(recipe, blobs(20), sample_weight=weights)


@pytest.mark.parametrize(("field", "value"), [("ensemble", 2), ("per_class", 3)])
def test_a_recipe_for_more_than_one_network_on_the_data_is_refused(field: str, value: int) -> None:
    recipe = RELU.replace(**{field: value})
    with pytest.raises(RecipeError, match=rf"has {field} = {value}; use fastnn.fit or fastnn.Session$"):
        trained(recipe, blobs(50))


def test_the_evaluation_of_the_test_set_can_be_interrupted_between_chunks() -> None:
    """A wide network needs long for many test images: Ctrl-C must not wait for all of them."""
    network = Recipe(hidden=(2000, 2000)).network(784, 10)
    calls = []

    def stop(report: ChunkReport) -> None:
        calls.append(report)
        if len(calls) > 2:
            raise KeyboardInterrupt

    data, test = blobs(4), blobs(300)
    with pytest.raises(KeyboardInterrupt):
        list(train(network, data, Recipe(epochs=1, lr=1e-6), test=test, on_chunk=stop))
    assert len(calls) == 3
    assert all(report.done == report.total == 4 for report in calls)
    # While the test set is measured, the reports are that of the whole epoch.
    assert len(set(calls)) == 1


def test_outputs_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    network, data = RELU.network(784, 10), blobs(57)
    whole = run_images(Engine(network), data.images, True)
    monkeypatch.setattr(Engine, "chunk_size", lambda *_: 12)  # whole blocks
    np.testing.assert_array_equal(run_images(Engine(network), data.images, True), whole)


def test_labels_may_lie_apart_in_memory() -> None:
    data = blobs(40)
    apart = replace(data, targets=np.repeat(data.labels, 2)[::2])
    networks = [ORIGINAL.network(784, 10) for _ in range(2)]
    for network, dataset in zip(networks, (data, apart), strict=True):
        for _ in train(network, dataset, ORIGINAL.replace(epochs=1)):
            pass
    assert networks[0].sha256() == networks[1].sha256()


@pytest.mark.parametrize("label", [-1, 10, 1 << 40])
def test_labels_that_were_changed_to_no_class_are_refused(label: int) -> None:
    data = blobs(40)
    data.labels[5] = label
    with pytest.raises(DataError, match="a label is outside of the 10 classes"):
        next(train(ORIGINAL.network(784, 10), data, ORIGINAL))
