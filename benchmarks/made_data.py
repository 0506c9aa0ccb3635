"""Tables and text that are made by a program: learnable, of any size, and the same on every machine.

They have the shape, the kinds of columns and the difficulty of well-known data sets, which cannot be downloaded
everywhere, but not their content.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CAP = 5.0
"""Largest target of the table of prices, as in the one that it imitates."""


def rows_of(sizes: tuple[int, ...], n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return normally distributed rows, float32 of shape (n, sizes[0]), and the class that a small network gives each.

    All values differ from each other: a sparse first layer has nothing to skip.
    """
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, sizes[0]), dtype=np.float32)
    hidden = np.maximum(rows @ rng.standard_normal((sizes[0], 20)), 0)
    scores = hidden @ rng.standard_normal((20, sizes[-1]))
    return rows, (scores - scores.mean(axis=0)).argmax(axis=1)


def forest_cover(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a table like covertype, float64 of shape (n, 54), and 7 classes of very different sizes.

    Ten numbers (elevation, slope, distances, shade), four 0/1 columns for the area and 40 for the soil. Each class
    likes a range of elevations and some soils; a tenth of the labels is random.
    """
    rng = np.random.default_rng(seed)
    area = rng.choice(4, n, p=(0.45, 0.05, 0.43, 0.07))
    elevation = rng.normal(np.array([3000.0, 3300.0, 2950.0, 2300.0])[area], 200)
    zone = np.clip((elevation - 1900) / 1700, 0, 0.999)
    soil = (np.clip(zone + rng.normal(0, 0.12, n), 0, 0.999) * 40).astype(int)
    aspect, slope = rng.uniform(0, 360, n), rng.gamma(3, 4.5, n)
    water, height, road, fire = (
        rng.gamma(1.6, 170, n),
        rng.normal(46, 58, n),
        rng.gamma(2, 1100, n),
        rng.gamma(2, 950, n),
    )
    tilt = np.minimum(slope, 60) / 60
    shades = [
        np.clip(220 + 60 * tilt * np.cos(np.radians(aspect - sun)) + rng.normal(0, 6, n), 0, 254)
        for sun in (90, 180, 270)
    ]
    numbers = np.column_stack([elevation, aspect, slope, water, height, road, *shades, fire])
    likes = rng.normal(0, 0.8, (7, 40))
    middle, width = np.array([0.72, 0.6, 0.32, 0.2, 0.5, 0.3, 0.88]), np.array([0.14, 0.16, 0.1, 0.06, 0.05, 0.08, 0.1])
    common = np.array([1.0, 1.3, 0.5, 0.2, 0.6, 0.3, 0.2])
    scores = common - (((zone[:, None] - middle) / width) ** 2) / 2 + likes[:, soil].T
    scores[:, 0] += 0.9 * (water < 200) - 0.4 * (area == 2)
    scores[:, 1] += 1.1 * np.cos(np.radians(aspect - 180)) * tilt * 4
    scores[:, 2] += 0.8 * (road < 1000) + 0.5 * (fire < 800)
    scores[:, 6] += 0.01 * height
    labels = scores.argmax(axis=1)
    random = rng.random(n) < 0.1
    labels[random] = rng.choice(labels, int(random.sum()))
    return np.column_stack([numbers, np.eye(4)[area], np.eye(40)[soil]]), labels


def house_prices(n: int = 20_640, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a table like California housing, float64 of shape (n, 8), and prices up to :data:`CAP`.

    Income, age, rooms, bedrooms, population, occupants, latitude, longitude. Rooms and occupants have some huge values.
    """
    rng = np.random.default_rng(seed)
    income = rng.gamma(4, 0.95, n)
    age = rng.uniform(1, 52, n)
    rooms = rng.lognormal(1.65, 0.3, n) * np.where(rng.random(n) < 0.005, rng.uniform(3, 20, n), 1)
    bedrooms = rooms * rng.normal(0.2, 0.02, n)
    population = rng.lognormal(7, 0.75, n)
    occupants = rng.lognormal(1.05, 0.25, n) * np.where(rng.random(n) < 0.002, rng.uniform(10, 300, n), 1)
    cities = np.array([[34.05, -118.3], [37.75, -122.4], [32.75, -117.1], [38.6, -121.5], [36.7, -119.8]])
    worth, reach = np.array([1.0, 1.6, 0.9, 0.2, -0.2]), np.array([0.5, 0.35, 0.3, 0.3, 0.4])
    home = rng.choice(5, n, p=(0.4, 0.25, 0.12, 0.13, 0.1))
    place = cities[home] + rng.standard_t(4, (n, 2)) * 0.35
    apart = np.linalg.norm(place[:, None] - cities, axis=2)
    near = (worth * np.exp(-((apart / reach) ** 2) / 2)).sum(axis=1)
    price = 0.35 * income * (1 + 0.3 * near) + near + 0.004 * age + 0.5 * np.exp(-occupants / 2)
    price = np.minimum(CAP, np.maximum(0.15, price * rng.lognormal(0, 0.22, n)))
    return np.column_stack([income, age, rooms, bedrooms, population, occupants, place]), price


class Text(NamedTuple):
    """Rows of hashed words, the arrays of a CSR matrix, and a class for each row.

    Attributes
    ----------
    values, indices, row_starts : ndarray of float32, int32, int64
    n_columns : int
    labels : ndarray of int64
        0 or 1.
    """

    values: np.ndarray
    indices: np.ndarray
    row_starts: np.ndarray
    n_columns: int
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def newsgroups(n: int, n_columns: int = 1 << 18, per_row: int = 80, seed: int = 0) -> Text:
    """Return texts of 20 topics, ten of each class, as hashed words: `per_row` different columns in each row.

    Words have the frequencies of natural language (Zipf 1935). A twelfth of a text's words belong to its topic, and a
    twentieth of the labels is random. Values are the usual weights of words, tf-idf, with a mean of 1.
    """
    rng = np.random.default_rng(seed)
    n_words, n_topics, per_topic = 200_000, 20, 1500
    column_of_word = rng.integers(0, n_columns, n_words).astype(np.int32)
    share = 1 / np.arange(10, n_words + 10)
    share /= share.sum()
    topics = rng.integers(1000, n_words, (n_topics, per_topic))
    topic = rng.integers(0, n_topics, n)
    # More words than needed, since some occur twice.
    drawn = rng.choice(n_words, (n, 3 * per_row), p=share)
    of_topic = rng.random(drawn.shape) < 1 / 12
    text_of_word = np.nonzero(of_topic)[0]
    places = (per_topic * rng.random(len(text_of_word)) ** 2).astype(int)
    drawn[of_topic] = topics[topic[text_of_word], places]
    indices = np.empty((n, per_row), dtype=np.int32)
    weight = np.zeros(n_columns, dtype=np.float32)
    np.maximum.at(weight, column_of_word, np.log(1 / (share * per_row)).astype(np.float32).clip(0.1))
    for row, words in zip(indices, drawn, strict=True):
        found = dict.fromkeys(column_of_word[words].tolist())
        row[:] = np.sort(np.fromiter(found, np.int32, len(found))[:per_row])
    values = weight[indices]
    values /= values.mean()
    starts = np.arange(n + 1, dtype=np.int64) * per_row
    labels = np.where(rng.random(n) < 0.05, rng.integers(0, 2, n), topic % 2)
    return Text(values.ravel(), indices.ravel(), starts, n_columns, labels)
