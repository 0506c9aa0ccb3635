import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastnn
from fastnn.datasets import load_dataset
from fastnn.errors import ModelError
from fastnn.evaluation.metrics import evaluate
from fastnn.formats import load_model, read_original, save_model, write_original
from fastnn.model import DataCard, Model
from fastnn.recipe import Recipe
from tests.models import model, network


def matrix(rows: int, cols: int, start: float = 0.5, values: str = "values") -> dict[str, Any]:
    numbers = [[start + row - col / 7 for col in range(cols)] for row in range(rows)]
    return {"rows": rows, "cols": cols, values: numbers}


def small() -> dict[str, Any]:
    return {
        "inputs": 3,
        "hidden1": 2,
        "hidden2": 4,
        "outputs": 2,
        "weights_ih1": matrix(2, 3),
        "weights_h1h2": matrix(4, 2),
        "weights_h2o": matrix(2, 4),
        "bias_h1": matrix(2, 1),
        "bias_h2": matrix(4, 1),
        "bias_o": matrix(2, 1),
        "training": {"info": "none", "accuracy": 12.5},
    }


def coding_train() -> dict[str, Any]:
    """Return a network in the format of the Coding Train's library."""
    return {
        "input_nodes": 3,
        "hidden_nodes": 4,
        "output_nodes": 2,
        "weights_ih": matrix(4, 3, values="data"),
        "weights_ho": matrix(2, 4, values="data"),
        "bias_h": matrix(4, 1, values="data"),
        "bias_o": matrix(2, 1, values="data"),
        "learning_rate": 0.1,
        "activation_function": {},
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    return path


def test_the_published_file_is_read_and_repaired(shared: Path) -> None:
    published = read_original(shared / "original" / "NN.json")
    assert (published.repaired, published.place) == (True, "line 544, column 63")
    assert published.training["accuracy"] == 76.8292682927
    first = read_original(shared / "original" / "NN-first.json")
    assert (first.repaired, first.place) == (False, "")
    assert published.model.network.sha256() == first.model.network.sha256()
    content = json.loads((shared / "original" / "NN-first.json").read_bytes())
    network = first.model.network
    assert network.sizes == (784, 200, 40, 10)
    assert network.dtype == np.float64
    for key, weights in zip(("weights_ih1", "weights_h1h2", "weights_h2o"), network.weights, strict=True):
        assert np.array_equal(np.array(content[key]["values"]).T, weights)
    for key, biases in zip(("bias_h1", "bias_h2", "bias_o"), network.biases, strict=True):
        assert np.array_equal(np.array(content[key]["values"])[:, 0], biases)


def test_the_published_network_gets_5337_of_6844_right(shared: Path) -> None:
    result = evaluate(load_model(shared / "original" / "NN.json"), load_dataset(shared / "digits" / "dataset.json"))
    assert (result.correct, result.total) == (5337, 6844)


def test_weights_round_trip_exactly_through_both_formats(shared: Path, tmp_path: Path) -> None:
    before = load_model(shared / "original" / "NN.json")
    save_model(before, tmp_path / "m.safetensors")
    between = load_model(tmp_path / "m.safetensors")
    write_original(between, tmp_path / "again.json")
    after = read_original(tmp_path / "again.json")
    assert before.network.sha256() == between.network.sha256() == after.model.network.sha256()
    assert after.training == before.card.original.training
    assert not after.repaired


def test_float32_weights_survive_the_original_format(tmp_path: Path) -> None:
    before = model(784, 5, 4, 3)
    write_original(before, tmp_path / "m.json")
    after = load_model(tmp_path / "m.json")
    for mine, its in zip(before.network.weights, after.network.weights, strict=True):
        assert np.array_equal(mine.astype(np.float64), its)
    assert set(json.loads((tmp_path / "m.json").read_bytes())) == set(small()) - {"training"}


def test_the_notes_say_how_the_network_was_trained(tmp_path: Path) -> None:
    recipe = Recipe(lr=0.02, lr_decay=0.5, lr_every=5, epochs=60)
    data = DataCard(source="digits", description="digits, cleaned", hash="0")
    trained = model(784, 5, 4, 3).with_card(recipe=recipe, epochs=12, data=data, metrics={"test_accuracy": 0.75})
    write_original(trained, tmp_path / "m.json")
    notes = read_original(tmp_path / "m.json").training
    assert notes == {
        "info": "12 epochs, learningRate 0.02, multiplied by 0.5 every 5 epochs",
        "learning_rate": 0.02,
        "dataset": "digits, cleaned",
        "accuracy": 75.0,
    }
    write_original(load_model(tmp_path / "m.json"), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "m.json").read_bytes()


def test_names_that_the_format_would_lose_are_refused(tmp_path: Path) -> None:
    letters = Model(model(784, 5, 4, 3).networks, ("a", "b", "c"))
    with pytest.raises(ModelError, match="its classes are not 0, 1, 2"):
        write_original(letters, tmp_path / "m.json")


def test_a_network_of_the_coding_train_is_read(tmp_path: Path) -> None:
    loaded = load_model(write(tmp_path / "coding_train.json", coding_train()))
    assert loaded.sizes == (3, 4, 2)
    assert np.array_equal(loaded.network.weights[1], np.array(coding_train()["weights_ho"]["data"]).T)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(small()).encode())
    assert load_model(path).sizes == (3, 2, 4, 2)


@pytest.mark.parametrize(
    ("reason", "unfit"),
    [
        ("several networks", Model((network(784, 4, 3, 2), network(784, 4, 3, 2)), ("a", "b"))),
        ("rule is backprop", model(784, 4, 3, 2, rule="backprop")),
        ("1 hidden layers", model(784, 4, 2)),
        ("inverts pixels", Model((network(784, 4, 3, 2),), ("a", "b"), True)),
        ("normalises", Model((network(784, 4, 3, 2),), ("a", "b"), False, True)),
        ("takes the rows of a table", Model((network(4, 3, 2, 2),), ("a", "b"), takes="rows")),
    ],
)
def test_models_that_the_original_cannot_run_are_not_written(reason: str, unfit: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=reason):
        write_original(unfit, tmp_path / "m.json")
    assert not any(tmp_path.iterdir())


TEXT = json.dumps(small(), indent=1)


def edited(**changes: Any) -> dict[str, Any]:
    return small() | changes


FAULTS: dict[str, tuple[Any, str]] = {
    "truncated": (TEXT[:200], "not valid JSON .* in line"),
    "truncated at the end": (TEXT[:-2], "not valid JSON"),
    "two commas missing": (TEXT.replace(",", "", 2), "not valid JSON .*expected ',' or '}' in line 3, column 2"),
    "a comma missing and more": (TEXT.replace(",", "", 1) + "x", "expected ',' or '}' in line 3"),
    "a comma too many": (TEXT.replace(",", ",,", 1), "not valid JSON"),
    "single quotes": (TEXT.replace('"', "'"), "line 2, column 2"),
    "a missing colon": (TEXT.replace(":", "", 1), "not valid JSON"),
    "NaN": (TEXT.replace("0.5", "NaN", 1), "not valid JSON"),
    "infinity": (TEXT.replace("0.5", "Infinity", 1), "not valid JSON"),
    "too large a number": (TEXT.replace("0.5", "1e999", 1), "not a network"),
    "null, as JavaScript writes NaN": (TEXT.replace("0.5", "null", 1), "got null"),
    "text for a number": (TEXT.replace("0.5", '"a"', 1), "got str"),
    "not in UTF-8": (TEXT.replace("none", "\udcff"), "not a text file in UTF-8"),
    "nested": ('{"inputs":' + "[" * 100_000, "nested too deeply|not valid JSON"),
    "another object": ({"a": 1}, "missing required field inputs"),
    "a missing matrix": ({k: v for k, v in small().items() if k != "bias_o"}, "missing required field bias_o"),
    "no rows": (edited(bias_o=matrix(0, 1)), "not a network"),
    "sizes of 0": (edited(inputs=0), "not a network"),
    "huge sizes": (edited(hidden1=1 << 20), "need 1048576 x 3"),
    "too large sizes": (edited(hidden1=1 << 60), "not a network"),
    "other sizes": (edited(weights_h1h2=matrix(4, 3)), r"weights_h1h2 is 4 x 3, but .* need 4 x 2"),
    "rows not as said": (edited(weights_h1h2=matrix(4, 2) | {"values": [[1, 2]] * 3}), "does not hold 4 rows of 2"),
    "columns not as said": (edited(weights_h1h2=matrix(4, 2) | {"values": [[1, 2, 3]] * 4}), "does not hold 4 rows"),
    "rows of differing lengths": (edited(bias_h1=matrix(2, 1) | {"values": [[1], []]}), "does not hold 2 rows"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_other_faults_are_named(name: str, tmp_path: Path) -> None:
    content, message = FAULTS[name]
    path = tmp_path / "m.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [place for place, letter in enumerate(TEXT) if letter == ","])
def test_any_one_comma_may_be_missing(place: int, tmp_path: Path) -> None:
    whole = load_model(write(tmp_path / "whole.json", TEXT))
    repaired = read_original(write(tmp_path / "m.json", TEXT[:place] + TEXT[place + 1 :]))
    assert repaired.repaired
    assert repaired.model.network.sha256() == whole.network.sha256()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_raises_only_a_model_error(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(json.dumps(data.draw(st.sampled_from([small(), coding_train()]))).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    path = tmp_path / "m.json"
    path.write_bytes(content)
    try:
        said, sizes = "", load_model(path).sizes
    except ModelError as error:
        said, sizes = str(error), (3, 2, 4, 2)
    assert len(sizes) >= 3
    assert "\n" not in said


PARITY = json.loads((Path(__file__).parents[1] / "fixtures" / "parity.json").read_text())


def test_an_exported_file_holds_the_matrices_of_the_originals_javascript(tmp_path: Path) -> None:
    made, initial = network(*PARITY["sizes"], dtype="float64"), PARITY["initial"]
    names = ("ih1", "h1h2", "h2o"), ("h1", "h2", "o")
    for weights, biases, between, of in zip(made.weights, made.biases, *names, strict=True):
        weights[...] = np.transpose(initial[f"weights_{between}"])
        biases[...] = np.ravel(initial[f"bias_{of}"])
    fastnn.export(Model((made,), tuple("0123456789")), tmp_path / "NN.json")
    content = json.loads((tmp_path / "NN.json").read_text())
    for name, recorded in initial.items():
        assert content[name] == {"rows": len(recorded), "cols": len(recorded[0]), "values": recorded}
    # What the JavaScript computed with these matrices.
    outputs = load_model(tmp_path / "NN.json").outputs(np.array(PARITY["images"][:5], np.uint8))
    np.testing.assert_allclose(outputs, PARITY["forward_initial"], rtol=0, atol=1e-12)
