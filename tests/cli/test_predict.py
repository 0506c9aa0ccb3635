import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fastnn.cli import app, predict
from fastnn.errors import DataError, ModelError
from fastnn.formats import save_model
from fastnn.images import normalise_picture
from fastnn.model import Model
from fastnn.predicting import predict_files
from tests.models import DIGITS, jpeg, model, network, png, seven

runner = CliRunner()
SEVEN = seven()


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(model(), "m.safetensors")
    Path("7.png").write_bytes(png(SEVEN))


def test_pictures_and_json_are_predicted_in_their_order() -> None:
    other = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    other[[0, -1]] = other[:, [0, -1]] = 255
    Path("7.jpg").write_bytes(jpeg(SEVEN, quality=95))
    Path("one.json").write_text(json.dumps(SEVEN.ravel().tolist()))
    Path("object.json").write_text(json.dumps({"image": SEVEN.ravel().tolist(), "label": 7}))
    Path("some.json").write_text(
        json.dumps([SEVEN.ravel().tolist(), {"label": 1, "image": other.ravel().tolist()}, SEVEN.ravel().tolist()])
    )
    files = ["some.json", "7.png", "7.jpg", "one.json", "object.json"]
    result = runner.invoke(app, ["predict", "m.safetensors", *files, "--json"])
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    content = json.loads(result.stdout)
    predictions = content["predictions"]
    assert content["classes"] == list(DIGITS)
    assert [(item["file"], item["index"]) for item in predictions] == [
        *(("some.json", 0), ("some.json", 1), ("some.json", 2)),
        *(("7.png", 0), ("7.jpg", 0), ("one.json", 0), ("object.json", 0)),
    ]
    expected = model().predict_proba(np.stack([SEVEN.ravel(), other.ravel()]))
    for place in (0, 2, 3, 5, 6):
        assert predictions[place]["probabilities"] == expected[0].tolist()
    assert predictions[1]["probabilities"] == expected[1].tolist()
    for item in predictions:
        assert set(item) == {"file", "index", "label", "probabilities"}
        assert sum(item["probabilities"]) == pytest.approx(1)
        assert item["label"] == DIGITS[int(np.argmax(item["probabilities"]))]


def test_the_table_names_label_and_runner_up() -> None:
    order = np.argsort(-model().predict_proba(SEVEN.ravel())[0])
    result = runner.invoke(app, ["predict", "m.safetensors", "7.png"])
    assert result.exit_code == 0, result.output
    (row,) = (line for line in result.stdout.splitlines() if "7.png" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[:3] == ["7.png", "0", str(order[0])]
    assert cells[4] == str(order[1])


def test_white_on_black_is_inverted_unless_polarity_is_given() -> None:
    Path("dark.png").write_bytes(png(255 - SEVEN))
    Path("dark.json").write_text(json.dumps((255 - SEVEN).ravel().tolist()))
    _, (light, dark, dark_json) = predict_files("m.safetensors", ["7.png", "dark.png", "dark.json"])
    assert np.array_equal(light.image, dark.image)
    assert np.array_equal(light.image, dark_json.image)
    _, (unchanged,) = predict_files("m.safetensors", ["dark.png"], "dark-on-light")
    assert np.array_equal(unchanged.image, 255 - light.image)
    result = runner.invoke(app, ["predict", "m.safetensors", "7.png", "--polarity", "sideways"])
    assert result.exit_code == 2


def test_show_draws_what_the_network_sees() -> None:
    save_model(Model((network(),), DIGITS, True, True), "n.safetensors")
    result = runner.invoke(app, ["predict", "n.safetensors", "7.png", "--show"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("7.png, image 0: ")
    ink = np.zeros((28, 28), bool)
    for row, line in enumerate(lines[1:15]):
        for column, block in enumerate(line.ljust(28)):
            ink[2 * row, column], ink[2 * row + 1, column] = block in "▀█", block in "▄█"
    assert np.array_equal(ink, normalise_picture(SEVEN).reshape(28, 28) < 128)


def test_show_keeps_standard_output_for_json() -> None:
    result = runner.invoke(app, ["predict", "m.safetensors", "7.png", "--show", "--json"])
    assert len(result.stdout.splitlines()) == 1
    assert len(result.stderr.splitlines()) == 15


def test_show_uses_greys_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(predict, "out", lambda: Console(file=file, force_terminal=True, color_system="truecolor"))
    assert runner.invoke(app, ["predict", "m.safetensors", "7.png", "--show"]).exit_code == 0
    assert "\x1b[38;2;0;0;0;48;2;0;0;0m▀" in file.getvalue()
    assert "\x1b[38;2;255;255;255;48;2;255;255;255m▀" in file.getvalue()


def test_a_model_with_another_number_of_inputs_is_refused() -> None:
    save_model(model(16, 10), "small.safetensors")
    with pytest.raises(ModelError, match=r"^small\.safetensors: the model takes 16 values"):
        predict_files("small.safetensors", ["7.png"])


def test_blank_images_are_refused() -> None:
    Path("some.json").write_text(json.dumps([SEVEN.ravel().tolist(), [255] * 784]))
    with pytest.raises(DataError, match=r"^some\.json: nothing is drawn on image 1$"):
        predict_files("m.safetensors", ["some.json"])
