import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fastnn.cli import predict
from fastnn.errors import ModelError
from fastnn.formats import save_model
from fastnn.images import normalise_picture
from fastnn.model import Model, ModelCard, evidence
from fastnn.recognition import predict_files
from tests.helpers import invoke
from tests.models import DIGITS, jpeg, model, network, png, seven

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
    result = invoke(["predict", "m.safetensors", *files, "--json"])
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
        assert set(item) == {"file", "index", "label", "probabilities", "doubtful", "reason", "box"}
        assert item["doubtful"] == (item["reason"] is not None)
        assert sum(item["probabilities"]) == pytest.approx(1)
        assert item["label"] == DIGITS[int(np.argmax(item["probabilities"]))]


def test_the_table_names_label_and_runner_up() -> None:
    order = np.argsort(-model().predict_proba(SEVEN.ravel())[0])
    result = invoke(["predict", "m.safetensors", "7.png"])
    assert result.exit_code == 0, result.output
    (row,) = (line for line in result.stdout.splitlines() if "7.png" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[:3] == ["7.png", "0", str(order[0])]
    assert cells[4] == str(order[1])


def test_white_on_black_is_inverted_unless_polarity_is_given() -> None:
    Path("dark.png").write_bytes(png(255 - SEVEN))
    Path("dark.json").write_text(json.dumps((255 - SEVEN).ravel().tolist()))
    found = predict_files("m.safetensors", ["7.png", "dark.png", "dark.json"])
    light, dark, dark_json = (one.digit.image for one in found.predictions)
    assert np.array_equal(light, dark)
    assert np.array_equal(light, dark_json)
    (unchanged,) = predict_files("m.safetensors", ["dark.png"], "dark-on-light").predictions
    assert np.array_equal(unchanged.digit.image, 255 - light)
    result = invoke(["predict", "m.safetensors", "7.png", "--polarity", "sideways"])
    assert result.exit_code == 2


def test_show_draws_what_the_network_sees() -> None:
    save_model(Model((network(),), DIGITS, True, True), "n.safetensors")
    result = invoke(["predict", "n.safetensors", "7.png", "--show"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("7.png, image 0: ")
    ink = np.zeros((28, 28), bool)
    for row, line in enumerate(lines[1:15]):
        for column, block in enumerate(line.ljust(28)):
            ink[2 * row, column], ink[2 * row + 1, column] = block in "▀█", block in "▄█"
    assert np.array_equal(ink, normalise_picture(SEVEN).reshape(28, 28) < 128)


def test_show_keeps_standard_output_for_json() -> None:
    result = invoke(["predict", "m.safetensors", "7.png", "--show", "--json"])
    assert len(result.stdout.splitlines()) == 1
    assert len(result.stderr.splitlines()) == 15


def test_show_uses_greys_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(predict, "out", lambda: Console(file=file, force_terminal=True, color_system="truecolor"))
    assert invoke(["predict", "m.safetensors", "7.png", "--show"]).exit_code == 0
    assert "\x1b[38;2;0;0;0;48;2;0;0;0m▀" in file.getvalue()
    assert "\x1b[38;2;255;255;255;48;2;255;255;255m▀" in file.getvalue()


def test_a_model_with_another_number_of_inputs_is_refused() -> None:
    save_model(model(16, 10), "small.safetensors")
    with pytest.raises(ModelError, match=r"^small\.safetensors: the model takes 16 values"):
        predict_files("small.safetensors", ["7.png"])


def test_what_cannot_be_read_is_reported_and_the_rest_is_answered() -> None:
    Path("some.json").write_text(json.dumps([SEVEN.ravel().tolist(), [255] * 784]))
    Path("faint.png").write_bytes(png(np.where(SEVEN < 128, 245, 255).astype(np.uint8)))
    Path("damaged.png").write_bytes(png(SEVEN)[:80])
    files = ["damaged.png", "some.json", "faint.png", "none.png", "7.png"]
    result = invoke(["predict", "m.safetensors", *files, "--json"])
    assert result.exit_code == 2
    content = json.loads(result.stdout)
    assert [item["file"] for item in content["predictions"]] == ["some.json", "7.png"]
    assert len(content["errors"]) == len(result.stderr.splitlines()) == 4
    damaged, blank, faint, missing = content["errors"]
    assert damaged.startswith("damaged.png: not a complete PNG picture")
    assert blank == "some.json: image 1: nothing is drawn"
    assert faint == "faint.png: the drawing is too faint"
    assert missing.startswith("none.png: ")


def test_several_digits_have_a_line_each_in_reading_order() -> None:
    sheet = np.full((200, 300), 255, np.uint8)
    for top, left in ((10, 20), (10, 120), (110, 60)):
        sheet[top : top + 84, left : left + 84] = np.kron(SEVEN, np.ones((3, 3), np.uint8))
    Path("sheet.png").write_bytes(png(sheet))
    found = predict_files("m.safetensors", ["sheet.png"])
    assert [(one.index, one.digit.box[0] // 30, one.digit.box[1] // 60) for one in found.predictions] == [
        (0, 1, 0),
        (1, 4, 0),
        (2, 2, 2),
    ]
    assert len({one.digit.image.tobytes() for one in found.predictions}) == 1
    text = invoke(["predict", "m.safetensors", "sheet.png"]).stdout
    assert text.count("sheet.png") == 3
    left, top, right, bottom = found.predictions[0].digit.box
    assert f"{right - left}x{bottom - top} at {left}, {top}" in text


def test_a_low_margin_is_doubtful() -> None:
    (one,) = predict_files("m.safetensors", ["7.png"]).predictions
    first, second = sorted(one.digit.probabilities)[:-3:-1]
    assert one.digit.doubtful == (first - second < 0.6)


def test_show_uses_ascii_where_blocks_cannot_be_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(predict, "out", lambda: Console(file=file))
    assert invoke(["predict", "m.safetensors", "7.png", "--show"]).exit_code == 0
    file.seek(0)
    assert "#" in file.read()


def test_what_is_unlike_the_test_images_is_doubtful() -> None:
    row = model().predict_proba(SEVEN.ravel())
    found = float(evidence(row)[0])
    assert found == pytest.approx(np.log(row.max()) - np.log(row).mean())
    for least, is_unlike in ((found + 0.01, True), (found - 0.01, False), (None, False)):
        save_model(replace(model(), card=ModelCard(least_evidence=least)), "known.safetensors")
        (one,) = predict_files("known.safetensors", ["7.png"]).predictions
        assert ("it is unlike the images that the model learned" in one.digit.reasons) == is_unlike
