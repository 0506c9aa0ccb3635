"""The built-in digits: counts, reproducibility, and similarity to digits that people drew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fastnn.datasets import drawn as module
from fastnn.datasets import load_dataset
from fastnn.datasets.drawn import COUNTS, MAX_DIGITS, choose_styles, drawn
from fastnn.datasets.skeletons import STYLES, skeleton_of
from fastnn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

# Share of pixels that are not white, measured on 6,844 real digits, by class.
REAL_SHARE = (0.215, 0.117, 0.211, 0.207, 0.187, 0.214, 0.206, 0.185, 0.249, 0.220)
REAL_HEIGHT = (19, 20, 20, 20, 21, 20, 20, 20, 21, 21)
REAL_WIDTH = (15, 8, 16, 14, 15, 15, 13, 15, 14, 13)


@pytest.fixture(scope="module")
def full():
    return drawn()


@pytest.fixture(scope="module")
def few():
    return drawn(60, seed=1)


def spans(dataset, axis):
    """Return the number of rows (axis 2) or columns (axis 1) from the first to the last with ink."""
    used = (dataset.images.reshape(-1, 28, 28) < 255).any(axis=axis)
    return 28 - used[:, ::-1].argmax(axis=1) - used.argmax(axis=1)


def centred(images):
    """Return images with the centre of mass moved to the middle by whole pixels, scaled to unit length."""
    ink = 255.0 - images.reshape(-1, 28, 28)
    moved = np.empty_like(ink)
    for i, image in enumerate(ink):
        y = 13.5 - image.sum(axis=1) @ np.arange(28) / image.sum()
        x = 13.5 - image.sum(axis=0) @ np.arange(28) / image.sum()
        moved[i] = np.roll(image, (round(y), round(x)), axis=(0, 1))
    flat = moved.reshape(len(ink), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def test_a_data_set_of_digits(few):
    assert few.images.shape == (60, 784)
    assert few.classes == tuple("0123456789")
    assert few.source == "drawn (built in, seed 1)"
    assert few.test is None


def test_the_default_has_the_numbers_of_the_original(full):
    assert len(full) == 13_942
    assert full.counts.tolist() == list(COUNTS)
    assert full.source == "drawn (built in, seed 0)"


@pytest.mark.parametrize("n", [1, 2, 7, 10, 33])
def test_classes_are_in_proportion_for_other_sizes(n):
    counts = drawn(n).counts
    assert counts.sum() == n
    assert np.abs(counts - n * np.array(COUNTS) / sum(COUNTS)).max() < 1


def test_same_seed_same_digits(few):
    again, other = drawn(60, seed=1), drawn(60, seed=2)
    assert again.content_hash == few.content_hash
    assert other.content_hash != few.content_hash


def test_the_digits_of_a_seed_never_change():
    """Models identify their data by this hash: an intended change belongs in the changelog."""
    assert drawn(40, seed=3).content_hash == "bdad23aabfbb1365a22d05fe4f3dced8a5b8275712328ce0b7a8340f5f5c0aee"


def test_random_order(few):
    assert (np.diff(few.labels) < 0).sum() > 10


@pytest.mark.parametrize("n", [0, -1, MAX_DIGITS + 1, 10**30])
def test_impossible_numbers_are_refused(n):
    with pytest.raises(DataError, match=r"^drawn: cannot draw .* digits"):
        drawn(n)


def test_a_negative_seed_is_refused():
    with pytest.raises(DataError, match="seed"):
        drawn(5, seed=-1)


def test_no_drawing_is_blank_or_black():
    share = (drawn(13_942, seed=4).images < 255).mean(axis=1)
    assert share.min() > 0.005
    assert share.max() < 0.8


def test_styles_with_thousands_of_digits_are_drawn_wholly():
    assert ((drawn(40_000, seed=5).images < 255).mean(axis=1) > 0.005).all()


def test_about_one_label_in_a_hundred_is_wrong():
    labels = np.repeat(np.arange(10), 2000)
    styles = choose_styles(labels, np.random.default_rng(0))
    shown = np.array([style[0] for style in STYLES])[styles]
    assert 0.004 < (shown[shown < 10] != labels[shown < 10]).mean() < 0.011
    assert 0.001 < (shown == 10).mean() < 0.006
    # Every style is used, even the rarest.
    assert set(styles.tolist()) == set(range(len(STYLES)))


def test_shares_of_the_styles_sum_to_one():
    for digit in range(11):
        shares = [share for kind, share, _ in STYLES if kind == digit]
        assert sum(shares) == pytest.approx(1.0), digit


@pytest.mark.parametrize("style", range(len(STYLES)))
def test_skeletons_are_joined_through_their_points(style):
    skeleton = skeleton_of(style)
    # Moving all points moves the path by the same, and strokes begin and end at points of the skeleton.
    for matrix in (skeleton.sharp, skeleton.round, skeleton.tremor, skeleton.drift):
        assert len(matrix) == skeleton.starts[-1]
        assert matrix.sum(axis=1) == pytest.approx(1.0)
    path = skeleton.sharp @ skeleton.points
    for point in skeleton.points:
        assert np.abs(path - point).sum(axis=1).min() < 1e-12
    strokes = STYLES[style][2].count("|") + 1
    assert len(skeleton.starts) == strokes + 1
    assert path[0] == pytest.approx(skeleton.points[0])
    assert path[-1] == pytest.approx(skeleton.points[-1])


def test_ink_is_near_the_real_digits(full):
    share = (full.images < 255).mean(axis=1)
    for digit, real in enumerate(REAL_SHARE):
        assert share[full.labels == digit].mean() == pytest.approx(real, rel=0.1), digit


def test_sizes_are_near_the_real_digits(full):
    tall, wide = spans(full, 2), spans(full, 1)
    for digit in range(10):
        own = full.labels == digit
        assert abs(np.median(tall[own]) - REAL_HEIGHT[digit]) <= 1, digit
        assert abs(np.median(wide[own]) - REAL_WIDTH[digit]) <= 1, digit
    assert np.percentile(tall, [10, 90]) == pytest.approx([16, 24], abs=1)


def test_digits_are_roughly_centred(full):
    used = (full.images.reshape(-1, 28, 28) < 255).any(axis=2)
    middle = (used.argmax(axis=1) + 27 - used[:, ::-1].argmax(axis=1)) / 2
    assert np.median(middle) == pytest.approx(13.5, abs=0.5)
    assert middle.std() == pytest.approx(1.57, rel=0.15)


def test_nearest_drawn_digits_classify_real_digits(full, shared):
    """The nearest drawn digit has the label of a real digit: people use these styles."""
    records = json.loads((shared / "digits" / "dataset.json").read_bytes())[::9]
    images = np.array([record["image"] for record in records], dtype=np.uint8)
    labels = np.array([record["label"] for record in records])
    known = full.take(np.arange(4000))
    nearest = (centred(images) @ centred(known.images).T).argmax(axis=1)
    assert (known.labels[nearest] == labels).mean() > 0.85


def test_the_built_in_set_is_drawn_once(full, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))
    drawings = []
    monkeypatch.setattr(module, "drawn", lambda: drawings.append(1) or full)
    first, second = load_dataset("drawn"), load_dataset("drawn")
    assert drawings == [1]
    assert first.content_hash == second.content_hash == full.content_hash
    assert first.source == second.source == full.source
    assert full.content_hash == "20e8e68e59cbbbcb59308c807cf293b9594a42b3f18666b00289da1aace9dd45"


def test_number_and_seed_can_follow_the_name() -> None:
    wanted = drawn(30, seed=5)
    assert load_dataset("drawn:30:5").content_hash == wanted.content_hash
    assert len(load_dataset("drawn:30")) == 30


@pytest.mark.parametrize("name", ["drawn:", "drawn:x", "drawn:3:-1", "drawn:3:1:2", "drawn:0"])
def test_other_text_after_the_name_is_refused(name: str) -> None:
    with pytest.raises(DataError):
        load_dataset(name)
