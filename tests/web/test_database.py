import contextlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from fastnn.datasets import Dataset, database, load_dataset
from fastnn.datasets.database import import_dataset, open_engine, without_password
from fastnn.errors import DataError
from fastnn.web.store import Store, StoreError
from tests.helpers import invoke, run_fastnn
from tests.web.servers import accept, changing, new_digit


def test_a_data_set_survives_import_and_export(url: str, tmp_path: Path, drawn: Dataset) -> None:
    # Duplicates, and one image with two labels, must not be lost.
    some = drawn.take([*range(600), 5, 5, 7])
    labels = some.labels.copy()
    labels[-1] = (labels[-1] + 1) % 10
    some = Dataset(some.images, labels, some.classes, "some")
    source, target = tmp_path / "dataset.json", tmp_path / "back.json"
    digits = [
        {"image": image.tolist(), "label": label} for image, label in zip(some.images, labels.tolist(), strict=True)
    ]
    source.write_text(json.dumps(digits))
    done = invoke(["data", "import", str(source), "--into", url, "--contributor", "Ann"])
    assert (done.exit_code, done.output.splitlines()) == (0, ["stored 603 digits"])
    again = invoke(["data", "import", str(source), "--into", url])
    assert again.output.splitlines() == ["stored 0 digits; 603 existed already"]
    done = invoke(["data", "convert", url, str(target)])
    assert done.exit_code == 0, done.output
    assert json.loads(target.read_text()) == digits
    assert load_dataset(url).content_hash == some.content_hash
    store = Store(url)
    assert store.credits(5) == [{"name": "Ann", "digits": 603}]
    store.close()


def test_postgresql_knows_how_many_digits_an_import_has_stored(postgres_url: str, drawn: Dataset) -> None:
    import_dataset(drawn.take(range(600)), postgres_url, review=True)
    with changing(postgres_url) as connection:
        known = connection.execute(sa.text("SELECT reltuples FROM pg_class WHERE relname = 'fastnn_digits'"))
        assert known.scalar_one() == 600  # the planner's statistics; -1 without them


def test_a_later_version_of_a_file_adds_only_new_digits(url: str, drawn: Dataset) -> None:
    assert import_dataset(drawn.take([*range(300), 7]), url) == (301, 0)
    # New digits in front and between, another order, and one digit three times instead of twice.
    later = drawn.take([*range(350, 360), 7, 7, *range(299, -1, -1), *range(360, 400)])
    assert import_dataset(later, url) == (51, 301)
    assert import_dataset(later, url) == (0, 352)
    assert len(load_dataset(url)) == 352


def test_an_export_that_is_imported_again_adds_nothing(url: str, drawn: Dataset) -> None:
    store = Store(url)
    accept(store, drawn.take(range(40)))
    import_dataset(drawn.take(range(40, 80)), url)
    first, second, third = (new_digit(n, label=4) for n in range(3))
    store.add([first, second, third], "", "")
    store.desk.review(first.id, "relabel", 8, "")
    store.desk.review(second.id, "reject", None, "")
    exported = load_dataset(url)
    assert len(exported) == 81
    assert import_dataset(exported, url) == (0, 81)
    # Relabelled, rejected and pending digits are known by their given label too.
    given = np.stack([np.frombuffer(one.pixels, np.uint8) for one in (first, second, third)])
    same = Dataset(given, np.full(3, 4), exported.classes, "given")
    assert import_dataset(same, url) == (0, 3)
    # The same image with a third label is a new digit.
    assert import_dataset(Dataset(given, np.full(3, 5), exported.classes, "other"), url) == (3, 0)
    store.close()


def test_reading_does_not_change_the_file_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE addresses (name TEXT)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(DataError, match="holds no digits of fastnn"):
        load_dataset(f"sqlite:///{path}")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["other.db"]


def test_an_unresponsive_postgresql_times_out(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(f"{postgres_url}?keepalives_count=9", create=True)
    with engine.connect() as connection:
        parameters = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
        timeouts = [parameters[name] for name in ("connect_timeout", "tcp_user_timeout", "keepalives_idle")]
        assert timeouts == ["5", "15000", "5"]
        assert parameters["keepalives_count"] == "9"  # the URL takes precedence
        assert connection.execute(sa.text("SHOW lock_timeout")).scalar() == "10s"
    engine.dispose()
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    store = Store(postgres_url)
    one = new_digit(1)
    store.add([one], "", "")
    with changing(postgres_url) as connection:
        connection.execute(sa.text("SELECT * FROM fastnn_digits FOR UPDATE"))
        with pytest.raises(StoreError, match="lock timeout"):
            store.desk.review(one.id, "accept", None, "")
    store.close()


def test_an_import_for_review_is_pending(url: str, drawn: Dataset) -> None:
    assert import_dataset(drawn.take(range(30)), url, review=True) == (30, 0)
    store = Store(url)
    assert store.states() == {"pending": 30, "accepted": 0, "rejected": 0}
    store.close()
    with pytest.raises(DataError, match="no accepted digits yet"):
        load_dataset(url)


def test_training_reads_the_database(sqlite_url: str, tmp_path: Path, drawn: Dataset) -> None:
    import_dataset(drawn.take(range(300)), sqlite_url)
    done = run_fastnn(
        "train", "--data", sqlite_url, "--epochs", "1", "--hidden", "8", "--out", "run", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["n_train"] + result["n_test"] == 300


def test_other_classes_are_refused(sqlite_url: str) -> None:
    words = Dataset(np.zeros((2, 784), np.uint8), np.arange(2), ("cat", "dog"), "pets")
    with pytest.raises(DataError, match="pets: its classes are cat, dog"):
        import_dataset(words, sqlite_url)


def test_a_data_set_with_some_of_the_classes_is_imported_by_their_names(url: str) -> None:
    Store(url, ("cat", "dog", "owl")).close()
    images = np.zeros((3, 784), np.uint8)
    images[1], images[2] = 1, 2
    some = Dataset(images, np.array([0, 1, 0]), ("owl", "cat"), "pets")
    assert import_dataset(some, url) == (3, 0)
    assert import_dataset(some, url) == (0, 3)
    found = load_dataset(url)
    assert (found.classes, found.labels.tolist()) == (("cat", "dog", "owl"), [2, 0, 2])
    with pytest.raises(
        DataError, match=r"its classes are owl, ant; .* holds only cat, dog, owl \(fastnn serve --classes"
    ):
        import_dataset(Dataset(images, np.array([0, 1, 0]), ("owl", "ant"), "pets"), url)


def damaged(path: Path, statement: str) -> None:
    store = Store(f"sqlite:///{path}")
    store.add([new_digit(n) for n in range(3)], "", "m")
    for row in store.desk.queue(10):
        store.desk.review(row["id"], "relabel", 3, "")
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE fastnn_digits SET pixels = zeroblob(783) WHERE seq = 2", "digit 2 is damaged"),
        ("UPDATE fastnn_digits SET pixels = zeroblob(100000000) WHERE seq = 2", "digit 2 is damaged"),
        ("UPDATE fastnn_digits SET pixels = printf('%784d', 1) WHERE seq = 3", "digit 3 is damaged"),
        ("UPDATE fastnn_digits SET label = 10 WHERE seq = 1", "digit 1 is damaged"),
        ("UPDATE fastnn_digits SET label = NULL WHERE seq = 1", "digit 1 is damaged"),
        ("UPDATE fastnn_digits SET label = 'x' WHERE seq = 1", "digit 1 is damaged"),
        ("UPDATE fastnn_about SET version = 99", "its schema has version 99"),
        ("INSERT INTO fastnn_classes VALUES (1, 'a')", "its classes are damaged"),
        ("INSERT INTO fastnn_classes VALUES (0, 'a'), (1, 'a')", "two classes have the same name"),
        ("INSERT INTO fastnn_classes VALUES (0, zeroblob(3))", "its classes are damaged"),
        ("INSERT INTO fastnn_classes VALUES (0, 'a'), (1, 'b')", "digit 1 is damaged: not 784 bytes .* 0 to 1"),
        ("DELETE FROM fastnn_about", "its schema has version None"),
        ("DROP TABLE fastnn_digits", "no such table"),
        ("DROP TABLE fastnn_about", "holds no digits of fastnn"),
    ],
)
def test_the_error_for_a_damaged_database_names_it(tmp_path: Path, statement: str, message: str) -> None:
    path = tmp_path / "digits.db"
    damaged(path, statement)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(f"sqlite:///{path}")
    assert str(caught.value).startswith(f"sqlite:///{path}: ")
    assert "\n" not in str(caught.value)


def test_an_import_skips_damaged_rows(tmp_path: Path, drawn: Dataset) -> None:
    path = tmp_path / "digits.db"
    damaged(path, "UPDATE fastnn_digits SET pixels = printf('%784d', 1), given = 'x' WHERE seq = 2")
    assert import_dataset(drawn.take(range(5)), f"sqlite:///{path}") == (5, 0)


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "digits.db"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"digits\.db: "):
        load_dataset(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///missing.db", "no such database file"),
        ("sqlite://", "give the path of a file"),
        ("sqlite:///:memory:", "give the path of a file"),
        ("sqlite:///file:x.db?uri=true", "give the path of a file"),
        ("sqlite:x", "not a database URL"),
        ("postgresql://u:hidden@127.0.0.1:1/x", "cannot be used"),
        ("postgresql://u:hidden@127.0.0.1:port/x", "not a database URL"),
    ],
)
def test_an_invalid_url_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke(["data", "info", url])
    assert done.exit_code == 2
    assert message in done.output
    assert "hidden" not in done.output
    assert len(done.output.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://u:hidden@host/x") == "postgresql://u:***@host/x"
    assert without_password("hidden") == "database URL"


@pytest.fixture
def small_database(tmp_path: Path, drawn: Dataset) -> Path:
    path = tmp_path / "small.db"
    import_dataset(drawn.take(range(3)), f"sqlite:///{path}")
    return path


def test_a_database_whose_text_is_damaged_is_named(small_database: Path) -> None:
    whole = small_database.read_bytes()
    for word in (b"fastnn_reviews", b"fastnn_about", b"accepted", b"SMALLINT", b"version"):
        places = [at for at in range(len(whole)) if whole.startswith(word, at)]
        assert places
        for at in places:
            small_database.write_bytes(whole[: at + 2] + b"\x90" + whole[at + 3 :])
            # Some names are not needed, and a digit of another state is not read.
            with contextlib.suppress(DataError):
                assert len(load_dataset(f"sqlite:///{small_database}")) > 0


_ENDLESS = """
    ALTER TABLE fastnn_digits RENAME TO other;
    CREATE VIEW fastnn_digits AS WITH RECURSIVE endless AS
        (SELECT * FROM other UNION ALL SELECT * FROM endless) SELECT * FROM endless
"""
_COMPUTED = """
    ALTER TABLE fastnn_digits RENAME TO other;
    CREATE TABLE fastnn_digits (seq INTEGER PRIMARY KEY, label INT, state TEXT, pixels AS (zeroblob(1000000000)));
    INSERT INTO fastnn_digits (label, state) VALUES (1, 'accepted')
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE fastnn_digits SET pixels = zeroblob(100000000)", "cannot be used|is damaged"),
        ("UPDATE fastnn_about SET version = printf('%.*c', 1000000, 'x')", "has version 'xxx"),
        (_ENDLESS, "fastnn_digits is computed and not stored"),
        (_COMPUTED, "fastnn_digits is computed and not stored"),
    ],
)
def test_a_database_that_takes_no_end_is_refused(change: str, message: str, small_database: Path) -> None:
    with closing(sqlite3.connect(small_database)) as connection:
        connection.executescript(change)
        connection.commit()
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(f"sqlite:///{small_database}")
    assert len(str(caught.value)) < 400 + len(str(small_database))


def test_a_name_that_is_no_text_is_refused(tmp_path: Path, drawn: Dataset) -> None:
    with pytest.raises(DataError, match="cannot be used"):
        import_dataset(drawn.take([1]), f"sqlite:///{tmp_path / 'a.db'}", contributor="\udcff")
