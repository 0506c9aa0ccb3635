"""The rasteriser: equality with a plain twin, and the shapes that it draws."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from fastnn.datasets.drawn import draw, strokes_block
from fastnn.kernels.records import CANVAS
from tests.helpers import needs_jit
from tests.kernels import plain

ONE_STROKE = np.array([0, 2], dtype=np.int64)
NO_EVENT = -(10**9)


def drawing(paths, paces, starts, *, kernel=draw, canvas=None, capacity=1000):
    """Draw digits; return their images and the pointer events of the last one."""
    images, events = np.full((len(paths), 784), 7, np.uint8), np.full((capacity, 2), NO_EVENT, np.int64)
    block = strokes_block(np.asarray(paths, float), np.asarray(paces, float), np.asarray(starts, np.int64), images)
    block.put(events=events, max_events=capacity)
    if canvas is not None:
        block.put(canvas=canvas)
    kernel(block)
    return images, events[events[:, 0] != NO_EVENT]


def pen_events(path, pace, starts, capacity=1000):
    """Return the pointer events of a pen that moves along a path."""
    return drawing([path], [pace], starts, capacity=capacity)[1]


def plain_image(dabs):
    """Draw as the page does, with simple and slow code: every dab on every pixel, then the mean of each cell."""
    canvas = np.ones((CANVAS, CANVAS))
    fine = (np.arange(CANVAS * 16) + 0.5) / 16
    for x, y in dict.fromkeys(map(tuple, dabs)):
        inside = (fine[None, :] - x) ** 2 + (fine[:, None] - y) ** 2 <= 15.0**2
        canvas *= 1.0 - inside.reshape(CANVAS, 16, CANVAS, 16).mean(axis=(1, 3))
    return np.floor(canvas.reshape(28, 10, 28, 10).mean(axis=(1, 3)) * 255 + 0.5).ravel()


def plain_events(path, pace, starts):
    """Return the pointer events from the times of all points, by interpolation at each whole time."""
    events = []
    for a, b in pairwise(starts):
        points, paces, n = path[a:b], pace[a:b], b - a
        arc = np.concatenate(([0.0], np.cumsum([math.dist(points[i], points[i + 1]) for i in range(n - 1)])))
        times = [0.0]
        for i in range(n - 1):
            low, high = max(0, i - 4), min(n - 1, i + 5)
            bend = math.dist(points[low], points[high]) ** 2 / max((arc[high] - arc[low]) ** 2, 1e-9)
            ends = min(1.0, 0.4 + min(arc[i], arc[-1] - arc[i + 1]) / 60)
            times.append(times[-1] + (arc[i + 1] - arc[i]) / (paces[i] * (0.25 + 0.75 * bend) * ends))
        whole = np.arange(math.floor(times[-1]) + 1)
        events += list(zip(np.interp(whole, times, points[:, 0]), np.interp(whole, times, points[:, 1]), strict=True))
        events.append(tuple(points[-1]))
    return np.rint(np.array(events))


def image_of(dabs, canvas=None):
    """Return the image of dabs; each is a stroke of one point, which makes one event."""
    dabs = np.asarray(dabs, dtype=np.float64).reshape(-1, 2)
    images, _ = drawing([dabs], np.ones((1, len(dabs))), np.arange(len(dabs) + 1), canvas=canvas)
    return images[0]


def white():
    """Return a white canvas with the margin that the kernel needs."""
    return np.ones(352 * 352, np.float32)


def line(start, end, pace, capacity=200):
    """Return the events of one straight stroke of 41 points."""
    path = np.linspace(start, end, 41)
    return pen_events(path, np.full(len(path), float(pace)), np.array([0, len(path)]), capacity)


def random_path(seed, strokes):
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 3, (50, 2)).cumsum(axis=0)
    path = 140 + 0.5 * steps.cumsum(axis=0)
    starts = np.linspace(0, len(path), strokes + 1).astype(np.int64)
    return path, rng.uniform(4, 25, len(path)), starts


@pytest.mark.parametrize(("seed", "n"), [(0, 1), (1, 2), (2, 6), (3, 9)])
def test_images_of_dabs_equal_the_plain_twin(seed, n):
    # Some dabs lie on the edge or outside.
    dabs = np.random.default_rng(seed).integers(-20, CANVAS + 20, (n, 2))
    assert np.abs(image_of(dabs) - plain_image(dabs)).max() <= 1


def test_a_dab_has_the_area_of_its_circle():
    area = (255 - image_of([(140, 140)]).astype(float)).sum() / 255 * 100
    assert area == pytest.approx(math.pi * 15**2, rel=2e-3)


def test_a_dab_is_symmetric():
    image = image_of([(140, 140)]).reshape(28, 28)
    assert (image == image[::-1]).all()
    assert (image == image[:, ::-1]).all()
    assert (image == image.T).all()


@pytest.mark.parametrize(("x", "y", "share"), [(0, 0, 4), (0, 140, 2), (140, 280, 2), (280, 0, 4), (280, 280, 4)])
def test_the_edge_cuts_dabs(x, y, share):
    whole = (255 - image_of([(140, 140)]).astype(float)).sum()
    cut = (255 - image_of([(x, y)]).astype(float)).sum()
    assert cut == pytest.approx(whole / share, rel=0.02)


@pytest.mark.parametrize("place", [(-15, 140), (140, 295), (10**12, 5), (-(10**12), -(10**12))])
def test_dabs_outside_the_canvas_change_nothing(place):
    assert (image_of([place]) == 255).all()


def test_no_dabs_give_a_white_image():
    assert (image_of([]) == 255).all()


def test_the_canvas_is_white_after_each_digit():
    canvas = white()
    first = image_of([(3, 3), (100, 150), (290, 130)], canvas)
    assert (canvas == 1).all()
    image_of([(3, 3), (200, 20)], canvas)
    assert (image_of([(3, 3), (100, 150), (290, 130)], canvas) == first).all()


@pytest.mark.parametrize(("seed", "strokes"), [(0, 1), (1, 1), (2, 2), (3, 3), (4, 5)])
def test_events_equal_the_plain_twin(seed, strokes):
    path, pace, starts = random_path(seed, strokes)
    dabs, expected = pen_events(path, pace, starts), plain_events(path, pace, starts)
    assert len(dabs) == len(expected)
    # The twin adds in another order, so a coordinate near a half may be rounded either way.
    assert np.abs(dabs - expected).max() <= 1


def test_a_fast_stroke_leaves_separate_dots_and_a_slow_one_a_line():
    fast, slow = line((20, 140), (260, 140), 60), line((20, 140), (260, 140), 8)
    assert np.diff(fast[:, 0]).max() > 30
    assert np.diff(slow[:, 0]).max() <= 8
    row = image_of(fast).reshape(28, 28)[13]
    assert (row[4:24] == 255).any()
    assert (image_of(slow).reshape(28, 28)[13, 4:24] == 0).all()


def test_strokes_begin_and_end_where_the_pen_does():
    dabs = line((20, 50), (200, 77), 13)
    assert dabs[0].tolist() == [20, 50]
    assert dabs[-1].tolist() == [200, 77]


def test_the_pen_is_slower_in_a_corner():
    side = np.linspace(0, 1, 41)[:, None]
    path = np.concatenate((20 + side * (200, 0), (220, 20) + side[1:] * (0, 200)))
    dabs = pen_events(path, np.full(len(path), 20.0), np.array([0, len(path)]))
    steps = np.abs(np.diff(dabs, axis=0)).sum(axis=1)
    corner = np.abs(dabs - (220, 20)).sum(axis=1).argmin()
    assert steps[corner - 1 : corner + 1].min() < 0.7 * np.median(steps)


def test_the_pen_is_up_between_strokes():
    path = np.array([[20.0, 20.0], [20.0, 80.0], [200.0, 20.0], [200.0, 80.0]])
    dabs = pen_events(path, np.full(4, 6.0), np.array([0, 2, 4]))
    assert set(dabs[:, 0].tolist()) == {20, 200}


def test_events_beyond_the_capacity_are_dropped():
    assert len(line((0, 0), (280, 280), 4, capacity=5)) == 5
    assert (line((0, 0), (280, 280), 4, capacity=5) == line((0, 0), (280, 280), 4)[:5]).all()


def test_a_pen_that_rests_leaves_one_dab():
    images, dabs = drawing(np.full((1, 2, 2), 100.0), np.full((1, 2), 10.0), ONE_STROKE)
    assert (dabs == 100).all()
    assert len(dabs) >= 1
    assert (images[0] == image_of([(100, 100)])).all()


def test_each_digit_is_the_image_of_its_events():
    paths, paces, starts = (list(each) for each in zip(*(random_path(seed, 2) for seed in range(3)), strict=True))
    images, _ = drawing(paths, paces, starts[0])
    for path, pace, image in zip(paths, paces, images, strict=True):
        assert (image == image_of(pen_events(path, pace, starts[0]))).all()


@needs_jit
def test_the_compiled_kernel_equals_the_kernel_run_as_plain_python():
    twin = plain.kernels("fastnn.kernels.strokes").draw()
    paths, paces, starts = (list(each) for each in zip(*(random_path(seed, 2) for seed in range(3)), strict=True))
    images, events = drawing(paths, paces, starts[0])
    plain_images, twin_events = drawing(paths, paces, starts[0], kernel=lambda block: twin(block.address))
    assert (events == twin_events).all()
    # The compiled kernel sums means in float32, plain Python in float64.
    assert np.abs(images.astype(int) - plain_images).max() <= 1
