"""Tables in CSV and TSV files: read right, with a note that says how, or refused with line and column."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastnn.datasets import Column, Dataset, SparseRows, cache, load_dataset
from fastnn.datasets.table import read_rows
from fastnn.errors import DataError


def load(text: str | bytes, name: str = "a.csv", **asked: Any) -> Dataset:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_dataset(name, **asked)


def dense(data: Dataset) -> list[list[float]]:
    features = data.features
    return (features.toarray() if isinstance(features, SparseRows) else features).tolist()


def refusal(text: str | bytes, name: str = "a.csv", **asked: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(text, name, **asked)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    return message


def test_numbers_are_a_dense_array() -> None:
    data = load("a,b,y\n1,2.5,10.5\n-3,4e2,20\n")
    assert data.task == "regression"
    assert isinstance(data.features, np.ndarray)
    assert data.features.dtype == np.float64
    assert data.features.flags.c_contiguous
    assert dense(data) == [[1, 2.5], [-3, 400]]
    assert data.targets.tolist() == [[10.5], [20]]
    assert data.names == ("y",)
    assert data.columns == (Column("a"), Column("b"))


def test_texts_are_one_input_for_each_category() -> None:
    data = load("a,colour,y\n1,red,x\n0,blue,x\n5,red,z\n")
    assert isinstance(data.features, SparseRows)
    assert data.columns == (Column("a"), Column("colour", ("blue", "red")))
    assert dense(data) == [[1, 0, 1], [0, 1, 0], [5, 0, 1]]
    assert data.features.values.tolist() == [1, 1, 1, 5, 1]
    assert data.task == "classification"
    assert (data.names, data.targets.tolist()) == (("x", "z"), [0, 0, 1])
    assert "columns of texts are categories, one input each: 'colour' (2)" in data.notes


FORMS = {
    "quotes": ('"a,1","b ""x""",y\n"1","2",3\n4,5,6\n', ("a,1", 'b "x"')),
    "blanks": (" a , b ,y\n 1 ,2 , 3\n4, 5,6 \n", ("a", "b")),
    "blanks before quotes": ('a, "b", y\n1, "2", 3\n4, "5", 6\n', ("a", "b")),
    "byte order mark": ("\ufeffa,b,y\n1,2,3\n4,5,6\n", ("a", "b")),
    "UTF-16": ("a,b,y\n1,2,3\n4,5,6\n", ("a", "b")),
    "Windows": ("a,b,y\r\n1,2,3\r\n4,5,6\r\n\r\n", ("a", "b")),
    "old Mac": ("a,b,y\r1,2,3\r4,5,6\r", ("a", "b")),
    "empty rows": ("\na,b,y\n\n1,2,3\n   \n4,5,6\n\n", ("a", "b")),
    "semicolons": ("a;b;y\n1;2;3\n4;5;6\n", ("a", "b")),
    "decimal commas": ("a;b;y\n1,0;2;3\n4;5,0e0;6\n", ("a", "b")),
    "tabs": ("a\tb\ty\n1\t2\t3\n4\t5\t6\n", ("a", "b")),
    "other blanks": ("a,b,y\n1\xa0,2,3\n4,\x1d5\u2003,6\n", ("a", "b")),
    "signs": ("a,b,y\n+1,2.,3\n4,.5e1,6\n", ("a", "b")),
    "trailing separators": ("a;b;y;\n1;2;3;\n4;5;6;\n", ("a", "b")),
    "separator of Excel": ("sep=;\r\na;b;y\r\n1;2;3\r\n4;5;6\r\n", ("a", "b")),
    "vertical bars": ("a|b|y\n1|2|3\n4|5|6\n", ("a", "b")),
    "one blank": ("a b y\n1 2 3\n4 5 6\n", ("a", "b")),
    "several blanks": (" a  b    y\n1   2 3 \n  4 5   6\n", ("a", "b")),
    "comments": ("# made by, us\n\n#\na,b,y\n1,2,3\n4,5,6\n", ("a", "b")),
    "names in a comment": ("# a,b,y\n1,2,3\n4,5,6\n", ("a", "b")),
    "names in a comment, with blanks": ("# a b y\n1 2 3\n4 5 6\n", ("a", "b")),
    "a number sign as a name": ("#,b,y\n1,2,3\n4,5,6\n", ("#", "b")),
    "number": ("id,a,b,y\n7,1,2,3\n8,4,5,6\n9,1,2,3\n", ("a", "b")),
    "index": (",a,b,y\n0,1,2,3\n1,4,5,6\n", ("a", "b")),
    "index of pandas": ("Unnamed: 0,a,b,y\nx,1,2,3\ny,4,5,6\n", ("a", "b")),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_forms_of_the_same_table(form: str, packed: bool) -> None:
    text, names = FORMS[form]
    content = text.encode("utf-16" if form == "UTF-16" else "utf-8")
    data = load(gzip.compress(content) if packed else content, "a.csv.gz" if packed else "a.csv", task="regression")
    assert dense(data)[:2] == [[1, 2], [4, 5]]
    assert data.targets.tolist()[:2] == [[3], [6]]
    assert data.columns == tuple(map(Column, names))


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
def test_a_tsv_file_has_tabs_only(name: str) -> None:
    text = b"a\tb\ty\nx, y\t2\t3\nz; w\t5\t6\n"
    data = load(gzip.compress(text) if name.endswith("gz") else text, name, task="regression")
    assert data.columns == (Column("a", ("x, y", "z; w")), Column("b"))


def test_notes_say_how_a_file_was_read() -> None:
    data = load(";a;Y\n0;1,5;2\n1;3;4\n")
    assert data.notes == (
        "columns are separated by semicolons; numbers have decimal commas",
        "the first column has no name and is left out; give it a name to use it",
        "the column 'Y' is the target",
        (
            "target 'Y' holds whole numbers from 2 to 4, 2 different: the task is classification (or give --task "
            "regression)"
        ),
    )
    assert load("a,y\n1,x\n", target="y", task="classification").notes == ()


def test_notes_offer_only_tasks_that_are_possible() -> None:
    assert load("a,y\n1,0.5\n2,1.5\n").notes[-1] == "target 'y' holds numbers: the task is regression"
    assert load("a,y\n1,5\n2,70\n3,9\n").notes[-1].endswith("(or give --task classification)")
    assert load("a,y\n1,x\n2,x\n").notes[-1].endswith("classification (1 class)")


def test_a_target_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    for target in (2, [2], [None]):
        with pytest.raises(DataError, match=r'positions as text such as "4"'):
            load_dataset(tmp_path / "a.csv", target=target)  # type: ignore[arg-type]


def test_columns_that_may_be_no_input_are_noted() -> None:
    rows = "".join(f"{k},person {k},NA,{k % 2}\n" for k in range(30))
    notes = " ".join(load(f"id,name,remark,y\n{rows}").notes)
    assert "column 'name' has 30 categories in 30 rows" in notes
    assert "column 'remark': 'NA' is a category like the others" in notes
    numbers = "".join(f"{k + 1},{k % 7},{k % 2}\n" for k in range(30))
    assert any("'id' counts the rows" in note for note in load(f"id,b,y\n{numbers}").notes)


@pytest.mark.parametrize(
    ("texts", "asked", "task", "names"),
    [
        ("x z x", {}, "classification", ("x", "z")),
        ("10 9 10 9", {}, "classification", ("9", "10")),
        ("-1 1 1.0 1", {}, "classification", ("-1", "1")),
        ("1.5 2 3 1", {}, "regression", ("y",)),
        (" ".join(map(str, range(30))), {}, "regression", ("y",)),
        ("1 2 3", {}, "regression", ("y",)),
        ("1 0 1 1", {"task": "regression"}, "regression", ("y",)),
        ("1 2 3", {"task": "classification"}, "classification", ("1", "2", "3")),
        ("1 2b 2", {"task": "classification"}, "classification", ("1", "2", "2b")),
        ("007 7 8", {"task": "classification"}, "classification", ("007", "7", "8")),
        ("1.0 2.0 1", {"task": "classification"}, "classification", ("1", "2")),
        ("1 0 1", {"task": "multilabel"}, "multilabel", ("y",)),
        ("x x", {}, "classification", ("x",)),
    ],
)
def test_the_target_decides_the_task(texts: str, asked: dict[str, Any], task: str, names: tuple[str, ...]) -> None:
    data = load("a,y\n" + "".join(f"5,{text}\n" for text in texts.split()), target="y", **asked)
    assert (data.task, data.names) == (task, names)
    assert bool(data.notes) == (not asked)


def test_several_targets() -> None:
    text = "p,a,q\n1,5,false\n0,6,TRUE\n"
    data = load(text, target=("p", "q"))
    assert data.task == "multilabel"
    assert (data.names, data.targets.tolist()) == (("p", "q"), [[1, 0], [0, 1]])
    data = load("p,a,q\n1,5,2.5\n0,6,3\n", target=("q", "p"))
    assert data.task == "regression"
    assert (data.names, data.targets.tolist()) == (("q", "p"), [[2.5, 1], [3, 0]])
    assert "classification has one target" in refusal(text, target=("p", "q"), task="classification")
    assert "holds texts" in refusal("p,a,q\n1,5,x\n0,6,y\n", target=("p", "q"))


def test_a_table_without_names() -> None:
    data = load("5.1,red,x\n4.9,blue,z\n", target="3")
    assert data.columns == (Column("column 1"), Column("column 2", ("blue", "red")))
    assert (data.names, data.notes[0]) == (("x", "z"), "there is no row of names; the columns are numbered 1 to 3")
    letters = load("p,x,p\ne,x,y\ne,s,y\n", target="1")
    assert letters.targets.tolist() == [1, 0, 0]
    assert len(letters) == 3
    assert "has no column 'column 4'" in refusal("5.1,3,x\n4.9,4,z\n", target="4")
    assert "has no column 'column 0'" in refusal("5.1,3,x\n4.9,4,z\n", target="0")
    # A number that is a name is a name.
    assert load("a,2\n1,x\n3,z\n", target="2", task="classification").columns == (Column("a"),)


REFUSED: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "no target": ("a,b\n1,2\n", {}, "choose one with --target ('a', 'b')"),
    "two usual names": ("y,class\n1,2\n", {}, "2 columns could be the target"),
    "unknown target": ("a,b\n1,2\n", {"target": "c"}, "has no column 'c' for the target; it has 'a', 'b'"),
    "target twice": ("a,b\n1,2\n", {"target": ("a", "a")}, "given twice"),
    "one column": ("a\n1\n2\n", {}, "has only one column"),
    "no input": ("a\n1\n2\n", {"target": "a"}, "no column besides the target"),
    "names alone": ("a,b\n", {"target": "a"}, "names of columns, but no rows"),
    "empty rows alone": ("\n\n  \n", {"target": "a"}, "no rows"),
    "name twice": ("a,b,a\n1,2,3\n", {"target": "b"}, "2 columns are named 'a'"),
    "name missing": ("a,,b\n1,2,3\n", {"target": "b"}, "the name of column 2 is empty"),
    "name unprintable": ("a\x07,b\n1,2\n", {"target": "b"}, "cannot be printed"),
    "names and numbers": ("id,2019,y\n3,4,5\n", {}, "'id' above a number, as a name, but also the number '2019'"),
    "counting names": ("0,1,2\n5,6,7\n", {"target": "3"}, "counts from 0 to 2"),
    "empty cell": ("a,b\n1,2\n3,\n", {"target": "b"}, "line 3, column 'b': the cell is empty"),
    "blank cell": ("a,b\n1,2\n  ,4\n", {"target": "b"}, "line 3, column 'a': the cell is empty"),
    "empty text": ("a,b\nx,2\n,4\n", {"target": "b"}, "line 3, column 'a': the cell is empty"),
    "target missing": ("a,y\n1,x\n3,\n", {}, "line 3, column 'y': the cell is empty"),
    "empty first row": ("5.1,,x\n4.9,3,z\n", {"target": "3"}, "line 1, column 2: the cell is empty"),
    "nan": ("a,b\n1,2\n\nNaN,4\n", {"target": "b"}, "line 4, column 'a': 'NaN' is not a finite number"),
    "infinity": ("a,b\n1,2\n3,-inf\n", {"target": "b"}, "line 3, column 'b': '-inf' is not a finite number"),
    "too large": ("a,b\n1,2\n3,1e999\n", {"target": "b"}, "'1e999' is not a finite number"),
    "NA": ("a,b\n1,2\nNA,4\n", {"target": "b"}, "line 3, column 'a': 'NA' is not a number"),
    "number among texts": ("a,b\nx,2\n3,4\n", {"target": "b"}, "line 3, column 'a': '3' is a number, but"),
    "underscores": ("a,b\n1,2\n1_0,4\n", {"target": "b"}, "'1_0' is not a number"),
    "other digits": ("a,b\n1,2\n٣,4\n", {"target": "b"}, "'٣' is not a number"),
    "hexadecimal": ("a,b\n1,2\n0x10,4\n", {"target": "b"}, "'0x10' is not a number"),
    "thousands": ('a,b\n"1,234",2\n', {"target": "b"}, "'1,234' looks like a number"),
    "percent": ("a,b\n5 %,2\n", {"target": "b"}, "'5 %' looks like a number"),
    "date": ("a,b\n2024-01-31,2\n", {"target": "b"}, "'2024-01-31' looks like a date"),
    "time": ("a,b\n12:30,2\n", {"target": "b"}, "'12:30' looks like a date"),
    "both decimal signs": ("a;b;y\n1,5;2.5;3\n", {}, "decimal commas, as '1,5' (line 2, column 'a'), and points"),
    "both decimal signs in a column": ("a;y\n1,5;1\n2.5;3\n", {}, "'1,5' (line 2, column 'a'), and points"),
    "a text among decimal commas": ("a;y\n1,5;1\nN.A.;3\n", {}, "line 3, column 'a': 'N.A.' is not a number"),
    "ragged": ("a,b\n1,2\n3\n", {"target": "b"}, "line 3 has 1 cell, but the first row has 2"),
    "too long a row": ("a,b\n1,2\n3,4,5\n", {"target": "b"}, "line 3 has 3 cells"),
    "open quote": ('a,b\n1,"2\n', {"target": "b"}, "line 2: unexpected end of data"),
    "text after a quote": ('a,b\n1,"2"x\n', {"target": "b"}, "line 2: ',' expected after '\"'"),
    "unprintable": ("a,b\n1,x\x00\n", {"target": "a"}, "line 2, column 'b': 'x\\x00' has characters that cannot"),
    "no UTF-8": (b"a,b\n1,2\n\xff,3\n", {"target": "b"}, "line 3 is not UTF-8 text; save it as UTF-8"),
    "UTF-16 that ends early": ("a,b\n1,2\n".encode("utf-16")[:-1], {"target": "b"}, "begins like UTF-16 text, but is"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), {"target": "b"}, "looks like UTF-16 text without"),
    "UTF-32": ("a,b\n1,2\n".encode("utf-32"), {"target": "b"}, "is UTF-32 text; save it as UTF-8"),
    "comments alone": ("# a\n\n# b\n", {}, "has only one column"),
    "a separator is missing": ("a,b,\n" + "5,6,\n" * 30 + "1,2\n", {"target": "b"}, "line 32 does not end with"),
    "comments without end": ("#\n" * 2000 + "a,b\n1,2\n", {}, "begins with more than 1,000 comment lines"),
    "a title": ("My table\na,b\n1,2\n", {}, "line 1 has one cell, but line 2 has 2; if it is a title, delete it"),
    "a cell too many": ("a,b,\n" + "5,6,\n" * 30 + "1,2,3\n", {"target": "b"}, "line 32 does not end with"),
    "endless text": (f"a,b\n{'x' * 1001},2\n", {"target": "b"}, "has 1,001 characters"),
    "task unknown": ("a,b\n1,2\n", {"target": "b", "task": "ranking"}, "unknown; choose classification"),
    "texts as numbers": ("a,b\n1,x\n", {"target": "b", "task": "regression"}, "'x' is not a number"),
    "labels beyond 1": ("a,b\n1,2\n", {"target": "b", "task": "multilabel"}, "must hold 0 and 1"),
    "fractions as classes": ("a,b\n1,2.5\n", {"target": "b", "task": "classification"}, "not whole, such as 2.5"),
    "mixed target": ("a,y\n1,2\n1,x\n", {}, "line 3, column 'y': 'x' is not a number"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_is_refused(case: str) -> None:
    text, asked, words = REFUSED[case]
    if asked.get("task") == "ranking":
        with pytest.raises(DataError, match=words):
            load(text, **asked)
        return
    assert words in refusal(text, **asked)


def test_a_target_is_for_tables_alone() -> None:
    for source in ("drawn:20", "sqlite:///no.db"):
        with pytest.raises(DataError, match="--target and --task are for tables"):
            load_dataset(source, target="y")
    Path("a.json").write_text("[]")
    with pytest.raises(DataError, match="--target and --task are for tables"):
        load_dataset("a.json", task="regression")


@pytest.mark.parametrize("cell", ["9" * 100_000 + "x", "1" + " " * 998 + "x", "1,1" * 30_000, "." * 100_000])
def test_long_cells_take_no_time(cell: str) -> None:
    assert "a.csv: line" in refusal(f'a,b\n1,2\n"{cell}",4\n' * 3, target="b")
    assert "a.csv: line" in refusal(f'a;b\n1,5;2\n"{cell}";4\n', target="b")


def test_many_columns() -> None:
    n = 100_000
    data = load(",".join(f"c{k}" for k in range(n)) + ",y\n" + "7," * n + "1.5\n")
    assert data.n_inputs == n
    assert dense(data)[0][-1] == 7


def test_too_many_columns_or_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.datasets.delimited.MOST_COLUMNS", 3)
    assert "has 4 columns; at most 3" in refusal("a,b,c,y\n1,2,3,4\n")
    monkeypatch.setattr("fastnn.datasets.cells.MOST_CELLS", 5)
    assert "more than 5 cells" in refusal("a,y\n1,2\n3,4\n5,6\n")


def test_large_tables_are_cached_with_target_task_and_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WORTH_CACHING", 0)
    text = "a,b,y\nx,1,2\nz,0,3\n"
    first = load(text)
    monkeypatch.setattr("fastnn.datasets.table.DelimitedText", None)
    again = load(text)
    assert again.content_hash == first.content_hash
    assert again.notes == first.notes
    assert again.columns == first.columns
    for asked in ({"target": "b"}, {"task": "regression"}):
        with pytest.raises(TypeError):
            load(text, **asked)


COLUMNS = (Column("a"), Column("colour", ("blue", "red")), Column("b"))


def rows_of(text: str, columns: tuple[Column, ...] | None = COLUMNS, n: int = 4) -> tuple[Any, tuple[str, ...]]:
    Path("a.csv").write_text(text)
    return read_rows(Path("a.csv"), columns, n)


def test_columns_of_a_model_are_found_by_name() -> None:
    rows, notes = rows_of("y,b,colour,a\n,2,red,1\nx,4,green,0\n")
    assert rows.toarray().tolist() == [[1, 0, 1, 2], [0, 0, 0, 4]]
    assert notes == (
        "a.csv: columns that the model does not take are left out: 'y'",
        (
            "a.csv: 1 of 2 rows have a text in column 'colour' that the model does not know, and no category there: "
            "'green'"
        ),
    )
    numbers, notes = rows_of("b,a\n2,1\n4,3\n", (Column("a"), Column("b")), 2)
    assert (numbers.tolist(), notes) == ([[1, 2], [3, 4]], ())


def test_rows_for_a_model_without_names_of_columns() -> None:
    for text in ("1,2\n3,4\n", "p,q\n1,2\n3,4\n", ",p,q\n0,1,2\n1,3,4\n"):
        rows, _ = rows_of(text, None, 2)
        assert rows.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(DataError, match="has 3 columns, but the model takes 2 numbers"):
        rows_of("1,2,3\n", None, 2)


def test_a_headless_table_is_read_by_a_model_of_one() -> None:
    columns = load("1,red,x\n2,blue,z\n", target="3").columns
    rows, _ = rows_of("3,red\n4,blue\n", columns, 3)
    assert rows.toarray().tolist() == [[3, 0, 1], [4, 1, 0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "has no column 'colour', which the model takes; it has 'a', 'b'"),
        ("a,b,colour\n1,,red\n", "line 2, column 'b': the cell is empty"),
        ("a,b,colour\n1,x,red\n", "line 2, column 'b': 'x' is not a number"),
        ("a,b,colour\n", "no rows"),
    ],
)
def test_rows_that_a_model_cannot_take(text: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(text)
    assert words in str(caught.value)
