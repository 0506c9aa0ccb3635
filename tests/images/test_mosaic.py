"""The mosaic of a data set, and its command."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from fastnn.datasets import Dataset
from fastnn.errors import DataError
from fastnn.images.mosaic import MAX_TILES, mosaic, save_png
from tests.helpers import invoke


def grey(n, classes=("a", "b")):
    """Return `n` images, the i-th with grey level i everywhere, of alternating classes."""
    images = np.repeat(np.arange(n, dtype=np.uint8)[:, None], 784, axis=1)
    return Dataset(images, np.arange(n) % len(classes), classes, "grey")


def names(folder):
    return [path.name for path in folder.iterdir()]


def tiles(pixels):
    """Return the grey level of each tile, which must have only one."""
    rows, columns = pixels.shape[0] // 28, pixels.shape[1] // 28
    parts = pixels.reshape(rows, 28, columns, 28).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    assert (parts == parts[:, :, :1]).all()
    return parts[:, :, 0]


def test_each_digit_once_in_random_order():
    shown = tiles(mosaic(grey(20), 4, 5))
    assert shown.shape == (4, 5)
    assert sorted(shown.ravel()) == list(range(20))
    assert shown.ravel().tolist() != list(range(20))


def test_fewer_tiles_than_digits():
    shown = tiles(mosaic(grey(50), 2, 3)).ravel()
    assert len(set(shown.tolist())) == 6
    assert max(shown) < 50


def test_fewer_digits_than_tiles_leave_paper():
    shown = tiles(mosaic(grey(5), 2, 4)).ravel()
    assert sorted(shown[:5]) == [0, 1, 2, 3, 4]
    assert (shown[5:] == 255).all()


def test_tiles_show_the_pixels_of_the_images():
    image = np.arange(784, dtype=np.uint16).astype(np.uint8)[None]
    dataset = Dataset(image, np.zeros(1, dtype=np.int64), ("a",), "one")
    assert (mosaic(dataset, 1, 1) == image.reshape(28, 28)).all()


def test_the_seed_sets_the_order():
    assert (mosaic(grey(30), 5, 6, seed=1) == mosaic(grey(30), 5, 6, seed=1)).all()
    assert (mosaic(grey(30), 5, 6, seed=1) != mosaic(grey(30), 5, 6, seed=2)).any()


def test_one_class():
    shown = tiles(mosaic(grey(12), 2, 3, klass="b")).ravel()
    assert sorted(shown) == [1, 3, 5, 7, 9, 11]


@pytest.mark.parametrize(
    ("n", "rows", "columns", "expected"),
    [
        (1, None, None, (1, 1)),
        (10, None, None, (3, 4)),
        (9, None, None, (3, 3)),
        (10_000, None, None, (40, 40)),
        (10, 5, None, (5, 2)),
        (10, None, 3, (4, 3)),
        (10_000, 2, None, (2, 40)),
        (10_000, None, 100, (40, 100)),
        (10, 7, 7, (7, 7)),
    ],
)
def test_default_sizes_fit_the_number_of_images(n, rows, columns, expected):
    dataset = Dataset(np.zeros((n, 784), dtype=np.uint8), np.zeros(n, dtype=np.int64), ("a",), "black")
    pixels = mosaic(dataset, rows, columns)
    assert pixels.shape == (28 * expected[0], 28 * expected[1])
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"rows": 0}, "rows"),
        ({"columns": -3}, "columns"),
        ({"rows": 10**12}, "rows"),
        ({"rows": MAX_TILES, "columns": MAX_TILES}, "too large"),
        ({"klass": "c"}, "grey: has no class 'c'; its classes are a, b"),
        ({"klass": ""}, "no class"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_sizes_are_refused(options, fault):
    with pytest.raises(DataError, match=fault) as caught:
        mosaic(grey(6), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("klass", [None, "b"])
def test_without_images_it_is_refused(klass):
    with pytest.raises(DataError, match="no image to show"):
        mosaic(grey(2).take([0] if klass else []), klass=klass)


def test_the_png_holds_the_picture(tmp_path):
    pixels = mosaic(grey(12), 3, 4)
    save_png(pixels, tmp_path / "out.PNG")
    with Image.open(tmp_path / "out.PNG") as image:
        assert image.format == "PNG"
        assert image.mode == "L"
        assert (np.asarray(image) == pixels).all()


def test_an_existing_png_is_kept(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    pixels = mosaic(grey(1))
    with pytest.raises(DataError, match="already"):
        save_png(pixels, path)
    assert path.read_bytes() == b"old"
    save_png(pixels, path, force=True)
    with Image.open(path) as image:
        assert image.size == (28, 28)
    assert names(tmp_path) == ["out.png"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [("out.jpg", "png"), ("out", "png"), ("none/out.png", "folder"), ("folder.png", "is a folder")],
)
def test_bad_targets_are_refused(tmp_path, name, fault):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=fault) as caught:
        save_png(mosaic(grey(1)), tmp_path / name, force=True)
    assert str(tmp_path / name) in str(caught.value)
    assert names(tmp_path) == ["folder.png"]


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"out\.png: cannot be written \(No space left on device\)"):
        save_png(mosaic(grey(1)), tmp_path / "out.png")
    assert names(tmp_path) == []


@pytest.fixture
def run(tmp_path):
    """Run ``fastnn data mosaic`` on twelve digits in an .npz file."""
    source = tmp_path / "data.npz"
    images = np.random.default_rng(0).integers(0, 255, (12, 784)).astype(np.uint8)
    np.savez(source, images=images, labels=np.arange(12) % 10)

    def run(*arguments):
        return invoke(["data", "mosaic", str(source), *map(str, arguments)])

    return run


def test_the_command_writes_a_picture(run, tmp_path):
    out = tmp_path / "out.png"
    result = run(out, "--rows", 2, "--columns", 3, "--seed", 5)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{out}: 2 rows of 3 tiles, 84 x 56 pixels"
    with Image.open(out) as image:
        assert image.size == (84, 56)


def test_the_command_shows_one_class(run, tmp_path):
    assert run(tmp_path / "out.png", "--class", "1").exit_code == 0
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (56, 28)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["out.png", "--class", "x"], "no class 'x'"),
        (["out.png", "--rows", "0"], "rows"),
        (["out.gif"], "png"),
        (["no/out.png"], "folder"),
        (["there.png"], "--force"),
    ],
)
def test_the_command_fails_in_one_line(run, tmp_path, monkeypatch, arguments, fault):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").write_bytes(b"old")
    result = run(*arguments)
    assert result.exit_code == 2
    assert fault in result.stderr
    assert result.stderr.count("\n") == 1
    assert not result.stdout
    assert (tmp_path / "there.png").read_bytes() == b"old"


def test_the_command_replaces_a_file_only_with_force(run, tmp_path):
    out = tmp_path / "out.png"
    assert run(out).exit_code == 0
    assert run(out).exit_code == 2
    assert run(out, "--force").exit_code == 0
