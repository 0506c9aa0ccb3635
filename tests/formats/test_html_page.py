"""The page that a model is exported to: its script computes what the model does. tests/web/browser opens it."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.datasets import Column
from fastnn.datasets.scaling import Scaling
from fastnn.datasets.sparse import SparseRows
from fastnn.errors import ModelError
from fastnn.formats import html_page
from fastnn.formats.export import export
from fastnn.images.normalise import normalise_batch
from fastnn.model import Calibration, Model, ModelCard
from fastnn.recipe import Recipe
from tests.helpers import TIMEOUT
from tests.models import DIGITS, network, row_model, seven

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.network import Network

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed (apt-get install nodejs)")
CALIBRATED = ModelCard(recipe=Recipe(name="of a test"), calibration=Calibration(label_smoothing=0.1))


@pytest.fixture
def only_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Node is the only program on the PATH: it starts ten times faster than Chromium, and runs the same script."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "node").symlink_to(str(NODE))
    monkeypatch.setenv("PATH", str(folder))


def scaled(seed: int, output: str = "softmax", **options: Any) -> Network:
    """Return a network whose outputs are far from 0 and 1."""
    return network(3, 5, 2, seed=seed, rule="backprop", output=output, **options)


def images_model(**options: Any) -> Model:
    card = options.pop("card", ModelCard())
    networks = options.pop("networks", None)
    normalise, invert = options.pop("normalise", False), options.pop("invert", True)
    if networks is None:
        networks = (network(784, 6, 10, **options).initialise("xavier", 1),)
    return Model(networks, DIGITS, invert=invert, normalise=normalise, card=card)


SCALING = Scaling(np.array([5.0, -2.0, 0.0]), np.array([0.5, 2.0, 1.0]))
BACKPROP: dict[str, Any] = {"rule": "backprop"}
KINDS: dict[str, Model] = {
    "original": images_model(invert=False),
    "backprop": images_model(**BACKPROP, activation="relu", invert=False),
    "inverted, normalised, calibrated": images_model(**BACKPROP, activation="relu", normalise=True, card=CALIBRATED),
    "float64": images_model(**BACKPROP, activation="tanh", dtype="float64", normalise=True),
    "ensemble": images_model(
        networks=(
            network(784, 5, 4, 10, **BACKPROP, activation="relu").initialise("xavier", 1),
            network(784, 7, 10, **BACKPROP).initialise("xavier", 2),
            network(784, 10, **BACKPROP, dtype="float64").initialise("xavier", 3),
        ),
        card=CALIBRATED,
    ),
    "ensemble of original": images_model(networks=(network(784, 5, 10, seed=1), network(784, 3, 10, seed=2))),
    "rows": Model((scaled(1),), ("a", "b"), takes="rows"),
    "scaled rows": Model((scaled(1), scaled(2)), ("a", "b"), takes="rows", scaling=SCALING),
    "categories": row_model(),
    "labels": Model((scaled(1, "sigmoid"),), ("a", "b"), takes="rows", scaling=SCALING),
    "numbers": Model((scaled(1, "identity"),), ("a", "b"), takes="rows", scaling=SCALING),
    "scaled numbers": Model(
        (scaled(1, "identity"), scaled(2, "identity")),
        ("a", "b"),
        takes="rows",
        scaling=SCALING,
        target_scaling=Scaling(np.array([100.0, 3.0]), np.array([0.1, 4.0])),
    ),
}


def pictures(n: int = 60, seed: int = 0) -> NDArray[np.uint8]:
    """Return images with drawings of all places, sizes and levels, some of them blank or full."""
    rng = np.random.default_rng(seed)
    made = np.full((n, 28, 28), 255, np.uint8)
    for image in made[4:]:
        height, width = rng.integers(1, 29, 2)
        top, left = rng.integers(0, 29 - height), rng.integers(0, 29 - width)
        grey = rng.integers(0, 256, (height, width)) | (rng.random((height, width)) < rng.random()) * 255
        image[top : top + height, left : left + width] = 255 - (255 - grey) // rng.integers(1, 30)
    made[1] = 0
    made[2] = seven()
    made[3] = np.where(seven() < 128, 130, 200)  # on grey paper
    return made.reshape(n, 784)


def samples_of(model: Model) -> NDArray[Any]:
    return pictures() if model.takes == "images" else np.random.default_rng(0).normal(2.0, 5.0, (50, 3))


@needs_node
@pytest.mark.usefixtures("only_node")
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_answers_as_its_model(tmp_path: Path, kind: str) -> None:
    model = KINDS[kind]
    samples = samples_of(model)
    expected = model.answers(samples)
    path = export(model, tmp_path / "page.html", precision="float32").path
    np.testing.assert_allclose(html_page.run(path, model, samples), expected, rtol=2e-5, atol=1e-6)
    path = export(model, tmp_path / "small.html").path
    found = html_page.run(path, model, samples)
    # Half precision has 11 bits.
    np.testing.assert_allclose(found, expected, atol=0.01 * max(1.0, float(np.abs(expected).max())))
    assert not np.array_equal(found, expected)


@needs_node
@pytest.mark.usefixtures("only_node")
def test_many_samples_are_given_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_page, "_PART", 7 * 784)
    model = KINDS["inverted, normalised, calibrated"]
    path = export(model, tmp_path / "page.html", precision="float32").path
    np.testing.assert_allclose(
        html_page.run(path, model, pictures(15)), model.answers(pictures(15)), rtol=2e-5, atol=1e-6
    )
    assert html_page.run(path, model, pictures(15)[:0]).shape == (0, 10)


@needs_node
@pytest.mark.usefixtures("only_node")
def test_sparse_rows(tmp_path: Path) -> None:
    scipy = pytest.importorskip("scipy.sparse")
    model = KINDS["scaled rows"]
    rows = np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
    path = export(model, tmp_path / "page.html", precision="float32").path
    found = html_page.run(path, model, SparseRows.from_scipy(scipy.csr_matrix(rows)))
    np.testing.assert_allclose(found, model.answers(rows), rtol=1e-5)


def scripts(page: str) -> list[str]:
    """Return the text of each script of a page, as a browser reads it."""
    found: list[str] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
            if tag == "script":
                found.append("")

        def handle_data(self, data: str) -> None:
            if self.get_starttag_text() and str(self.get_starttag_text()).startswith("<script"):
                found[-1] += data if self.cdata_elem else ""

    Reader().feed(page)
    return found


@needs_node
def test_drawings_are_normalised_to_the_same_bits(tmp_path: Path) -> None:
    images = np.concatenate([pictures(400), np.random.default_rng(1).integers(0, 256, (50, 784), dtype=np.uint8)])
    expected, blank = normalise_batch(images, polarity="dark-on-light")
    _, network_script, *_ = scripts(html_page.dump(KINDS["original"], "float16").decode())
    file = tmp_path / "script.js"
    file.write_text(
        f"{network_script}\nconsole.log(JSON.stringify({images.tolist()}.map((image) => normalise(image))));"
    )
    done = subprocess.run([str(NODE), file], capture_output=True, check=True, timeout=TIMEOUT)
    found = json.loads(done.stdout)
    assert [image is None for image in found] == blank.tolist()
    assert 0 < blank.sum() < 300
    shown = [image for image in found if image is not None]
    np.testing.assert_array_equal(np.array(shown, dtype=np.uint8), expected[~blank])


def test_names_cannot_end_their_element(tmp_path: Path) -> None:
    names = ("</script><script>alert(1)</script>", "{{model}}", "<b>&amp;", "<!--<script>", *DIGITS[4:])
    card = ModelCard(recipe=Recipe(name="<i>"), version="0</title>")
    model = Model((network(),), names, card=card)
    page = export(model, tmp_path / "page.html").path.read_text(encoding="utf-8")
    texts = scripts(page)
    assert len(texts) == 4
    assert tuple(json.loads(texts[0])["names"]) == names
    assert "recipe &lt;i&gt;" in page
    assert not re.search(r"<i>|0</title>|{{|}}", page.replace(texts[0], ""))


def test_the_title_has_the_recipe_and_the_accuracy() -> None:
    card = ModelCard(recipe=Recipe(name="sweet"), metrics={"test_accuracy": 0.9876})
    page = html_page.dump(Model((network(),), DIGITS, card=card), "float16").decode()
    assert "<title>Draw a digit – recipe sweet, 98.8% correct on test images</title>" in page
    page = html_page.dump(Model((network(),), (*DIGITS[:9], "x")), "float16").decode()
    assert "<title>Draw an image – recipe unknown, accuracy not measured</title>" in page
    card = ModelCard(metrics={"test_r2": -0.25})
    model = Model((scaled(1, "identity"),), ("a", "b"), takes="rows", card=card)
    page = html_page.dump(model, "float16").decode()
    assert "<title>Predict from a table – recipe unknown, R² -0.250 on test rows</title>" in page


def test_the_page_is_small_and_its_script_readable() -> None:
    model = images_model(networks=(network(784, 200, 40, 10, **BACKPROP),))
    for precision in ("float16", "float32"):
        assert len(html_page.dump(model, precision)) < 1e6
    for kind in (model, KINDS["categories"]):
        _, compute, components, page = scripts(html_page.dump(kind, "float16").decode())
        assert (compute + page).count("\n") < 300
        assert max(map(len, (compute + components + page).splitlines())) < 135
        assert not re.search(r"^(import|export)\b", compute + components + page, re.MULTILINE)


def large_weight(value: float, dtype: str = "float64") -> Model:
    made = network(784, 3, 10, dtype=dtype)
    made.weights[0][5, 1] = value
    return Model((made,), DIGITS)


@pytest.mark.parametrize(
    ("model", "precision", "reason"),
    [
        (Model((network(100, 4, 10),), DIGITS), None, "images of 784 pixels, but the model takes 100; .* as .onnx"),
        (Model((network(101, 4, 10),), DIGITS, takes="rows"), None, "at most 100, but the model takes 101; "),
        (large_weight(1e5), None, "too large for float16; use --precision float32"),
        (large_weight(1e200), "float32", "too large for float32; export it as .npz"),
    ],
)
def test_what_a_page_cannot_hold_is_refused(tmp_path: Path, model: Model, precision: Any, reason: str) -> None:
    path = tmp_path / "page.html"
    with pytest.raises(ModelError, match=f"^{re.escape(str(path))}: .*{reason}"):
        export(model, path, precision=precision)
    assert not path.exists()


def test_too_many_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_page, "_MOST_PARAMETERS", 1000)
    with pytest.raises(ModelError, match=r"^3,190 weights are too many for a page, which holds 1,000"):
        html_page.dump(Model((network(),), DIGITS), "float16")


def test_a_name_of_many_columns_counts_once(tmp_path: Path) -> None:
    columns = (Column("colour", tuple(map(str, range(200)))), Column("a"))
    made = network(201, 2, 2, rule="backprop")
    export(Model((made,), ("x", "y"), takes="rows", columns=columns), tmp_path / "page.html")


def test_without_programs_the_message_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = KINDS["original"]
    path = export(model, tmp_path / "page.html").path
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match=r"neither is on the PATH; install one of them$"):
        html_page.run(path, model, pictures(4))


@pytest.mark.parametrize("name", ["node", "chromium"])
@pytest.mark.parametrize(
    ("script", "reason"),
    [("exit 3", "cannot be run here .*exit code 3"), ("echo '<pre id=\"result\">[1, x</pre>'", "gives no numbers")],
)
def test_a_program_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str, reason: str
) -> None:
    program = tmp_path / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    model = KINDS["original"]
    path = export(model, tmp_path / "page.html").path
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match=reason) as caught:
        html_page.run(path, model, pictures(4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"<script>\nalert(1)\n</script>", b"<p>a page</p>"])
def test_another_page_is_not_run(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="does not write such a page for the model; export it again"):
        html_page.run(path, KINDS["original"], pictures(4))


def test_a_page_with_other_scripts_is_not_run(tmp_path: Path) -> None:
    model = KINDS["original"]
    path = export(model, tmp_path / "page.html").path
    path.write_text(path.read_text(encoding="utf-8").replace("recognise();", "alert(1);"), encoding="utf-8")
    with pytest.raises(ModelError, match="export it again"):
        html_page.run(path, model, pictures(4))
