"""Bad input through the real command line: one line that names the file, exit code 2, nothing written."""

import gzip
import io
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastnn.formats import write_original
from fastnn.formats.safetensors import dump_model
from fastnn.model import Model
from tests.helpers import invoke
from tests.models import DIGITS, jpeg, model, network, png, seven

PIXELS = seven().ravel().tolist()
MODEL = dump_model(model())


def items(count: int = 20, **changes: Any) -> list[dict[str, Any]]:
    """Return digits in the original's format, all different; `changes` apply to the last one."""
    made = [{"image": [*PIXELS[:-1], 255 - k], "label": k % 10} for k in range(count)]
    made[-1] |= changes
    return made


def digits(count: int = 20, **changes: Any) -> bytes:
    return json.dumps(items(count, **changes)).encode()


def pixel(value: Any) -> list[Any]:
    return [*PIXELS[:99], value, *PIXELS[100:]]


def idx(kind: str, count: int, content: bytes) -> bytes:
    sides = (28, 28) if kind == "images" else ()
    return struct.pack(f">{2 + len(sides)}I", 0x803 if sides else 0x801, count, *sides) + content


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def with_weight(value: float) -> bytes:
    bad = network()
    bad.weights[1][2, 3] = value
    return dump_model(Model((bad,), DIGITS))


def row(label: Any, *values: Any) -> bytes:
    return (",".join(map(str, [label, *values, *PIXELS[len(values) :]])) + "\n").encode()


GOOD_CSV = b"".join(row(k % 10, k) for k in range(20))
NOISE = np.random.default_rng(0).integers(0, 256, (20, 784), dtype=np.uint8)
IMAGES = idx("images", 20, NOISE.tobytes())

# (command with FILE for the bad file, its name, its content)
DATA = ("train", "--data", "FILE", "--epochs", "1", "--hidden", "4", "--out", "run", "--quiet")
EVALUATE = ("evaluate", "FILE", "--data", "good.json")
PREDICT = ("predict", "good.safetensors", "FILE")
IMPORT = ("import", "FILE", "out.safetensors")
RECIPE = ("train", "--data", "good.json", "--recipe", "FILE", "--out", "run", "--quiet")

CASES: dict[str, tuple[tuple[str, ...], str, bytes]] = {
    # Data
    "json: empty": (DATA, "a.json", b""),
    "json: truncated": (DATA, "a.json", digits()[:-300]),
    "json: no digits": (DATA, "a.json", b"[]"),
    "json: another JSON": (DATA, "a.json", b'{"a": 1}'),
    "json: 783 numbers": (DATA, "a.json", digits(image=PIXELS[1:])),
    "json: 256": (DATA, "a.json", digits(image=pixel(256))),
    "json: -1": (DATA, "a.json", digits(image=pixel(-1))),
    "json: 1.5": (DATA, "a.json", digits(image=pixel(1.5))),
    "json: NaN": (DATA, "a.json", digits(image=pixel(float("nan")))),
    "json: 'a'": (DATA, "a.json", digits(image=pixel("a"))),
    "json: label out of range": (DATA, "a.json", digits(label=10)),
    "json: negative label": (DATA, "a.json", digits(label=-1)),
    "json: one class": (DATA, "a.json", json.dumps([item | {"label": 3} for item in items()]).encode()),
    "json: empty test part": (DATA, "a.json", json.dumps([{"image": PIXELS, "label": 1}] * 20).encode()),
    "json.gz: truncated": (DATA, "a.json.gz", gzip.compress(digits())[:-20]),
    "json.gz: not gzipped": (DATA, "a.json.gz", digits()),
    "csv: empty": (DATA, "a.csv", b""),
    "csv: a row too short": (DATA, "a.csv", GOOD_CSV + b"3,1,2\n"),
    "csv: 256": (DATA, "a.csv", GOOD_CSV + row(3, 256)),
    "csv: text": (DATA, "a.csv", GOOD_CSV + row(3, "a")),
    "csv: nan": (DATA, "a.csv", GOOD_CSV + row(3, "nan")),
    "npz: no archive": (DATA, "a.npz", b"no archive"),
    "npz: truncated": (DATA, "a.npz", npz(images=NOISE, labels=np.arange(20))[:-500]),
    "npz: no labels": (DATA, "a.npz", npz(images=NOISE)),
    "npz: fewer labels": (DATA, "a.npz", npz(images=NOISE, labels=np.arange(19))),
    "npz: other sizes": (DATA, "a.npz", npz(images=NOISE[:, :700], labels=np.arange(20) % 10)),
    "npz: NaN": (DATA, "a.npz", npz(images=np.full((20, 784), np.nan), labels=np.arange(20) % 10)),
    "npz: pickled": (DATA, "a.npz", npz(images=np.array([{}] * 20), labels=np.arange(20) % 10)),
    "idx: truncated": (DATA, "a-images-idx3-ubyte", IMAGES[:-1]),
    "idx: no labels": (DATA, "a-images-idx3-ubyte", IMAGES),
    "idx: huge count": (DATA, "a-images-idx3-ubyte", idx("images", 1 << 31, b"")),
    "class folder: a damaged picture": (DATA, "set/3/a.png", png(seven())[:-30]),
    "unknown kind of data": (DATA, "a.txt", b"hello"),
    "evaluate: damaged data": (("evaluate", "good.safetensors", "--data", "FILE"), "a.json", digits()[:-1]),
    "evaluate: an unknown class": (("evaluate", "good.safetensors", "--data", "FILE"), "a.json", digits(label="x")),
    "data info: damaged data": (("data", "info", "FILE"), "a.json", digits()[:-1]),
    "data convert: damaged data": (("data", "convert", "FILE", "out.npz"), "a.json", digits(image=pixel(256))),
    # Models
    "model: empty": (EVALUATE, "a.safetensors", b""),
    "model: text": (EVALUATE, "a.safetensors", b"weights"),
    "model: truncated": (EVALUATE, "a.safetensors", MODEL[:-9]),
    "model: truncated header": (EVALUATE, "a.safetensors", MODEL[:50]),
    "model: NaN": (EVALUATE, "a.safetensors", with_weight(np.nan)),
    "model: infinity": (EVALUATE, "a.safetensors", with_weight(np.inf)),
    "model: a newer format": (EVALUATE, "a.safetensors", MODEL.replace(b'format\\":3', b'format\\":9')),
    "model: other sizes": (EVALUATE, "a.safetensors", dump_model(model(16, 10))),
    "model: a run without a model": (EVALUATE, "run/history.csv", b"epoch\n"),
    "predict: damaged model": (("predict", "FILE", "good.png"), "a.safetensors", MODEL[:-9]),
    "resume: damaged checkpoint": (("train", "--resume", "FILE"), "run/checkpoint.safetensors", MODEL[:-9]),
    "import: empty": (IMPORT, "NN.json", b""),
    "import: truncated": (IMPORT, "NN.json", b"ORIGINAL"),
    "import: another JSON": (IMPORT, "NN.json", digits()),
    "import: a truncated model": (IMPORT, "m.safetensors", MODEL[:-9]),
    "import: an archive cut off": (IMPORT, "m.npz", b"PK\x03\x04" + b"a" * 90),
    "import: no network": (IMPORT, "m.npz", b"GIF89a"),
    # Recipes
    "recipe: empty name": (RECIPE, "a.toml", b'name = ""\n'),
    "recipe: no TOML": (RECIPE, "a.toml", b"epochs 3\n"),
    "recipe: not in UTF-8": (RECIPE, "a.toml", b"name = '\xff'\n"),
    "recipe: an unknown key": (RECIPE, "a.toml", b"epoch = 3\n"),
    "recipe: text for a number": (RECIPE, "a.toml", b"epochs = 'three'\n"),
    "recipe: lr of nan": (RECIPE, "a.toml", b"lr = nan\n"),
    "recipe: negative lr": (RECIPE, "a.toml", b"lr = -0.1\n"),
    "recipe: 0 epochs": (RECIPE, "a.toml", b"epochs = 0\n"),
    "recipe: hidden layers of 0": (RECIPE, "a.toml", b"hidden = [0]\n"),
    # Pictures
    "png: empty": (PREDICT, "a.png", b""),
    "png: truncated": (PREDICT, "a.png", png(seven(90, 90))[:-40]),
    "png: text": (PREDICT, "a.png", b"not a picture"),
    "png: blank": (PREDICT, "a.png", png(np.full((50, 60), 255, np.uint8))),
    "png: too wide": (PREDICT, "a.png", png(np.full((2, 5000), 255, np.uint8))),
    "jpeg: truncated": (PREDICT, "a.jpg", jpeg(seven(90, 90))[:-200]),
    "gif: not read": (PREDICT, "a.gif", b"GIF89a" + bytes(40)),
    "json image: 783 numbers": (PREDICT, "a.json", json.dumps(PIXELS[1:]).encode()),
    "json image: 256": (PREDICT, "a.json", json.dumps(pixel(256)).encode()),
    "json image: 1.5": (PREDICT, "a.json", json.dumps({"image": pixel(1.5)}).encode()),
    "json image: none": (PREDICT, "a.json", b'{"pixels": []}'),
    "json images: one bad": (PREDICT, "a.json", json.dumps([PIXELS, pixel(-1)]).encode()),
    "json images: no images": (PREDICT, "a.json", b"[]"),
    "json images: a number": (PREDICT, "a.json", b"3"),
    "json images: truncated": (PREDICT, "a.json", json.dumps([PIXELS, PIXELS]).encode()[:-9]),
}


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder with one good file of each kind."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    monkeypatch.chdir(work)
    Path("good.safetensors").write_bytes(MODEL)
    Path("good.json").write_bytes(digits())
    Path("good.png").write_bytes(png(seven()))


def folder_contents() -> dict[str, bytes | None]:
    """Return every file and folder below the working folder, with its content."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


def error_line(arguments: list[str], name: str) -> str:
    """Run a command that must fail on `name`, and return its one-line message."""
    before = folder_contents()
    result = invoke(arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    assert lines[0].startswith("fastnn: ")
    assert name in lines[0]
    assert folder_contents() == before
    return lines[0]


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gives_one_line_with_the_file_and_writes_nothing(case: str) -> None:
    arguments, name, content = CASES[case]
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if content == b"ORIGINAL":
        write_original(model(784, 4, 4, 10), path)
        content = path.read_bytes()[:-500]
    path.write_bytes(content)
    # The message names the folder of a run or of class folders.
    typed = str(Path(*path.parts[:1]))
    error_line(
        [typed if argument == "FILE" else argument for argument in arguments], name if path.parts[0] != "run" else "run"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        DATA,
        EVALUATE,
        PREDICT,
        IMPORT,
        ("evaluate", "good.safetensors", "--data", "FILE"),
        ("train", "--resume", "FILE"),
        ("data", "info", "FILE"),
        ("data", "mosaic", "FILE", "out.png"),
    ],
)
def test_missing_files_are_named(arguments: tuple[str, ...]) -> None:
    error_line(["none.json" if argument == "FILE" else argument for argument in arguments], "none.json")


def test_data_with_other_classes_are_named() -> None:
    Path("three.safetensors").write_bytes(dump_model(model(784, 3)))
    error_line(
        ["evaluate", "three.safetensors", "--data", "good.json"], "good.json: the model does not know the class '3'"
    )


def test_an_empty_test_part_is_named() -> None:
    error_line(["train", "--data", "good.json", "--test-fraction", "0", "--out", "run", "--quiet"], "good.json")


@pytest.mark.parametrize("out", ["good.json", "good.json/run"])
def test_a_run_folder_that_cannot_be_created_is_named(out: str) -> None:
    error_line(["train", "--data", "good.json", "--epochs", "1", "--hidden", "4", "--out", out, "--quiet"], out)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_run_folder_is_named() -> None:
    Path("locked").mkdir(mode=0o500)
    error_line(["train", "--data", "good.json", "--epochs", "1", "--hidden", "4", "--out", "locked/run"], "locked/run")


def test_a_run_is_not_overwritten() -> None:
    Path("run").mkdir()
    Path("run/notes").write_text("mine")
    error_line(["train", "--data", "good.json", "--epochs", "1", "--hidden", "4", "--out", "run", "--quiet"], "run")


def test_the_good_files_are_accepted() -> None:
    """The cases above fail because of the bad file, not because of the other files."""
    for arguments in (
        ["evaluate", "good.safetensors", "--data", "good.json"],
        ["predict", "good.safetensors", "good.png"],
        ["train", "--data", "good.json", "--epochs", "1", "--hidden", "4", "--out", "run", "--quiet"],
    ):
        result = invoke(arguments)
        assert result.exit_code == 0, result.output


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 30
