"""Tables of pixels as people write them: the images are those that were written, and a note says how they were read."""

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastnn.datasets import Dataset, load_dataset
from fastnn.datasets.csv_rows import read_pixel_rows
from fastnn.errors import DataError

N = 30


def digits(n: int = N, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return images with light strokes in the middle of dark paper, shape (n, 784), as MNIST stores them."""
    rng = np.random.default_rng(seed)
    images = np.zeros((n, 28, 28), dtype=np.uint8)
    for image in images:
        row, column = rng.integers(5, 20, 2)
        image[row, 5:22] = rng.integers(60, 256, 17)
        image[5:22, column] = 255
    return images.reshape(n, 784)


IMAGES = digits()
LABELS = np.random.default_rng(1).integers(0, 10, N)
PIXELS = [f"pixel{k}" for k in range(784)]


def written(
    header: Sequence[object] | None, columns: Sequence[Any], *, sep: str = ",", name: str = "a.csv", before: str = ""
) -> str:
    """Write columns below a header, or none; a column of two dimensions is several."""
    table = [np.asarray(column) for column in columns]
    wide = [column if column.ndim == 2 else column[:, None] for column in table]
    lines = [] if header is None else [sep.join(map(str, header))]
    lines += [
        sep.join(str(cell) for part in row for cell in part) for row in zip(*(w.tolist() for w in wide), strict=True)
    ]
    Path(name).write_text(before + "\n".join(lines) + "\n", encoding="utf-8")
    return name


def check(data: Dataset, labels: Sequence[Any] = tuple(LABELS)) -> str:
    """Assert that a data set holds the images, as dark ink on light paper, and these labels; return its notes."""
    np.testing.assert_array_equal(data.images, 255 - IMAGES)
    assert [data.classes[k] for k in data.labels.tolist()] == [str(label) for label in labels]
    assert data.polarity == "light-on-dark"
    assert data.images.flags.c_contiguous
    return "\n".join(data.notes)


NAMES = {
    "from 0": PIXELS,
    "from 1": [f"pixel{k}" for k in range(1, 785)],
    "numbers": list(range(784)),
    "p": [f"p{k}" for k in range(784)],
    "px_1": [f"px_{k}" for k in range(1, 785)],
    "pix.1": [f"pix.{k}" for k in range(1, 785)],
    "x0": [f"x{k}" for k in range(784)],
    "V2": [f"V{k}" for k in range(2, 786)],
    "padded": [f"PIXEL_{k:03}" for k in range(784)],
    "1x1": [f"{k // 28 + 1}x{k % 28 + 1}" for k in range(784)],
    "pixel_0_0": [f"pixel_{k // 28}_{k % 28}" for k in range(784)],
    "r0c0": [f"r{k // 28}c{k % 28}" for k in range(784)],
    "28x28 pixel": [f"28x28_pixel{k}" for k in range(784)],
}


LABEL_NAMES = ("Class", "TARGET", "y", "digit", "labels", "category")


@pytest.mark.parametrize(("names", "label"), [*((n, "label") for n in NAMES), *(("from 0", n) for n in LABEL_NAMES)])
def test_the_label_is_found_by_its_name(names: str, label: str) -> None:
    first = label == "label"
    header = [label, *NAMES[names]] if first else [*NAMES[names], label]
    notes = check(load_dataset(written(header, [LABELS, IMAGES] if first else [IMAGES, LABELS])))
    assert f"the label is the column '{label}', the {'first' if first else 'last'} of 785" in notes


@pytest.mark.parametrize("names", ["from 0", "1x1", "pixel_0_0"])
def test_pixels_go_by_their_names(names: str) -> None:
    order = np.random.default_rng(2).permutation(784)
    header = ["label", *(NAMES[names][k] for k in order)]
    notes = check(load_dataset(written(header, [LABELS, IMAGES[:, order]])))
    assert "which is not that of the file" in notes


def test_names_with_x_and_y_or_column_and_row_are_not_mixed_up() -> None:
    for words in ("x{0}y{1}", "c{0}r{1}", "col{0}_row{1}"):
        names = [words.format(k % 28, k // 28) for k in range(784)]
        check(load_dataset(written(["label", *names], [LABELS, IMAGES])))


def test_the_label_may_stand_between_the_pixels() -> None:
    header = [*PIXELS[:300], "label", *PIXELS[300:]]
    notes = check(load_dataset(written(header, [IMAGES[:, :300], LABELS, IMAGES[:, 300:]])))
    assert "number 301 of 785" in notes
    header = [*PIXELS[300:], "label", *PIXELS[:300]]
    check(load_dataset(written(header, [IMAGES[:, 300:] / 255, LABELS, IMAGES[:, :300] / 255])))


FILES = [f"scan_{k}.png" for k in range(N)]


@pytest.mark.parametrize(
    ("header", "columns", "left_out"),
    [
        (["", "label", *PIXELS], [np.arange(N), LABELS, IMAGES], "left out: column 1"),
        (["Unnamed: 0", *PIXELS, "label"], [np.arange(N), IMAGES, LABELS], "left out: column 'Unnamed: 0'"),
        (["id", "file", "label", *PIXELS], [np.arange(5, N + 5), FILES, LABELS, IMAGES], "'id', column 'file'"),
        (["label", *PIXELS, "filename"], [LABELS, IMAGES, FILES], "left out: column 'filename'"),
        (["label", "writer", *PIXELS], [LABELS, LABELS // 2, IMAGES], "left out: column 'writer'"),
        (["id", "sign", *PIXELS], [np.arange(N), LABELS, IMAGES], "'sign', number 2 of 786, the only one"),
        (["scan", "name", *PIXELS], [FILES, LABELS, IMAGES], "the label is the column 'name'"),
        (["class", "label", *PIXELS], [LABELS, LABELS, IMAGES], "left out: column 'class'"),
        (
            ["class", *PIXELS, "label"],
            [np.array(list("abcdefghij"))[LABELS], IMAGES, LABELS],
            "left out: column 'class'",
        ),
    ],
)
def test_other_columns_are_left_out_with_a_note(header: list[str], columns: list[Any], left_out: str) -> None:
    assert left_out in check(load_dataset(written(header, columns)))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([LABELS, IMAGES], "the label is the first of 785 columns"),
        ([IMAGES, LABELS], "the label is the last of 785 columns"),
        ([np.arange(N), LABELS, IMAGES], "left out: column 1"),
        ([np.arange(N), IMAGES, LABELS], "left out: column 1"),
        ([LABELS, IMAGES, np.arange(1, N + 1)], "left out: column 786"),
        ([FILES, np.arange(N), IMAGES, LABELS], "left out: column 1, column 2"),
        ([LABELS, IMAGES / 255], "pixels from 0 to 1 were scaled"),
        ([IMAGES.astype(float), LABELS.astype(float)], "labels such as 0.0 are read as 0"),
    ],
)
def test_without_names_the_label_is_found_by_its_values(columns: list[Any], words: str) -> None:
    notes = check(load_dataset(written(None, columns)))
    assert "there is no row of names, and the values tell the label" in notes
    assert words in notes


def test_labels_without_names_may_be_sorted() -> None:
    check(load_dataset(written(None, [np.sort(LABELS), IMAGES])), tuple(np.sort(LABELS)))


def test_names_that_only_count_are_like_none() -> None:
    for names in (list(range(785)), [f"V{k}" for k in range(1, 786)], [f"pixel{k}" for k in range(785)]):
        for columns, place in (([LABELS, IMAGES], "first"), ([IMAGES, LABELS], "last")):
            assert f"the {place} of 785" in check(load_dataset(written(names, columns)))
    written(["", *range(785)], [np.arange(N), LABELS, IMAGES])
    assert "left out: column 1" in check(load_dataset("a.csv"))
    written([*range(10), *range(784)], [np.eye(10, dtype=int)[LABELS], IMAGES])
    check(load_dataset("a.csv"))
    written([f"V{k}" for k in range(1, 786)], [LABELS, IMAGES])
    assert "the label is the column 'V1'" in check(load_dataset("a.csv", target="V1"))


def test_a_corner_with_ink_is_not_taken_for_a_label() -> None:
    images = IMAGES.copy()
    images[::9, 783] = [50, 130, 200, 90]
    data = load_dataset(written(None, [LABELS, images]))
    assert [int(data.classes[k]) for k in data.labels] == LABELS.tolist()


def test_a_file_of_one_class_without_names() -> None:
    for columns in ([np.full(N, 7), IMAGES], [IMAGES, np.full(N, 7)]):
        check(load_dataset(written(None, columns)), [7] * N)
    with pytest.raises(DataError, match="neither the first nor the last of them looks like a label; put a row"):
        load_dataset(written(None, [np.zeros(N, int), IMAGES]))
    check(load_dataset("a.csv", target="1"), [0] * N)


def test_what_could_be_two_labels_is_refused() -> None:
    columns = [LABELS, IMAGES[:, :-1], LABELS[::-1]]
    with pytest.raises(DataError, match=r"both the first and the last of them could be the label.* --target 785"):
        load_dataset(written(None, columns))
    with pytest.raises(DataError, match=r"2 columns could be the label; choose one with --target \('label', 'class'\)"):
        load_dataset(written(["label", "class", *PIXELS], [LABELS, LABELS[::-1], IMAGES]))
    check(load_dataset("a.csv", target="label"))
    with pytest.raises(DataError, match=r"no column is named label; choose one with --target \('one', 'two'\)"):
        load_dataset(written(["one", "two", *PIXELS], [LABELS, LABELS[::-1], IMAGES]))
    check(load_dataset("a.csv", target="one"))


def test_the_target_may_be_given_by_its_position() -> None:
    written(None, [LABELS, IMAGES])
    check(load_dataset("a.csv", target="1"))
    written(None, [np.arange(N), IMAGES, LABELS])
    check(load_dataset("a.csv", target="786"))


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (PIXELS, [IMAGES]),
        (None, [IMAGES]),
        (["id", *PIXELS], [np.arange(N), IMAGES]),
        (None, [np.arange(N), IMAGES]),
        (["filename", *PIXELS], [FILES, IMAGES]),
    ],
)
def test_images_without_labels_are_for_predict(header: list[str] | None, columns: list[Any]) -> None:
    with pytest.raises(DataError, match=r"a\.csv: has no labels: .* `fastnn predict MODEL a\.csv` classifies its rows"):
        load_dataset(written(header, columns))
    images, notes = read_pixel_rows(Path("a.csv"))
    np.testing.assert_array_equal(images, 255 - IMAGES)
    assert "inverted" in notes[-1]
    images, _ = read_pixel_rows(Path("a.csv"), "dark-on-light")
    np.testing.assert_array_equal(images, IMAGES)


def test_rows_to_predict_may_have_labels() -> None:
    two = ["one", "two", *PIXELS]
    for header, columns in (
        (["label", *PIXELS], [LABELS, IMAGES]),
        (None, [IMAGES, LABELS]),
        (two, [LABELS, LABELS[::-1], IMAGES]),
    ):
        images, _ = read_pixel_rows(Path(written(header, columns)))
        np.testing.assert_array_equal(images, 255 - IMAGES)
    with pytest.raises(DataError, match=r"a\.csv: its 2 columns are not the pixels of images; the model takes images"):
        read_pixel_rows(Path(written(["a", "b"], [LABELS, LABELS])))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.round(IMAGES / 255, 4), "pixels from 0 to 1 were scaled"),
        (IMAGES / 255 * 2 - 1, "pixels from -1 to 1 were scaled"),
        (IMAGES / 255 - 0.5, "pixels from -0.5 to 0.5 were scaled"),
        (IMAGES.astype(int) - 128, "pixels from -128 to 127 were moved"),
        (IMAGES.astype(float), ""),
        (IMAGES + 0.25 * (IMAGES < 200), "fractions of pixels from 0 to 255 were rounded"),
    ],
)
def test_scales_of_pixels(values: Any, words: str) -> None:
    assert words in check(load_dataset(written(["label", *PIXELS], [LABELS, values])))


@pytest.mark.parametrize("high", [1, 3, 7, 15, 16])
def test_images_of_few_greys(high: int) -> None:
    few = np.rint(IMAGES / 255 * high).astype(int)
    data = load_dataset(written(["label", *PIXELS], [LABELS, few]))
    expected = 255 - np.rint(few * (255 / high)).astype(int)
    np.testing.assert_array_equal(data.images, expected)
    if high == 1:
        data = load_dataset(written(["label", *PIXELS], [LABELS, few == 1]))
        np.testing.assert_array_equal(data.images, expected)
    assert f"pixels from 0 to {high} were scaled" in data.notes


def test_pale_images_are_noted() -> None:
    data = load_dataset(written(["label", *PIXELS], [LABELS, IMAGES // 3]))
    np.testing.assert_array_equal(data.images, 255 - IMAGES // 3)
    assert "the largest value of a pixel is 85, not 255; the images are pale" in data.notes


def test_standardised_values_are_numbers() -> None:
    values = (IMAGES - IMAGES.mean(0)) / (IMAGES.std(0) + 1)
    data = load_dataset(written(["label", *PIXELS], [LABELS, values]))
    assert not data.is_images
    assert data.n_inputs == 784
    assert "may be standardised: the columns are read as numbers, not as pixels of images" in data.notes[0]
    with pytest.raises(DataError, match="may be standardised; read the file as a table of numbers with --target"):
        load_dataset(written(None, [LABELS, values]))
    assert not load_dataset("a.csv", target="1").is_images


def test_pixels_are_numbers_of_another_task() -> None:
    written(["label", *PIXELS], [LABELS, IMAGES])
    data = load_dataset("a.csv", task="regression")
    assert (data.task, data.n_inputs) == ("regression", 784)
    assert "images have classes, but the task is regression" in data.notes[0]
    data = load_dataset("a.csv", target=("label", "pixel0"))
    assert (data.task, data.n_inputs) == ("regression", 783)
    assert "the target is not one of the columns beside the 784 pixels" in data.notes[0]


@pytest.mark.parametrize(
    ("labels", "read", "words"),
    [
        ([f"{label}.0" for label in LABELS], LABELS, "labels such as 0.0 are read as 0"),
        ([f"{label:.18e}" for label in LABELS], LABELS, "are read as 0"),
        ([f"{label:02}" for label in LABELS], LABELS, "labels such as 00 are read as 0"),
        ([f'"{label}"' for label in LABELS], LABELS, ""),
        ([f'"{label:03}"' for label in LABELS], LABELS, "labels such as 000 are read as 0"),
        ([f"'{label}'" for label in LABELS], LABELS, "labels such as '0' are read without quotes"),
        ([f"b'{label}.0'" for label in LABELS], LABELS, "labels such as 0.0 are read as 0"),
        (["abcdefghij"[label] for label in LABELS], ["abcdefghij"[label] for label in LABELS], ""),
        (["x07" if label else "07" for label in LABELS], ["x07" if label else "07" for label in LABELS], ""),
    ],
)
def test_forms_of_labels(labels: list[str], read: Any, words: str) -> None:
    assert words in check(load_dataset(written(["label", *PIXELS], [labels, IMAGES])), read)


def test_names_that_only_begin_like_a_label_are_left_out() -> None:
    notes = check(load_dataset(written(["year", "ypos", "label", *PIXELS], [FILES, FILES, LABELS, IMAGES])))
    assert "left out: column 'year', column 'ypos'" in notes
    with pytest.raises(DataError, match="has no labels"):
        load_dataset(written(["year", "ypos", *PIXELS], [FILES, FILES, IMAGES]))


def test_labels_that_are_not_clear_are_refused() -> None:
    with pytest.raises(DataError, match="line 4: '' cannot be a label; fill it in"):
        load_dataset(written(["label", *PIXELS], [["1", "2", ""] * (N // 3), IMAGES]))
    with pytest.raises(DataError, match=r"a\.csv: labels 5 and '05' both occur; write each class in one way only"):
        load_dataset(written(["label", *PIXELS], [["5", "05"] * (N // 2), IMAGES]))
    with pytest.raises(DataError, match=r"the label '0\.5' is not a whole number"):
        load_dataset(written(["label", *PIXELS], [["0.5", "1"] * (N // 2), IMAGES]))


@pytest.mark.parametrize("prefix", ["label_", "class_", None])
@pytest.mark.parametrize("first", [True, False])
def test_one_hot_labels(prefix: str | None, first: bool) -> None:
    hot = np.eye(10, dtype=int)[LABELS]
    header = None if prefix is None else [f"{prefix}{k}" for k in range(10)]
    if header is not None:
        header = [*header, *PIXELS] if first else [*PIXELS, *header]
    notes = check(load_dataset(written(header, [hot, IMAGES] if first else [IMAGES, hot.astype(float)])))
    assert "0 and 1 are the classes" in notes


def test_one_hot_labels_have_one_class() -> None:
    hot = np.eye(10, dtype=int)[LABELS]
    hot[3] = 0
    with pytest.raises(DataError, match="line 5: one of the 10 columns of the label must be 1"):
        load_dataset(written([*(f"y{k}" for k in range(10)), *PIXELS], [hot, IMAGES]))


def test_one_hot_labels_may_have_an_index_before_them() -> None:
    hot = np.eye(10, dtype=int)[LABELS]
    check(load_dataset(written(None, [np.arange(N), IMAGES, hot])))
    check(load_dataset(written([*range(10), *PIXELS], [hot == 1, IMAGES])))
    check(load_dataset(written([*PIXELS, *range(10), ""], [IMAGES, hot.astype(float), np.arange(N)])))
    names = [f"class_{name}" for name in "qrstuvwxyz"]
    check(
        load_dataset(written(["id", *names, *PIXELS], [np.arange(N), hot, IMAGES])), ["qrstuvwxyz"[k] for k in LABELS]
    )


@pytest.mark.parametrize(
    ("sep", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars"), (" ", "blanks")]
)
@pytest.mark.parametrize("header", [["label", *PIXELS], None])
def test_separators(sep: str, word: str, header: list[str] | None) -> None:
    notes = check(load_dataset(written(header, [LABELS, IMAGES], sep=sep)))
    assert f"columns are separated by {word}" in notes


def test_a_file_of_excel() -> None:
    name = written(["label", *PIXELS], [LABELS.astype(float), np.round(IMAGES / 255, 4)], sep=";")
    text = Path(name).read_text(encoding="utf-8").replace(".", ",").replace("\n", ";\r\n")
    Path(name).write_bytes(text.encode("utf-16"))
    notes = check(load_dataset(name))
    assert "the text is UTF-16; columns are separated by semicolons; each line ends with a separator" in notes


def test_a_file_of_numpy() -> None:
    table = np.column_stack([LABELS, IMAGES])
    for delimiter in (",", " "):
        text = io.StringIO()
        np.savetxt(text, table[:N], delimiter=delimiter, header=delimiter.join(["label", *PIXELS]))
        Path("a.txt.gz").write_bytes(gzip.compress(text.getvalue().encode()))
        assert "the names of the columns stand in a comment" in check(load_dataset("a.txt.gz"))
        np.savetxt("b.csv", table, delimiter=delimiter)
        check(load_dataset("b.csv"))


def test_comments_and_empty_lines_are_skipped() -> None:
    written(["label", *PIXELS], [LABELS, IMAGES], before="# made by\n\n#  a scanner, in 2024\n")
    assert "2 comment lines were skipped" in check(load_dataset("a.csv"))
    Path("a.csv").write_bytes(Path("a.csv").read_bytes().replace(b"\n", b"\r\n\r\n").replace(b",255,", b",256,", 1))
    with pytest.raises(DataError, match=r"line 9, column 'pixel\d+': 256 is not the value of a pixel"):
        load_dataset("a.csv")


def test_a_header_that_is_not_utf8() -> None:
    name = written(["Größe", "label", *PIXELS], [np.arange(N), LABELS, IMAGES])
    Path(name).write_bytes(Path(name).read_text(encoding="utf-8").encode("latin-1"))
    notes = check(load_dataset(name))
    assert "read as Windows-1252" in notes
    assert "left out: column 'Größe'" in notes


def mangled(row: Sequence[object]) -> list[str]:
    """Return the names that pandas makes of a row of values."""
    seen: dict[str, int] = {}
    names = []
    for cell in map(str, row):
        names.append(f"{cell}.{seen[cell]}" if cell in seen else cell)
        seen[cell] = seen.get(cell, 0) + 1
    return names


def test_a_row_that_pandas_took_for_names_is_read() -> None:
    header = mangled([LABELS[0], *IMAGES[0]])
    notes = check(load_dataset(written(header, [LABELS[1:], IMAGES[1:]])))
    assert "the first row is a row of values that pandas took for names" in notes
    notes = check(load_dataset(written(mangled([0] * 785), [LABELS, IMAGES])))
    assert "the label is the column '0'" in notes


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ((b"\n", b",1\n", 3), "line 3 has 786 cells, but the first row has 785"),
        ((b",0\n", b"\n", 2), "line 3 has 784 cells, but the first row has 785"),
        ((b",0\n", b",nan\n", 2), "line 3, column 'pixel783': nan is not the value of a pixel"),
        ((b",0\n", b",-inf\n", 2), "line 3, column 'pixel783': -inf is not the value of a pixel"),
        ((b",0\n", b",\n", 2), "line 3, column 'pixel783': the cell is empty"),
        ((b",0\n", b",1_0\n", 2), "line 3, column 'pixel783': '1_0' is not a number"),
        ((b",0\n", b",-1\n", 2), "line 3, column 'pixel783': -1 is not the value of a pixel"),
        ((b",0\n", b",1e300\n", 2), "line 3, column 'pixel783'"),
        ((b",0\n", b",\xff\n", 2), "line 3 is not UTF-8"),
        ((b",0\n", b',"0\n', 2), "line 3"),
    ],
)
def test_damage_is_named_by_line_and_column(damage: tuple[bytes, bytes, int], words: str) -> None:
    name = written(["label", *PIXELS], [LABELS, IMAGES])
    old, new, nth = damage
    parts = Path(name).read_bytes().split(old)
    Path(name).write_bytes(old.join(parts[:nth]) + new + old.join(parts[nth:]))
    with pytest.raises(DataError) as caught:
        load_dataset(name)
    assert str(caught.value).startswith("a.csv: ")
    assert words in str(caught.value)


def test_a_summary_below_the_rows_is_refused() -> None:
    written(["label", *PIXELS], [LABELS, IMAGES])
    with Path("a.csv").open("a", encoding="utf-8") as file:
        file.write("30 rows\n")
    with pytest.raises(DataError, match=r"line 32 has 1 cell, but the first row has 785"):
        load_dataset("a.csv")


@pytest.mark.parametrize(("side", "high"), [(8, 16), (20, 255), (32, 255)])
def test_images_of_other_sizes_are_scaled(side: int, high: int) -> None:
    small = np.zeros((N, side, side), dtype=int)
    small[:, side // 4 : side // 2, side // 4 : side * 3 // 4] = high
    names = [f"pixel_{k // side}_{k % side}" for k in range(side**2)]
    data = load_dataset(written([*names, "target"], [small.reshape(N, -1), LABELS]))
    assert f"images of {side}x{side} pixels were scaled to 28x28" in data.notes
    image = data.images[0].reshape(28, 28)
    assert (image[8:13, 8:20] < 64).all()
    assert (image[16:] > 192).all()
    assert data.labels.tolist() == LABELS.tolist()


def test_emnist_is_turned_upright() -> None:
    tall = IMAGES.reshape(N, 28, 28).copy()
    tall[:, :, :10] = tall[:, :, 18:] = 0
    for stored, is_turned in ((tall.transpose(0, 2, 1), True), (tall, False)):
        data = load_dataset(written(None, [LABELS, stored.reshape(N, 784)], name="emnist-digits-train.csv"))
        np.testing.assert_array_equal(data.images, 255 - tall.reshape(N, 784))
        assert ("turned upright" in "\n".join(data.notes)) == is_turned


def test_columns_named_as_pixels_that_are_no_square() -> None:
    data = load_dataset(written(["label", *PIXELS[:700]], [LABELS, IMAGES[:, :700]]))
    assert not data.is_images
    assert "700 columns are named as pixels, which are not all pixels of a square image" in data.notes[0]
    with pytest.raises(DataError, match="2 columns are named 'pixel3'; each pixel must have one column"):
        load_dataset(written(["label", *PIXELS[:783], "pixel3"], [LABELS, IMAGES]))


def test_columns_with_names_of_their_own_are_numbers() -> None:
    names = [f"gene{k * k}" for k in range(784)]
    data = load_dataset(written(["label", *names], [LABELS, IMAGES]))
    assert not data.is_images
    assert "the 785 columns are not named as pixels" in data.notes[0]


def test_notes_are_cached_with_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.datasets.cache.WORTH_CACHING", 0)
    written(["label", *PIXELS], [LABELS, IMAGES])
    first = load_dataset("a.csv")
    monkeypatch.setattr("fastnn.datasets.table.DelimitedText", None)
    assert check(load_dataset("a.csv")) == "\n".join(first.notes)


@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_rows_of_separators_alone_are_empty(sep: str) -> None:
    path = written(["label", *PIXELS], [LABELS, IMAGES], sep=sep)
    lines = Path(path).read_text().splitlines()
    empty = sep * 784
    Path(path).write_text("\n".join([lines[0], empty, *lines[1:], empty, f" {empty} ", ""]))
    check(load_dataset(path))


def test_empty_rows_of_other_tables_are_left_out() -> None:
    Path("a.csv").write_text("x,z,y\n1,2,a\n,,\n3,4,b\n , ,\n5,6,a\n")
    assert load_dataset("a.csv").features.shape == (3, 2)
