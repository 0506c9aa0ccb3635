"""A large source is parsed once; what the cache holds is believed only if it is whole."""

import os
from pathlib import Path

import numpy as np
import pytest

from fastnn.datasets import Dataset, cache, load_dataset
from fastnn.datasets.convert import write_dataset
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


def no_parsing(*_: object) -> None:
    raise AssertionError("parsed again")


def forbid_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("digits_json._parse", "digits_json._parse_class_file", "csv_rows._parse"):
        monkeypatch.setattr(f"fastnn.datasets.{name}", no_parsing)


def test_second_load_comes_from_the_cache(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(source)
    assert first.content_hash == sample().content_hash
    (entry,) = entries(tmp_path)
    assert entry.suffix == ".npz"
    forbid_parsing(monkeypatch)
    second = load_dataset(source)
    assert second.content_hash == first.content_hash
    assert second.source == str(source)
    assert second.images.flags.writeable


def test_nothing_is_written_beside_the_source(source: Path, tmp_path: Path) -> None:
    folder = source if source.is_dir() else source.parent
    before = sorted(path.name for path in folder.iterdir())
    load_dataset(source)
    after = sorted(path.name for path in folder.iterdir() if path != tmp_path / "cache")
    assert after == before


def test_a_changed_source_is_parsed_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_dataset(sample(), path)
    load_dataset(path)
    write_dataset(sample().take([0, 1]), path, force=True)
    assert len(load_dataset(path)) == 2
    assert len(entries(tmp_path)) == 2


def test_the_cache_knows_content_not_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(sample(), tmp_path / "a.json")
    load_dataset(tmp_path / "a.json")
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    forbid_parsing(monkeypatch)
    assert load_dataset(tmp_path / "b.json").source == str(tmp_path / "b.json")


@pytest.mark.parametrize("damage", ["empty", "cut", "other pixels", "other labels", "text", "no checksum"])
def test_a_damaged_entry_is_passed_over_and_written_anew(damage: str, tmp_path: Path) -> None:
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


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "file"))
    write_dataset(sample(), tmp_path / "a.json")
    assert load_dataset(tmp_path / "a.json").content_hash == sample().content_hash
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_failing_disk_leaves_no_half_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
