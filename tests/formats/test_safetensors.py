import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnn.datasets import Column
from fastnn.datasets.split import Split
from fastnn.errors import ModelError
from fastnn.formats import load_model, save_model
from fastnn.formats.safetensors import dump_model, read_model, read_with_extra, write_model
from fastnn.model import DataCard, Model, ModelCard, OriginalCard
from fastnn.network import Network
from fastnn.recipe import Recipe
from tests.models import model, network

IMAGES = np.random.default_rng(1).integers(0, 256, (40, 784), dtype=np.uint8)


def changed(content: bytes, **values: Any) -> bytes:
    """Return a copy of a model file with other metadata."""
    header, tensors = parts(content)
    head = json.loads(header["__metadata__"]["fastnn"]) | values
    header["__metadata__"]["fastnn"] = json.dumps(head)
    return joined(header, tensors)


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: dict[str, Any], tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + tensors


MODELS = {
    "original": model(784, 5, 4, 3),
    "float64": model(784, 5, 3, dtype="float64"),
    "relu": model(784, 17, 9, 10, rule="backprop", activation="relu"),
    "tanh, no hidden layer": model(784, 3, rule="backprop", activation="tanh"),
    "several": Model(
        (network(784, 5, 3, rule="backprop", seed=1), network(784, 6, 7, 3, rule="backprop", seed=2)),
        ("ä", "b", '"c"\n'),
        True,
        True,
        ModelCard(
            recipe=Recipe(lr=0.02, hidden=(7, 7)),
            epochs=60,
            data=DataCard(source="a.npz", description="a", hash="0" * 64, split=Split(kind="hash", seed=2)),
            metrics={"accuracy": 0.1 + 0.2},
            original=OriginalCard(file="NN.json", training={"epochs": [60, "x"]}),
            origin_key="",
        ),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_round_trips_through_its_file(name: str, tmp_path: Path) -> None:
    before, path = MODELS[name], tmp_path / "m.safetensors"
    save_model(before, path)
    after = load_model(path)
    assert [n.sha256() for n in after.networks] == [n.sha256() for n in before.networks]
    assert [(n.sizes, n.rule, n.activation, n.dtype) for n in after.networks] == [
        (n.sizes, n.rule, n.activation, n.dtype) for n in before.networks
    ]
    assert (after.classes, after.invert, after.normalise, after.card) == (
        before.classes,
        before.invert,
        before.normalise,
        before.card,
    )
    assert np.array_equal(after.predict_proba(IMAGES), before.predict_proba(IMAGES))


def test_the_same_model_gives_the_same_bytes() -> None:
    metrics = ({"b": 1.5, "é": 2.0}, {"é": 2.0, "b": 1.5})
    one, other = (Model((network(seed=3),), tuple("0123456789"), card=ModelCard(metrics=some)) for some in metrics)
    assert dump_model(one) == dump_model(other)
    assert dump_model(one, extra_tensors={"b": np.ones(2), "a": np.zeros(3)}) == dump_model(
        other, extra_tensors={"a": np.zeros(3), "b": np.ones(2)}
    )


def test_the_tensors_have_plain_names_and_no_padding() -> None:
    tensors = safetensors.numpy.load(dump_model(MODELS["several"]))
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "layers.0.weight": (784, 5),
        "layers.0.bias": (5,),
        "layers.1.weight": (5, 3),
        "layers.1.bias": (3,),
        "members.1.layers.0.weight": (784, 6),
        "members.1.layers.0.bias": (6,),
        "members.1.layers.1.weight": (6, 7),
        "members.1.layers.1.bias": (7,),
        "members.1.layers.2.weight": (7, 3),
        "members.1.layers.2.bias": (3,),
    }
    assert np.array_equal(tensors["layers.0.weight"], MODELS["several"].network.weights[0])


def test_extra_tensors_and_values_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    write_model(model(), path, extra_tensors={"order": np.arange(5)}, extra={"epoch": 3})
    loaded, tensors, extra = read_with_extra(path)
    assert loaded.network.sha256() == model().network.sha256()
    assert tensors["order"].tolist() == [0, 1, 2, 3, 4]
    assert extra == {"epoch": 3}
    assert load_model(path).network.sha256() == model().network.sha256()


def test_a_run_folder_loads_its_model_or_else_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no run folder"):
        load_model(tmp_path)
    save_model(model(seed=1), tmp_path / "checkpoint.safetensors")
    assert load_model(tmp_path).network.sha256() == network(seed=1).sha256()
    save_model(model(seed=2), tmp_path / "model.safetensors")
    assert load_model(str(tmp_path)).network.sha256() == network(seed=2).sha256()


@pytest.mark.parametrize(
    "fields",
    [
        {"metrics": {"x": float("nan")}},
        {"metrics": {"x": np.float32(1)}},
        {"metrics": {"x": "1"}},
        {"metrics": {"\ud800": 1.0}},
        {"epochs": -1},
        {"epochs": 1.5},
        {"seed": 1 << 63},
        {"recipe": {"momentum": 1}},
        {"recipe": {"epochs": 0}},
        {"data": {"source": "x"}},
        {"data": DataCard(source="x", description="x", hash="", split=Split(fraction=2.0))},
        {"original": OriginalCard(file="x", training=object)},
    ],
    ids=range(12),
)
def test_a_card_that_could_not_be_read_back_is_not_written(fields: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(model(), path)
    before = path.read_bytes()
    with pytest.raises(ModelError, match="the model's card is not"):
        save_model(Model((network(),), tuple("0123456789"), card=ModelCard(**fields)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


GOOD = dump_model(model(784, 3, 2))
HEADER, TENSORS = parts(GOOD)
ONE_NETWORK = json.loads(HEADER["__metadata__"]["fastnn"])["networks"][0]


def with_weight(value: float) -> bytes:
    bad = network(784, 3, 2)
    bad.weights[1][0, 0] = value
    return dump_model(Model((bad,), ("0", "1")))


def with_network(**values: Any) -> bytes:
    return changed(GOOD, networks=[ONE_NETWORK | values])


def without(name: str) -> bytes:
    tensors = safetensors.numpy.load(GOOD)
    del tensors[name]
    return safetensors.numpy.save(tensors, HEADER["__metadata__"])


def with_tensor(name: str, value: np.ndarray) -> bytes:
    return safetensors.numpy.save(safetensors.numpy.load(GOOD) | {name: value}, HEADER["__metadata__"])


DAMAGED = {
    "empty": (b"", "the file is empty"),
    "text": (b"a model, honestly", "neither a model"),
    "a header and no more": (GOOD[:8], "neither a model"),
    "truncated in the header": (GOOD[:100], "not a whole safetensors file"),
    "truncated by a byte": (GOOD[:-1], "not a whole safetensors file"),
    "a byte too many": (GOOD + b"\0", "not a whole safetensors file"),
    "a header of 4 GB": (struct.pack("<Q", (1 << 32) - 1) + GOOD[8:], "a header of 4,294,967,295 bytes"),
    "metadata of another program": (safetensors.numpy.save({"a": np.zeros(3)}, {"format": "pt"}), "not a model of"),
    "no metadata": (safetensors.numpy.save({"a": np.zeros(3)}), "not a model of fastnn"),
    "metadata: no JSON": (joined({**HEADER, "__metadata__": {"fastnn": "{"}}, TENSORS), "damaged metadata"),
    "metadata: no object": (joined({**HEADER, "__metadata__": {"fastnn": "[]"}}, TENSORS), "damaged metadata"),
    "metadata: nested": (joined({**HEADER, "__metadata__": {"fastnn": "[" * 10**5}}, TENSORS), "damaged metadata"),
    "a newer format": (changed(GOOD, format=4, news=True), r"written by a newer fastnn \(format 4\); upgrade"),
    "format 0": (changed(GOOD, format=0), "unknown format 0"),
    "an unknown key": (changed(GOOD, colour="red"), "unknown field colour"),
    "no network": (changed(GOOD, networks=[]), "damaged metadata"),
    "a class too many": (changed(GOOD, names=["0", "1", "2"]), "do not fit"),
    "names that are numbers": (changed(GOOD, names=[0, 1]), "damaged metadata"),
    "unknown inputs": (changed(GOOD, invert="glass"), "damaged metadata"),
    "a card with an unknown key": (changed(GOOD, card={"colour": "red"}), "unknown field colour"),
    "a card with an impossible recipe": (changed(GOOD, card={"recipe": {"lr": -1}}), "damaged metadata"),
    "a recipe whose fields do not fit each other": (
        changed(GOOD, card={"recipe": {"alpha": 0.1}}),
        "rule original has neither",
    ),
    "a card with epochs beyond all bounds": (changed(GOOD, card={"epochs": 10**30}), "damaged metadata"),
    "a card with a million metrics": (
        changed(GOOD, card={"metrics": {str(k): 0.0 for k in range(10**5)}}),
        "damaged metadata",
    ),
    "a card with a long text": (
        changed(GOOD, card={"data": {"source": "x" * 10**6, "description": "", "hash": ""}}),
        "damaged metadata",
    ),
    "a card nested deeply": (
        joined({**HEADER, "__metadata__": {"fastnn": '{"format":3,"card":{"original":' + "[" * 10**5}}, TENSORS),
        "damaged metadata",
    ),
    "a split of another kind": (
        changed(GOOD, card={"data": {"source": "", "description": "", "hash": "", "split": {"kind": "even"}}}),
        "Invalid enum value",
    ),
    "unknown rule": (with_network(rule="luck"), "damaged metadata"),
    "rule original with tanh": (with_network(activation="tanh"), "rule original has sigmoid"),
    "unknown dtype": (with_network(dtype="float16"), "unknown dtype 'float16'"),
    "another dtype": (with_network(dtype="float64"), "is F32 of shape .*not F64"),
    "other sizes": (with_network(sizes=[784, 4, 2]), r"is F32 of shape \[.*\], not F32 of shape \[.*4"),
    "sizes of 0": (with_network(sizes=[784, 0, 2]), "damaged metadata"),
    "huge sizes": (with_network(sizes=[784, 1 << 20, 1 << 20, 2]), "the tensor layers.0.weight is F32 of shape"),
    "larger sizes": (with_network(sizes=[784, 1 << 40, 2]), "damaged metadata"),
    "one size": (with_network(sizes=[784]), "damaged metadata"),
    "a missing tensor": (without("layers.1.bias"), "the tensor layers.1.bias is missing"),
    "a tensor too many": (with_tensor("layers.2.weight", np.zeros(3)), "1 tensors that the sizes do not need"),
    "NaN": (with_weight(np.nan), "NaN or infinity"),
    "infinity": (with_weight(-np.inf), "NaN or infinity"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_described_in_one_line(name: str, tmp_path: Path) -> None:
    content, message = DAMAGED[name]
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_model_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    wide = Network(((1 << 20) + 1, 1), rule="backprop", output="identity")
    with pytest.raises(ModelError, match=r"does not fit into a model file .*networks\[0\]\.sizes"):
        write_model(Model((wide,), ("y",), takes="rows"), tmp_path / "a")
    for n, fits in ((260, True), (1030, False)):
        columns = tuple(Column(f"{i:65536}") for i in range(n))
        model = Model((Network((n, 1), rule="backprop", output="identity"),), ("y",), takes="rows", columns=columns)
        if fits:
            write_model(model, tmp_path / "b")
            assert read_model(tmp_path / "b").columns == columns
        else:
            with pytest.raises(ModelError, match="the names of its columns and outputs are too long"):
                write_model(model, tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        load_model(tmp_path / "none.safetensors")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_raises_only_a_model_error(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(GOOD)
    limit = data.draw(st.sampled_from([600, len(content)])) - 1
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, limit))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        said, sizes = "", load_model(path).sizes
    except ModelError as error:
        said, sizes = str(error), (784, 3, 2)
    assert len(sizes) >= 2
    assert "\n" not in said
