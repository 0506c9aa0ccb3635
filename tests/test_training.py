"""The training loop: what it reports, what it learns, and that it does the same thing twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastnn import Dataset, EpochReport, Network, Recipe, evaluate, split, train
from fastnn.engine import run
from fastnn.errors import DataError, TrainingError
from fastnn.training import ChunkReport, Learner, as_model, epoch_order
from tests.helpers import blobs, compiled_only

TOY = Recipe(hidden=(32,), lr=0.1, epochs=4)
RELU = Recipe(hidden=(16, 8), rule="backprop", activation="relu", init="he", inputs="ink", lr=0.02, epochs=4)
SMOOTH = RELU.replace(label_smoothing=0.1, dtype="float64")
# After one step the weights are some 1e6 each, and six layers of them multiply to more than a float32 holds.
DIVERGING = RELU.replace(hidden=(32,) * 6, lr=1e6)


def trained(recipe: Recipe, dataset: Dataset, **options: Any) -> tuple[Network, list[EpochReport]]:
    network = recipe.network(dataset.images.shape[1], len(dataset.classes))
    return network, list(train(network, dataset, recipe, **options))


@compiled_only  # only for the time it takes
@pytest.mark.parametrize("kernel", ["ink", "dense"])
@pytest.mark.parametrize("recipe", [TOY, RELU, SMOOTH], ids=["toy", "relu", "smooth"])
def test_it_learns_what_can_be_learnt(recipe: Recipe, kernel: str) -> None:
    data, test = split(blobs(400), 0.25)
    network, reports = trained(recipe.replace(kernel=kernel), data, test=test)
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
    _, reports = trained(TOY.replace(lr_every=2, lr_decay=0.1), data)
    assert [report.lr for report in reports] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    for report in reports:
        assert report.test_loss is report.test_accuracy is None
        assert report.seconds > 0
        assert report.test_seconds >= 0
        assert report.samples_per_second == pytest.approx(60 / report.seconds)
        assert 0 <= report.accuracy <= 1
        assert set(report.as_dict()) == set(EpochReport.__dataclass_fields__)


def test_accuracy_and_loss_are_those_before_each_sample() -> None:
    """With a learning rate of next to nothing they are those of the untrained network."""
    data, recipe = blobs(50), TOY.replace(lr=1e-30, epochs=1)
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


@compiled_only
@pytest.mark.parametrize("recipe", [TOY, RELU, RELU.replace(schedule="cosine")], ids=["toy", "relu", "cosine"])
def test_taken_up_again_it_ends_with_the_same_bits(recipe: Recipe) -> None:
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


def test_testing_on_the_way_changes_nothing() -> None:
    data = blobs(90)
    assert trained(TOY, data)[0].sha256() == trained(TOY, data, test=blobs(30, seed=1))[0].sha256()


@compiled_only
def test_chunks_tell_how_far_it_is() -> None:
    chunks: list[ChunkReport] = []
    data = blobs(1500)
    _, reports = trained(TOY.replace(epochs=2), data, on_chunk=chunks.append)
    assert {chunk.epoch for chunk in chunks} == {1, 2}
    for epoch in (1, 2):
        mine = [chunk for chunk in chunks if chunk.epoch == epoch]
        assert len(mine) > 1
        done = [chunk.done for chunk in mine]
        assert done == sorted(done)
        assert (done[-1], mine[-1].total) == (1500, 1500)
        assert (mine[-1].loss, mine[-1].accuracy) == (reports[epoch - 1].loss, reports[epoch - 1].accuracy)


def test_what_a_callback_raises_ends_it_and_leaves_a_network_of_use() -> None:
    data = blobs(90)
    network = TOY.network(784, 10)

    def stop(chunk: ChunkReport) -> None:
        if chunk.epoch == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(train(network, data, TOY, on_chunk=stop))
    whole = trained(TOY.replace(epochs=2), data)[0]
    assert network.sha256() == whole.sha256()


@compiled_only
def test_a_training_that_diverges_stops() -> None:
    with pytest.raises(TrainingError, match=r"diverged in epoch 1: .* smaller learning rate than 1e\+06$") as caught:
        trained(DIVERGING, blobs(100))
    assert caught.value.exit_code == 1


@compiled_only
def test_weights_that_overflow_in_the_last_step_are_noticed() -> None:
    """The loss is taken before each step, so that of the last one never shows in it."""
    data, recipe = blobs(10), RELU.replace(hidden=(), lr=1e6, epochs=1)
    network = recipe.network(784, 10)
    network.weights[0][...] = 0
    network.weights[0][:, 3] = np.finfo(np.float32).max
    with pytest.raises(TrainingError, match="diverged in epoch 1"):
        list(train(network, data, recipe))


@compiled_only
def test_weights_too_large_to_be_tested_are_noticed_too() -> None:
    """They are finite, and blank paper does not touch them in training, but the sums of the test overflow."""
    data, recipe = blobs(10), RELU.replace(epochs=1)
    network = recipe.network(784, 10)
    network.weights[0][...] = np.finfo(np.float32).max
    blank = Dataset(np.full((10, 784), 255, dtype=np.uint8), data.labels, data.classes, "blank")
    with pytest.raises(TrainingError, match="diverged in epoch 1"):
        list(train(network, blank, recipe, test=data))


@pytest.mark.parametrize(
    ("sizes", "data", "test", "message"),
    [
        ((784, 10), blobs(0), None, "no images"),
        ((784, 10), blobs(10), blobs(0), "no images"),
        ((783, 10), blobs(10), None, "784 pixels and 10 classes do not fit a network of 783 inputs and 10 outputs"),
        ((784, 9), blobs(10), None, "do not fit"),
        ((784, 10), blobs(10), blobs(10, classes=("a", "b")), "2 classes do not fit"),
    ],
)
def test_data_that_do_not_fit_are_refused(sizes: Any, data: Dataset, test: Dataset | None, message: str) -> None:
    network = Network(sizes).initialise()
    before = network.sha256()
    with pytest.raises(DataError, match=message):
        list(train(network, data, TOY, test=test))
    assert network.sha256() == before


def test_warming_up_changes_nothing() -> None:
    network = RELU.network(784, 10)
    before = network.sha256()
    learner = Learner(network, blobs(20), RELU)
    assert learner.warm_up() > 0
    assert network.sha256() == before
    assert learner.kernel == "ink"
    assert 0.1 < learner.share < 0.4


def test_as_model_carries_classes_and_kind_of_inputs() -> None:
    data = blobs(20)
    network = RELU.network(784, 10)
    model = as_model(network, data, RELU, {"epochs": 3})
    assert (model.classes, model.inputs, model.info) == (data.classes, "ink", {"epochs": 3})
    assert np.array_equal(model.outputs(data.images), run(network, data.images, "ink"))
    assert as_model(network, data, TOY).inputs == "paper"
