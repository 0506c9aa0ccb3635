"""Downloads: only the right file is written, and only if it is needed. The server runs on this machine."""

import contextlib
import gzip
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastnn.datasets import digits as original
from fastnn.datasets import load_dataset, mnist
from fastnn.datasets.fetch import Remote, download
from fastnn.errors import DataError, FetchError
from tests.datasets.samples import digit, idx_images, idx_labels, images, json_bytes, served

CONTENT = b"the right file " * 10_000


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def remote(*urls: str, limit: int = 1 << 20) -> Remote:
    return Remote("a.bin", urls, limit, lambda content: None if content == CONTENT else "a.bin is another file")


def refused_url() -> str:
    """Return an address that refuses connections."""
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/"


def test_download(tmp_path: Path) -> None:
    steps: list[tuple[str, float]] = []
    with served({"/a.bin": CONTENT}) as (url, _):
        path = download(remote(f"{url}a.bin"), tmp_path / "new" / "folder", lambda *step: steps.append(step))
    assert path == tmp_path / "new" / "folder" / "a.bin"
    assert path.read_bytes() == CONTENT
    assert {text for text, _ in steps} == {"downloading a.bin"}
    shares = [share for _, share in steps]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_wrong_file_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    with served({"/a.bin": b"an error page"}) as (url, _), pytest.raises(FetchError) as caught:
        download(remote(f"{url}a.bin"), tmp_path / "new")
    assert "a.bin is another file; what arrived was deleted" in str(caught.value)
    assert f"{url}a.bin" in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_download_that_is_too_long_is_stopped(tmp_path: Path) -> None:
    with (
        served({"/a.bin": bytes(3 << 20)}) as (url, _),
        pytest.raises(FetchError, match="longer than the allowed 1048576 bytes"),
    ):
        download(remote(f"{url}a.bin"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_second_address_is_tried_when_the_first_fails(tmp_path: Path) -> None:
    files = {"/wrong/a.bin": b"no", "/right/a.bin": CONTENT}
    with served(files) as (url, asked):
        urls = [f"{refused_url()}a.bin", f"{url}missing/a.bin", f"{url}wrong/a.bin", f"{url}right/a.bin"]
        assert download(remote(*urls), tmp_path).read_bytes() == CONTENT
        assert asked == ["/missing/a.bin", "/wrong/a.bin", "/right/a.bin"]


def test_every_address_is_named_with_its_fault(tmp_path: Path) -> None:
    nobody = f"{refused_url()}a.bin"
    with served({}) as (url, _), pytest.raises(FetchError) as caught:
        download(remote(nobody, f"{url}a.bin"), tmp_path / "new")
    message = str(caught.value)
    assert f"{nobody}: Connection refused" in message
    assert f"{url}a.bin: 404 Client Error" in message
    assert "\n" not in message
    assert caught.value.exit_code == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with served({"/a.bin": CONTENT}) as (url, _), pytest.raises(FetchError, match="cannot be written"):
        download(remote(f"{url}a.bin"), tmp_path / "file")


def test_blob_id_is_gits() -> None:
    # `echo hello | git hash-object --stdin`
    assert original.blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


DIGITS_JSON = json_bytes(*[digit(label, **{f"p{label}": 0}) for label in range(10)])


def digits_remote(url: str) -> Remote:
    right = original.blob_id(DIGITS_JSON)
    return Remote(
        "dataset.json",
        (f"{url}dataset.json",),
        1 << 20,
        lambda content: None if original.blob_id(content) == right else "wrong id",
    )


def no_download(*_: object, **__: object) -> Path:
    raise AssertionError("something was downloaded")


def test_digits_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(original, "BLOB", original.blob_id(DIGITS_JSON))
    with served({"/dataset.json": DIGITS_JSON}) as (url, asked):
        for _ in range(2):
            loaded = original.load_digits(tmp_path / "cache" / "digits", remote=digits_remote(url))
            assert (len(loaded), loaded.source, loaded.notes) == (10, "digits", ())
        assert asked == ["/dataset.json"]
    assert load_dataset("digits").labels.tolist() == list(range(10))


def test_a_wrong_download_of_digits_is_refused(tmp_path: Path) -> None:
    with (
        served({"/dataset.json": DIGITS_JSON + b" "}) as (url, _),
        pytest.raises(FetchError, match=r"dataset\.json.*wrong id"),
    ):
        original.load_digits(tmp_path / "cache" / "digits", remote=digits_remote(url))
    assert list(tmp_path.rglob("dataset.json*")) == []


def test_the_pinned_file_is_recognised_by_its_id() -> None:
    fault = original.REMOTE.fault(DIGITS_JSON)
    assert fault is not None
    assert original.BLOB in fault
    assert all(original.COMMIT in url for url in original.REMOTE.urls)


@pytest.mark.parametrize(
    ("place", "environment"),
    [
        ("named/dataset.json", "named"),
        ("named/digits/dataset.json", "named"),
        ("named/other.json", "named/other.json"),
        ("data/dataset.json", None),
        ("data/digits/dataset.json", None),
        ("cache/digits/dataset.json", None),
    ],
)
def test_where_digits_are_found(
    place: str, environment: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_bytes(DIGITS_JSON)
    if environment:
        monkeypatch.setenv("FASTNN_DATA", str(tmp_path / environment))
    monkeypatch.setattr(original, "download", no_download)
    loaded = load_dataset("digits")
    assert len(loaded) == 10
    assert loaded.source == "digits"
    assert "not the original's file of 13,942 digits; it holds 10" in loaded.notes[0]
    assert Path(place).name in loaded.notes[0]


def test_the_path_in_the_environment_comes_before_data_and_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count, folder in enumerate(("named", "data", "cache/digits"), start=1):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "dataset.json").write_bytes(json_bytes(*[digit()] * count))
    monkeypatch.setenv("FASTNN_DATA", "named")
    assert len(load_dataset("digits")) == 1
    monkeypatch.delenv("FASTNN_DATA")
    assert len(load_dataset("digits")) == 2


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_a_missing_path_in_the_environment_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_DATA", "/no/such/place")
    with pytest.raises(DataError, match="FASTNN_DATA=/no/such/place"):
        load_dataset(name)


def test_offensive_drawings_are_left_out_of_digits_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_bytes(DIGITS_JSON)
    whole = load_dataset("data/dataset.json")
    assert len(whole) == 10
    blocked = {hashlib.sha256(whole.images[i].tobytes()).hexdigest() for i in (2, 5)}
    monkeypatch.setattr(original, "BLOCKED", blocked)
    loaded = load_dataset("digits")
    assert loaded.labels.tolist() == [0, 1, 3, 4, 6, 7, 8, 9]
    assert "2 offensive drawings were left out" in loaded.notes
    assert len(load_dataset("data/dataset.json")) == 10


def test_the_block_list_is_the_shared_one(shared: Path) -> None:
    lines = (shared / "digits" / "blocklist.txt").read_text().splitlines()
    assert {line for line in lines if not line.startswith("#")} == original.BLOCKED


def mnist_files() -> dict[str, bytes]:
    """Return tiny files in MNIST's format by their plain names."""
    ink = ~images(5)
    return {
        "train-images-idx3-ubyte": idx_images(3, ink[:3].tobytes()),
        "train-labels-idx1-ubyte": idx_labels(3, bytes([5, 0, 4])),
        "t10k-images-idx3-ubyte": idx_images(2, ink[3:].tobytes()),
        "t10k-labels-idx1-ubyte": idx_labels(2, bytes([7, 2])),
    }


@pytest.fixture
def tiny_mnist(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    files = mnist_files()
    monkeypatch.setattr(mnist, "MD5", {name: hashlib.md5(content).hexdigest() for name, content in files.items()})  # noqa: S324
    return files


def assert_tiny_mnist(folder: Path, files: tuple[Remote, ...] = ()) -> None:
    loaded = mnist.load_mnist(folder, files=files)
    np.testing.assert_array_equal(loaded.images, images(5)[:3])
    assert loaded.labels.tolist() == [5, 0, 4]
    assert loaded.source == "mnist"
    assert loaded.test is not None
    np.testing.assert_array_equal(loaded.test.images, images(5)[3:])
    assert loaded.test.labels.tolist() == [7, 2]


def test_mnist_is_downloaded_from_the_mirror_that_works(tiny_mnist: dict[str, bytes], tmp_path: Path) -> None:
    packed = {f"/m/{name}.gz": gzip.compress(content) for name, content in tiny_mnist.items()}
    folder = tmp_path / "cache" / "mnist"
    with served(packed) as (url, _):
        assert_tiny_mnist(folder, mnist.remotes([refused_url(), f"{url}m/"]))
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.gz" for name in tiny_mnist)
    assert_tiny_mnist(folder)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda packed: gzip.compress(gzip.decompress(packed) + b"x"), "has the MD5 checksum"),
        (lambda packed: packed[:-9], "truncated"),
        (lambda _: b"<html>", "not a gzip file"),
    ],
)
def test_a_wrong_file_of_mnist_is_named(
    spoil: Callable[[bytes], bytes], words: str, tiny_mnist: dict[str, bytes], tmp_path: Path
) -> None:
    packed = {f"/{name}.gz": gzip.compress(content) for name, content in tiny_mnist.items()}
    packed["/train-labels-idx1-ubyte.gz"] = spoil(packed["/train-labels-idx1-ubyte.gz"])
    with served(packed) as (url, _), pytest.raises(FetchError, match=rf"train-labels-idx1-ubyte.*{words}"):
        mnist.load_mnist(tmp_path / "m", files=mnist.remotes([url]))
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["train-images-idx3-ubyte.gz"]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["named", "named/mnist", "data", "data/mnist", "cache/mnist"])
def test_where_mnist_is_found(
    place: str, packed: bool, tiny_mnist: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / place).mkdir(parents=True)
    for name, content in tiny_mnist.items():
        path = tmp_path / place / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    if place.startswith("named"):
        monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "named"))
    monkeypatch.setattr(mnist, "download", no_download)
    assert_tiny_mnist(tmp_path)


def test_a_changed_file_of_mnist_is_refused(tiny_mnist: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, content in tiny_mnist.items():
        (tmp_path / "data" / name).write_bytes(content)
    (tmp_path / "data" / "t10k-labels-idx1-ubyte").write_bytes(idx_labels(2, bytes([7, 3])))
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: not MNIST's file"):
        load_dataset("mnist")
    # A folder given by its path is not checked.
    loaded = load_dataset("data")
    assert loaded.test is not None
    assert loaded.test.labels.tolist() == [7, 3]


def test_mnist_is_read_once(tiny_mnist: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    labels = tmp_path / "data" / "t10k-labels-idx1-ubyte"

    def write(name: str, content: bytes, written: int = 1_700_000_000) -> None:
        (tmp_path / "data" / name).write_bytes(content)
        os.utime(tmp_path / "data" / name, (written, written))

    for name, content in tiny_mnist.items():
        write(name, content)
    first = load_dataset("mnist")
    with monkeypatch.context() as patch:
        patch.setattr(mnist.idx, "parse_images", None)
        second = load_dataset("mnist")
    assert (first.test, second.test) != (None, None)
    for one, other in ((first, second), (first.test or first, second.test or first)):
        assert (one.source, one.classes, one.content_hash) == (other.source, other.classes, other.content_hash)
        assert (one.labels.dtype, one.images.shape) == (other.labels.dtype, other.images.shape)
        assert other.images.flags.writeable
    # A file that has changed is read again, and so is one that was written a moment ago.
    write(labels.name, idx_labels(2, bytes([7, 3])), 1_700_000_001)
    with pytest.raises(DataError, match="not MNIST's file"):
        load_dataset("mnist")
    labels.write_bytes(tiny_mnist[labels.name])
    assert load_dataset("mnist").content_hash == first.content_hash
    labels.write_bytes(idx_labels(2, bytes([7, 3])))
    with pytest.raises(DataError, match="not MNIST's file"):
        load_dataset("mnist")


@pytest.mark.parametrize("spoil", ["entry", "other test set"])
def test_a_damaged_copy_of_mnist_is_not_used(spoil: str, tiny_mnist: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, content in tiny_mnist.items():
        (tmp_path / "data" / name).write_bytes(content)
        os.utime(tmp_path / "data" / name, (1_700_000_000, 1_700_000_000))
    load_dataset("mnist")
    (entry,) = (tmp_path / "cache").rglob("*.npz")
    if spoil == "entry":
        entry.write_bytes(entry.read_bytes()[:-100])
    else:
        with np.load(entry) as kept:
            np.savez(entry, **{**kept, "test_labels": kept["test_labels"][::-1]})
    assert_tiny_mnist(tmp_path)


def test_the_real_mnist_by_name(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_DATA", str(shared))
    monkeypatch.setattr(mnist, "download", no_download)
    loaded = load_dataset("mnist")
    assert (len(loaded), len(loaded.test or ())) == (60_000, 10_000)
