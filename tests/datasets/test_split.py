"""Splits: reproducible by seed, with duplicates on one side, and of the requested sizes."""

import hashlib
import itertools

import msgspec
import numpy as np
import pytest

from fastnn.datasets import Dataset, per_class, split
from fastnn.datasets.duplicates import group_copies
from fastnn.datasets.split import Split, assign_folds
from fastnn.errors import DataError
from tests.datasets.samples import DIGITS, dataset, images


def rows(of: Dataset) -> list[bytes]:
    return [image.tobytes() for image in of.images]


def with_copies(sizes: list[int]) -> Dataset:
    """Return a set in which the i-th image occurs `sizes[i]` times, in mixed order, with various labels."""
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    order = np.random.default_rng(5).permutation(len(kinds))
    # Labels differ among the duplicates of an image, so that no side has only one class.
    return Dataset(images(len(sizes))[kinds[order]], order % 10, DIGITS, "copies")


def best_sum(sizes: list[int], wanted: int) -> int:
    """Return the largest sum up to `wanted` of some of `sizes`, by trying all."""
    sums = {sum(some) for k in range(len(sizes) + 1) for some in itertools.combinations(sizes, k)}
    return max(total for total in sums if total <= wanted)


@pytest.mark.parametrize(
    ("n", "fraction", "train"),
    [
        (13_942, 0.1, 12_547),
        (10, 0.1, 9),
        (100, 0.3, 70),
        (11, 0.1, 9),
        (7, 0.5, 3),
        (1000, 0.001, 999),
        (3, 0.9, 0),
        (10, 0.8, 2),
    ],
)
def test_counts(n: int, fraction: float, train: int) -> None:
    whole = dataset([i % 10 for i in range(n)])
    if train == 0:
        with pytest.raises(DataError, match="no image is left to train on"):
            split(whole, fraction)
        return
    first, second = split(whole, fraction)
    assert (len(first), len(second)) == (train, n - train)
    assert sorted(rows(first) + rows(second)) == sorted(rows(whole))
    assert (first.source, first.classes, first.test) == (whole.source, whole.classes, None)


def test_labels_stay_with_their_images() -> None:
    whole = dataset([i % 10 for i in range(50)])
    label = dict(zip(rows(whole), whole.labels.tolist(), strict=True))
    for part in split(whole, 0.4, seed=3):
        assert [label[row] for row in rows(part)] == part.labels.tolist()


def test_the_seed_decides() -> None:
    whole = dataset([i % 10 for i in range(200)])
    tests = {seed: split(whole, 0.2, seed)[1].content_hash for seed in range(5)}
    assert len(set(tests.values())) == 5
    assert split(whole, 0.2, 3)[1].content_hash == tests[3]


def test_the_split_of_a_seed_never_changes() -> None:
    # Models store the seed of their split; a change here would test them on their training images.
    whole = dataset([i % 10 for i in range(20)])
    position = {row: i for i, row in enumerate(rows(whole))}
    assert [position[row] for row in rows(split(whole, 0.25, 0)[1])] == [0, 5, 6, 12, 13]
    # Of three images there are 1, 2 and 3: half of them is the first two, or the last.
    copies = with_copies([1, 2, 3])
    kind = {row: i for i, row in enumerate(rows(Dataset(images(3), np.arange(3), DIGITS, "kinds")))}
    held = [sorted(kind[row] for row in rows(split(copies, 0.5, seed)[1])) for seed in range(6)]
    first, last = [0, 1, 1], [2, 2, 2]
    assert held == [first, first, last, first, last, last]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "sizes", [[1] * 30 + [5, 9], [2] * 10, [3, 2, 2, 2], [7, 4, 3, 3, 3], [6, 6, 6, 1, 1, 1], [7] * 6 + [4] * 8]
)
@pytest.mark.parametrize("fraction", [0.2, 0.45, 0.7])
def test_duplicates_stay_together_and_the_sizes_are_the_best_possible(
    sizes: list[int], fraction: float, seed: int
) -> None:
    whole = with_copies(sizes)
    wanted = len(whole) - int(len(whole) * (1 - fraction) + 1e-9)
    best = best_sum(sizes, wanted) if len(sizes) < 15 else wanted
    if best == 0:
        with pytest.raises(DataError, match="no image is left to test on"):
            split(whole, fraction, seed)
        return
    train, test = split(whole, fraction, seed)
    assert not set(rows(train)) & set(rows(test))
    assert len(test) == best
    assert len(train) + len(test) == len(whole)


def test_a_large_set_of_duplicates_alone_is_split_without_a_search_for_the_best_sizes() -> None:
    """8,000 images, each twice, and one of them a third time: the search would need a table of several MB."""
    copies = np.append(np.repeat(np.arange(8000), 2), 0)
    pictures = np.full((len(copies), 784), 255, dtype=np.uint8)
    pictures[:, 0], pictures[:, 1] = copies % 256, copies // 256
    _, test = split(Dataset(pictures, np.arange(len(copies)) % 10, DIGITS, "copies"), 0.80005)
    # One less than wanted; without the image that occurs three times there are 12,802.
    assert len(test) == 12_801


def test_the_folds_of_a_seed_never_change() -> None:
    fold = assign_folds(dataset([i % 10 for i in range(200)]), 7, 3)
    assert hashlib.sha256(fold.astype("<i8").tobytes()).hexdigest()[:16] == "926147fce214cbe3"


def test_all_images_alike_cannot_be_split() -> None:
    for n in (2, 10):
        with pytest.raises(DataError, match=rf"^copies: all {n} images are duplicates of one; they cannot be split$"):
            split(with_copies([n]))
    # One image is no duplicate.
    message = r"no image is left to test on \(of 1\); add images or raise the test fraction$"
    with pytest.raises(DataError, match=message):
        split(dataset([0], test=dataset([])))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_that_leaves_a_side_empty(fraction: float) -> None:
    with pytest.raises(DataError) as caught:
        split(dataset([0, 1, 2], ("a", "b", "c")), fraction)
    assert str(caught.value).endswith(f": a test fraction of {fraction} leaves one side empty; choose one such as 0.1")


def test_one_class_only() -> None:
    with pytest.raises(DataError, match="every training image has the class '3'"):
        split(dataset([3] * 20))


def test_negative_seed() -> None:
    with pytest.raises(DataError, match="negative"):
        split(dataset([0, 1, 2, 3]), 0.5, -1)


def test_a_test_set_of_its_own_is_kept() -> None:
    own = dataset([1, 2])
    whole = dataset([0, 1, 2], test=own)
    train, test = split(whole, 0.5, 9)
    assert test is own
    assert train.test is None
    assert train.images is whole.images
    with pytest.raises(DataError, match="every training image"):
        split(dataset([1, 1], test=own))
    with pytest.raises(DataError, match="test on"):
        split(dataset([0, 1], test=dataset([])))


def test_per_class_takes_every_image_once_before_repeating() -> None:
    whole = dataset([0] * 10 + [1] * 3 + [2] * 4, ("a", "b", "c"))
    drawn = per_class(whole, 4, seed=1)
    assert drawn.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    parts = [rows(drawn)[i : i + 4] for i in (0, 4, 8)]
    assert len(set(parts[0])) == 4
    assert set(parts[0]) <= set(rows(whole)[:10])
    assert set(parts[1]) == set(rows(whole)[10:13])
    assert set(parts[2]) == set(rows(whole)[13:])
    for seed in range(20):
        assert set(rows(per_class(whole, 11, seed))) == set(rows(whole))
    assert per_class(whole, 4, seed=1).content_hash == drawn.content_hash
    assert per_class(whole, 4, seed=2).content_hash != drawn.content_hash


def test_per_class_of_many_more_images_than_exist() -> None:
    drawn = per_class(dataset([0, 1, 1], ("a", "b")), 100)
    assert drawn.counts.tolist() == [100, 100]
    assert len(set(rows(drawn))) == 3


@pytest.mark.parametrize(
    ("labels", "n", "words"), [([0, 2], 1, "no image of class 'b'"), ([0, 1, 2], 0, "ask for 1 or more")]
)
def test_impossible_per_class_is_refused(labels: list[int], n: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        per_class(dataset(labels, ("a", "b", "c")), n)


def test_group_copies() -> None:
    some = images(3)
    assert group_copies(some[[0, 1, 0, 2, 1, 0]]).tolist() == [0, 1, 0, 3, 1, 0]
    assert group_copies(some[:0]).tolist() == []
    assert group_copies(np.asfortranarray(some[[1, 1]])).tolist() == [0, 0]


DESCRIPTIONS = [Split(), Split(fraction=0.4, seed=3), Split(kind="hash", fraction=0.25), Split(kind="own", seed=7)]


@pytest.mark.parametrize("description", DESCRIPTIONS, ids=str)
@pytest.mark.parametrize("own", [False, True])
def test_a_description_says_what_split_tests_on(description: Split, own: bool) -> None:
    whole = dataset([i % 10 for i in range(60)], test=dataset([3, 4]) if own else None)
    assert msgspec.json.decode(msgspec.json.encode(description), type=Split) == description
    if description.kind == "own" and not own:
        with pytest.raises(DataError, match="has no test set of its own"):
            split(whole, description)
        return
    train, test = split(whole, description)
    if own and description.kind != "hash":
        assert test is description.own_test(whole) is whole.test
        assert train.images is whole.images
        # The test set is not among the images.
        assert not Split(kind="own").test_mask(whole).any()
        return
    mask = description.test_mask(whole)
    assert rows(test) == [row for row, held in zip(rows(whole), mask, strict=True) if held]
    assert sorted(rows(train) + rows(test)) == sorted(rows(whole))
    if description.kind == "random":
        assert rows(split(whole, description.fraction, description.seed)[1]) == rows(test)


def test_the_short_form_is_described() -> None:
    whole = dataset([0, 1, 2])
    assert Split.of(whole, 0.25, 4) == Split(kind="random", fraction=0.25, seed=4)
    assert Split.of(dataset([0, 1], test=whole), 0.25, 4) == Split(kind="own", fraction=0.25, seed=4)
    assert Split.of(whole) == Split(kind="random", fraction=0.1, seed=0) == Split()
    whole = dataset([i % 10 for i in range(60)])
    assert rows(split(whole)[1]) == rows(split(whole, 0.1, 0)[1])


def test_descriptions_read_well() -> None:
    texts = ["10% held out, seed 0", "40% held out, seed 3", "25% held out, by SHA-256", "its own test set"]
    assert list(map(str, DESCRIPTIONS)) == texts


def test_a_description_cannot_be_changed() -> None:
    description = Split()
    with pytest.raises(AttributeError):
        description.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "values", [{"fraction": -0.1}, {"fraction": 1.0}, {"seed": -1}, {"seed": 1 << 63}, {"kind": "other"}, {"folds": 3}]
)
def test_a_stored_description_out_of_range_is_refused(values: dict[str, object]) -> None:
    assert msgspec.convert({"fraction": 0.0, "seed": (1 << 63) - 1}, Split) == Split(fraction=0.0, seed=(1 << 63) - 1)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(values, Split)


def test_a_hash_split_holds_back_the_same_images_as_the_data_grow() -> None:
    whole = with_copies([1] * 300 + [3] * 40)
    some = whole.take(np.random.default_rng(1).permutation(len(whole))[:200])
    by_hash = Split(kind="hash", fraction=0.1)
    wanted = [hashlib.sha256(row).digest()[0] % 10 == 0 for row in rows(whole)]
    assert by_hash.test_mask(whole).tolist() == wanted
    held = {row for row, is_test in zip(rows(whole), wanted, strict=True) if is_test}
    assert 0.03 < len(held) / 340 < 0.2
    train, test = by_hash.divide(some)
    assert set(rows(test)) <= held
    assert not held & set(rows(train))


@pytest.mark.parametrize("description", [Split(fraction=0.0), Split(kind="hash", fraction=1.0), Split(seed=-1)])
def test_an_invalid_split_is_refused(description: Split) -> None:
    with pytest.raises(DataError, match=r"test fraction|negative"):
        split(dataset([0, 1, 2]), description)
