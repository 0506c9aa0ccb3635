"""Models: from pixels to classes."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from fastnn import Model, Network, Recipe
from fastnn.errors import DataError, ModelError
from fastnn.images import normalise_batch
from fastnn.model import Calibration, DataCard, ModelCard, as_inputs, input_levels

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 784), dtype=np.uint8)
IMAGES[:, ::2] = 255
CLASSES = ("a", "b", "c")


def network(seed: int = 0, rule: Any = "original", dtype: str = "float32") -> Network:
    return Network((784, 9, 3), rule=rule, dtype=dtype).initialise("uniform" if rule == "original" else "he", seed)


@pytest.mark.parametrize("rule", ["original", "backprop"])
@pytest.mark.parametrize("invert", [False, True])
def test_predictions_use_the_models_kind_of_inputs(rule: str, invert: bool) -> None:
    model = Model((network(rule=rule),), CLASSES, invert)
    x = 1 - IMAGES / 255 if invert else IMAGES / 255
    outputs = model.network.outputs(x)
    np.testing.assert_allclose(model.outputs(IMAGES), outputs, rtol=0, atol=1e-5)
    probabilities = model.predict_proba(IMAGES)
    np.testing.assert_allclose(probabilities, outputs / outputs.sum(axis=1, keepdims=True), rtol=0, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert probabilities.dtype == np.float64
    assert model.predict(IMAGES).dtype == np.int64
    assert model.predict(IMAGES).tolist() == outputs.argmax(axis=1).tolist()
    assert model.predict(IMAGES[2]).tolist() == [outputs[2].argmax()]
    assert model.predict(IMAGES[:0]).shape == (0,)


def test_several_networks_predict_the_mean_of_their_probabilities() -> None:
    networks = tuple(network(seed, "backprop") for seed in range(3))
    together = Model(networks, CLASSES).outputs(IMAGES)
    alone = [Model((one,), CLASSES).outputs(IMAGES) for one in networks]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=0, atol=1e-12)
    assert Model(networks, CLASSES).network is networks[0]
    assert Model(networks, CLASSES).sizes == (784, 9, 3)


def test_normalising_models_see_normalised_images() -> None:
    images = np.full((1, 28, 28), 255, dtype=np.uint8)
    images[0, 3:8, 2:5] = 0
    flat = images.reshape(1, 784)
    plain, normalising = Model((network(),), CLASSES), Model((network(),), CLASSES, normalise=True)
    normalised, _ = normalise_batch(flat)
    assert np.array_equal(normalising.outputs(flat), plain.outputs(normalised))
    assert not np.array_equal(normalising.outputs(flat), plain.outputs(flat))


def test_outputs_of_zero_give_equal_probabilities() -> None:
    blank = Network((784, 3), rule="original", dtype="float64")
    blank.biases[0][...] = -1e9
    probabilities = Model((blank,), CLASSES).predict_proba(IMAGES)
    np.testing.assert_allclose(probabilities, 1 / 3, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", "list"])
def test_pixels_may_be_any_whole_numbers(kind: str) -> None:
    model = Model((network(),), CLASSES)
    images = IMAGES.tolist() if kind == "list" else IMAGES.astype(kind)
    assert np.array_equal(model.outputs(images), model.outputs(IMAGES))


BAD_PIXELS: list[tuple[Any, str]] = [
    (np.zeros((2, 783)), "783"),
    (np.zeros(783), "783"),
    (np.zeros((2, 28, 28)), "28"),
    (np.zeros(()), "shape"),
    (np.full((1, 784), 256), "0 to 255"),
    (np.full((1, 784), -1), "0 to 255"),
    (np.full((1, 784), 1.5), "0 to 255"),
    (np.full((1, 784), np.nan), "0 to 255"),
    (np.full((1, 784), np.inf), "0 to 255"),
    (np.full((1, 784), "a"), "0 to 255"),
    (np.full((1, 784), None), "0 to 255"),
    (np.full((1, 784), 1j), "0 to 255"),
    (np.full((1, 784), True), "0 to 255"),
]


@pytest.mark.parametrize(("images", "message"), BAD_PIXELS, ids=[f"{i.shape}-{i.flat[0]}" for i, _ in BAD_PIXELS])
def test_invalid_pixels_are_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Model((network(),), CLASSES).predict(images)


@pytest.mark.parametrize(
    ("networks", "classes", "message"),
    [
        ((), CLASSES, "at least one network"),
        ((Network((4, 3)),), ("a", "b"), "do not fit each other and 2 classes"),
        ((Network((4, 3)), Network((5, 3))), CLASSES, "do not fit each other"),
        ((Network((4, 3)), Network((4, 2))), CLASSES, "do not fit each other"),
    ],
)
def test_inconsistent_networks_and_classes_are_refused(networks: Any, classes: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Model(networks, classes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_grey_levels_are_scaled_in_the_networks_dtype(dtype: str) -> None:
    grey = np.arange(256)
    kind = np.dtype(dtype)
    assert np.array_equal(input_levels(False, kind), grey.astype(kind) / kind.type(255))
    assert np.array_equal(input_levels(True, kind), (255 - grey).astype(kind) / kind.type(255))
    assert input_levels(True, kind)[[0, 255]].tolist() == [1, 0]
    assert np.array_equal(as_inputs(IMAGES, False, kind), input_levels(False, kind)[IMAGES])


def test_memory_grows_in_proportion_to_the_network() -> None:
    """A small file may name many classes: memory must not grow with the square of their number."""
    classes = 4000
    model = Model((Network((1, classes)).initialise(),), tuple(map(str, range(classes))))
    image = np.array([[7]], dtype=np.uint8)
    Model(model.networks, model.classes).predict(image)  # may compile
    tracemalloc.start()
    try:
        model.predict(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("invert", [False, True])
def test_frozen_networks_predict_the_same(invert: bool) -> None:
    made = network(), network(1)
    rng = np.random.default_rng(0)
    # Alternately mostly white and mostly dark: sparse and dense first layers.
    images = [np.where(rng.random((5, 784)) < share, 0, 255).astype(np.uint8) for share in (0.1, 0.9, 0.1, 0.2, 0.9)]
    before = [Model(made, CLASSES, invert).outputs(each) for each in images]
    for one in made:
        one.freeze()
    model = Model(made, CLASSES, invert)
    for each, expected in zip(images, before, strict=True):
        assert np.array_equal(model.outputs(each), expected)
    for array in (made[0].parameters, made[0].weights[1], made[0].biases[0]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert made[0].frozen
    copy = made[0].copy()
    copy.parameters[0] = 1
    assert not copy.frozen


def test_the_networks_of_a_model_cannot_be_changed() -> None:
    made = network()
    model = Model((made, network(1)), CLASSES)
    image = IMAGES[0]
    before = model.outputs(image)
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301 - made here
    for one in (*model.networks, *copy.networks, made):
        for array in (one.parameters, one.weights[1], one.biases[0]):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
    assert np.array_equal(copy.outputs(image), before)
    assert np.array_equal(model.outputs(image), before)
    copy = made.copy()
    copy.biases[-1][0] += 1
    assert not np.array_equal(Model((copy, network(1)), CLASSES).outputs(image), before)


def test_a_card_is_changed_in_a_copy_of_the_model() -> None:
    model = Model((network(),), CLASSES, card=ModelCard(epochs=3, version="1"))
    changed = model.with_card(epochs=4, metrics={"test_accuracy": 0.5})
    assert changed.card == ModelCard(epochs=4, version="1", metrics={"test_accuracy": 0.5})
    assert model.card == ModelCard(epochs=3, version="1")
    assert np.array_equal(changed.outputs(IMAGES), model.outputs(IMAGES))
    assert Model((network(),), CLASSES).card == ModelCard()


def test_threads_can_predict_at_the_same_time() -> None:
    model = Model((network(), network(1)), CLASSES)
    images = np.random.default_rng(0).integers(0, 256, (64, model.sizes[0]), dtype=np.uint8)
    expected = [model.outputs(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for got, wanted in zip(pool.map(model.outputs, images), expected, strict=True):
                assert np.array_equal(got, wanted)


def test_the_notebook_table_escapes_names() -> None:
    recipe = Recipe(name="<script>", hidden=(4,), epochs=3)
    data = DataCard(source="x", description="<b>&", hash="0")
    card = ModelCard(recipe=recipe, epochs=3, data=data, metrics={"test_accuracy": 0.5})
    shown = Model((Network((784, 4, 2)),), ("<i>", "b"), card=card)._repr_html_()
    for text in ("784-4-2", "&lt;script&gt;", "&lt;b&gt;&amp;", "&lt;i&gt;, b", "test accuracy", "0.5000"):
        assert text in shown
    for text in ("<script", "<b>", "<i>"):
        assert text not in shown
    many = tuple(str(k) for k in range(2000))
    assert len(Model((Network((784, 4, 2000)),), many)._repr_html_()) < 1000


def test_memory_order_does_not_matter() -> None:
    """Five inputs are padded to sixteen, 784 are not."""
    for width in (5, 784):
        images = np.random.default_rng(2).integers(0, 256, (9, width), dtype=np.uint8)
        model = Model((Network((width, 3)).initialise(),), CLASSES[:3])
        expected = model.outputs(images)
        for same in (np.asfortranarray(images), np.repeat(images, 2, axis=0)[::2], images[::-1][::-1]):
            assert np.array_equal(model.outputs(same), expected)


def test_a_prediction_does_not_keep_the_images() -> None:
    model = Model((Network((784, 3)).initialise(),), CLASSES[:3])
    images = np.zeros((3, 784), np.uint8)
    alive = weakref.ref(images)
    model.predict(images)
    del images
    gc.collect()
    assert alive() is None


def test_label_smoothing_is_undone_in_the_probabilities_alone() -> None:
    outputs = np.array([[0.905, 0.005, 0.005, 0.085], [0.025, 0.025, 0.925, 0.025], [0.4, 0.3, 0.2, 0.1]])
    undone = Calibration(label_smoothing=0.1).apply(outputs)
    # (p - 0.1 / 4) / 0.9, at least 0.0001.
    expected = [[88 / 90, 1e-4, 1e-4, 6 / 90], [1e-4, 1e-4, 1.0, 1e-4], [37.5 / 90, 27.5 / 90, 17.5 / 90, 7.5 / 90]]
    np.testing.assert_allclose(undone, np.array(expected) / np.sum(expected, axis=1, keepdims=True), rtol=1e-12)
    assert np.array_equal(undone.argmax(axis=1), outputs.argmax(axis=1))

    images = np.random.default_rng(0).integers(0, 256, (20, 784), dtype=np.uint8)
    plain = Model((Network((784, 4, 10), rule="backprop").initialise("xavier"),), tuple("0123456789"))
    calibrated = plain.with_card(calibration=Calibration(label_smoothing=0.1))
    assert np.array_equal(calibrated.outputs(images), plain.outputs(images))
    assert np.array_equal(calibrated.predict(images), plain.predict(images))
    by_hand = Calibration(label_smoothing=0.1).apply(plain.predict_proba(images))
    assert np.array_equal(calibrated.predict_proba(images), by_hand)


def test_only_classes_are_calibrated() -> None:
    regression = Network((3, 2, 1), rule="backprop", output="identity").initialise("xavier")
    with pytest.raises(ModelError, match="has no label smoothing to undo"):
        Model((regression,), ("y",), takes="rows", card=ModelCard(calibration=Calibration(label_smoothing=0.1)))
