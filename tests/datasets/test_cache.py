"""A large source is parsed once; entries of the cache are used only if they are intact."""

import os
from pathlib import Path

import numpy as np
import pytest

from fastnn.datasets import Dataset, cache, load_dataset
from fastnn.datasets.writers import write_dataset
from tests.datasets.samples import DIGITS, images


@pytest.fixture(autouse=True)
def small_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WORTH_CACHING", 0)


def sample() -> Dataset:
    return Dataset(images(4), np.array([1, 0, 2, 1]), ("ant", "bee", "cat"), "a sample")


@pytest.fixture(params=["a.json", "a.json.gz", "a.csv", "folder"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made = sample()
    if request.param == "folder":
        (tmp_path / "folder").mkdir()
        write_dataset(made, tmp_path / "folder" / "0.json")
        return tmp_path / "folder"
    write_dataset(made, tmp_path / request.param)
    return tmp_path / str(request.param)


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.*"))


def replace_entry(entry: Path, tmp_path: Path) -> str:
    """Replace an entry by a valid entry of another data set; return the hash of that data set."""
    other = sample().take([3, 2])
    write_dataset(other, tmp_path / "other.json")
    load_dataset(tmp_path / "other.json")
    (written,) = set(entries(tmp_path)) - {entry}
    written.replace(entry)
    return load_dataset(tmp_path / "other.json").content_hash


def test_second_load_comes_from_the_cache(source: Path, tmp_path: Path) -> None:
    first = load_dataset(source)
    assert first.content_hash == sample().content_hash
    (entry,) = entries(tmp_path)
    assert entry.suffix == ".npz"
    assert load_dataset(source).content_hash == first.content_hash
    other = replace_entry(entry, tmp_path)
    # Parsing the source would give the first data set.
    second = load_dataset(source)
    assert second.content_hash == other != first.content_hash
    assert second.source == str(source)
    assert second.images.flags.writeable


def test_nothing_is_written_beside_the_source(source: Path, tmp_path: Path) -> None:
    folder = source if source.is_dir() else source.parent
    before = sorted(path.name for path in folder.iterdir())
    load_dataset(source)
    after = sorted(path.name for path in folder.iterdir() if path != tmp_path / "cache")
    assert after == before


def test_a_changed_source_is_parsed_again(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_dataset(sample(), path)
    load_dataset(path)
    write_dataset(sample().take([0, 1]), path, force=True)
    assert len(load_dataset(path)) == 2
    assert len(entries(tmp_path)) == 2


def test_the_cache_depends_on_content_not_on_names(tmp_path: Path) -> None:
    write_dataset(sample(), tmp_path / "a.json")
    load_dataset(tmp_path / "a.json")
    (entry,) = entries(tmp_path)
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    other = replace_entry(entry, tmp_path)
    renamed = load_dataset(tmp_path / "b.json")
    assert (renamed.content_hash, renamed.source) == (other, str(tmp_path / "b.json"))


@pytest.mark.parametrize("damage", ["empty", "cut", "other pixels", "other labels", "text", "no checksum"])
def test_a_damaged_entry_is_ignored_and_replaced(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_dataset(sample(), path)
    load_dataset(path)
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    arrays = dict(np.load(entry))
    if damage == "other pixels":
        arrays["images"][0, 0] ^= 1
    elif damage == "other labels":
        arrays["labels"][0] ^= 2
    elif damage == "no checksum":
        del arrays["checksum"]
    if damage in ("empty", "cut", "text"):
        entry.write_bytes({"empty": b"", "cut": whole[:-50], "text": b"hello"}[damage])
    else:
        np.savez(entry, **arrays)
    assert load_dataset(path).content_hash == sample().content_hash
    assert entries(tmp_path) == [entry]
    assert {name: array.tolist() for name, array in np.load(entry).items()}["checksum"] == sample().content_hash


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "file"))
    write_dataset(sample(), tmp_path / "a.json")
    assert load_dataset(tmp_path / "a.json").content_hash == sample().content_hash
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_cache_with_an_impossible_name_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / ("long" * 100)))
    write_dataset(sample(), tmp_path / "a.json")
    assert load_dataset(tmp_path / "a.json").content_hash == sample().content_hash


def test_a_full_disk_leaves_no_partial_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    write_dataset(sample(), tmp_path / "a.json")
    monkeypatch.setattr(os, "fsync", full)
    assert load_dataset(tmp_path / "a.json").content_hash == sample().content_hash
    assert entries(tmp_path) == []


def test_small_sources_are_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WORTH_CACHING", 1 << 20)
    write_dataset(Dataset(images(2), np.array([1, 2]), DIGITS, "a sample"), tmp_path / "a.json")
    load_dataset(tmp_path / "a.json")
    assert entries(tmp_path) == []


def settled(path: Path, seconds: int = 60) -> None:
    """Set the times of a file as if it had been written a while ago."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - seconds * 10**9))


def no_hashing(*_: object) -> None:
    raise AssertionError("hashed again")


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.json"
    write_dataset(sample(), source)
    settled(source)
    load_dataset(source)
    load_dataset(source)
    (note,) = (tmp_path / "cache").rglob("*.seen")
    with monkeypatch.context() as patch:
        patch.setattr(cache.hashlib, "file_digest", no_hashing)
        assert load_dataset(source).content_hash == sample().content_hash
    # Other content of the same size; then a stored hash that is damaged, or of data that are not in the cache.
    content = source.read_bytes()
    other = content.replace(b'"bee"', b'"fly"')
    assert len(other) == len(content)
    assert other != content
    source.write_bytes(other)
    settled(source, 30)
    assert load_dataset(source).classes == ("ant", "cat", "fly")
    for damaged in (b"", b"\xff nonsense", note.read_bytes()[:-1], note.read_bytes()[:-64] + b"0" * 64):
        note.write_bytes(damaged)
        assert load_dataset(source).classes == ("ant", "cat", "fly")


def test_a_file_written_just_now_is_hashed_each_time(tmp_path: Path) -> None:
    source = tmp_path / "a.json"
    write_dataset(sample(), source)
    for _ in range(3):
        load_dataset(source)
    assert not list((tmp_path / "cache").rglob("*.seen"))
