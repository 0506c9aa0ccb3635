"""Inputs: only regular files are read, within bounds on memory, and by one function."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastnn.errors import DataError, ModelError
from fastnn.reading import LINE_LIMIT, open_file, read_csv_rows, read_file, text_lines
from tests.helpers import ROOT, TIMEOUT, ChildProcess, environment

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and devices of Linux")


# ---- one function ----


def test_a_file_is_read_up_to_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with open_file(path, 5) as file:
        with path.open("ab") as more:
            more.write(b"6789")
        assert file.size == 5
        assert file.read(1) == b"1"
        # A damaged file may ask for more than there is: no memory is taken for that.
        assert file.read(1 << 60) == b"2345"
        assert file.read() == b""
        file.seek(3)
        assert file.read() == b"45"


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match="a: too large to be a model; the limit is 64 KiB"):
        read_file(path, 1 << 16, what="a model", error=ModelError)


@pytest.mark.parametrize("path", ["none", "a\0b", "a" * 5000])
def test_a_file_that_cannot_be_opened_is_named(path: str) -> None:
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_file(path, 1)
    assert path[:1] in str(caught.value)


def test_the_file_that_was_opened_counts_and_not_the_one_that_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    regular, pipe = tmp_path / "a", tmp_path / "pipe"
    regular.write_bytes(b"1")
    os.mkfifo(pipe)
    looked = regular.stat()
    assert stat.S_ISREG(looked.st_mode)
    monkeypatch.setattr(Path, "stat", lambda *_, **__: looked)
    with pytest.raises(DataError, match="is a named pipe, not a regular file"):
        open_file(pipe, 1)


def test_lines_are_bounded() -> None:
    pieces = [b"a\nb", b"c\n\nd"]
    assert list(text_lines(pieces, "x", what="a list")) == [b"a", b"bc", b"", b"d"]
    with pytest.raises(DataError, match=r"x: not a list \(line 2 is longer than 64 KiB\)"):
        list(text_lines([b"a\n"] + [b"a" * 1000] * 100, "x", what="a list"))
    with pytest.raises(DataError, match="follows too many empty ones"):
        list(text_lines([b"\n" * 1000] * 100, "x", what="a list"))


def test_rows_of_csv_may_have_cells_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n\r\n"1\n2",3\r4,5')
    assert list(read_csv_rows(path, 100, what="a list")) == [(1, ["a", "b"]), (4, ["1\n2", "3"]), (5, ["4", "5"])]
    path.write_bytes(b'"' + b"aaaaaaa\n" * LINE_LIMIT)
    with pytest.raises(DataError, match="is longer than 64 KiB"):
        list(read_csv_rows(path, 1 << 30, what="a list"))


_OPENING = {
    "open", "fdopen", "FileIO", "read_bytes", "read_text", "memmap", "open_memmap", "fromfile", "loadtxt", "genfromtxt",
    "mmap", "safe_open", "load_file", "GzipFile", "ZipFile", "BZ2File", "LZMAFile", "copyfile", "copy2", "copytree",
}  # fmt: skip
"""Names of functions that open files."""
_OF_MODULES = {"shutil.copy", "np.load", "numpy.load", "tomllib.load", "json.load", "sqlite3.connect"}

EXCEPTIONS = {
    "reading.py: os.open": "this is the function",
    "storage.py: os.fdopen": "writes",
    "storage.py: source.open": "a temporary file of this process",
    "storage.py: os.open": "opens a folder to flush it",
    "storage.py: path.open": "opens a file to flush it",
    "temporaries.py: read_bytes": "a file of the kernel, with a fixed name; its size says 0",
    "cli/_streams.py: os.open": "opens the null device",
    "cli/guide.py: read_text": "the guides are part of the package, which may be an archive",
    "formats/html_page.py: read_text": "scripts of the package, which may be an archive",
    "sweep/storages.py: self._path.open": "appends to the journal",
    "threads.py: _QUOTA.read_text": "a file of the kernel, with a fixed name; its size says 0",
    "datasets/shared.py: mmap.mmap": "maps a file that open_file has just opened",
    "formats/safetensors.py: safetensors.safe_open": "maps a file that open_file has just checked",
    "datasets/schema.py: sqlite3.connect": "copies a database that is open",
    "datasets/arrow_text.py: path.open": "writes",
    "datasets/archives.py: path.open": "writes",
    "datasets/npy.py: mmap.mmap": "maps a file that open_file has just opened",
    "datasets/small_pictures.py: path.open": "writes",
    "datasets/spool.py: path.open": "writes",
    "datasets/spool.py: mmap.mmap": "maps a file that it has just made",
    "datasets/safe_read.py: mmap.mmap": "maps a file that open_file has just opened",
    "large_arrays.py: mmap.mmap": "maps a file that it has made",
    "datasets/mapped.py: mmap.mmap": "maps a file that open_file has just opened",
    "datasets/store_files.py: path.open": "writes",
    "datasets/store_files.py: mmap.mmap": "maps a file that it has just made",
    "datasets/npz_archive.py: zipfile.ZipFile": "is given an open file",
    "datasets/npz_archive.py: archive.open": "opens a member of an archive",
    "datasets/writers.py: gzip.GzipFile": "writes",
    "web/export.py: gzip.GzipFile": "writes",
    "datasets/zip_members.py: zipfile.ZipFile": "is given an open file",
    "datasets/zip_members.py: self._archive.open": "opens a member of an archive",
    "images/decode.py: Image.open": "is given bytes",
    "images/decode.py: os.open": "opens the null device",
    "cli/train.py: session.open": "opens a session",
    "session.py: self.open": "opens a session",
    "session.py: session.open": "opens a session",
}


def opened_elsewhere(source: str, module: str) -> set[str]:
    """Return the calls in a module that may open a file, as ``module: call``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        if last in _OPENING or name in _OF_MODULES:
            found.add(f"{module}: {last if '(' in name else name}")
    return found


def test_no_other_module_opens_a_file_for_reading() -> None:
    found = set()
    for path in sorted((ROOT / "fastnn").rglob("*.py")):
        found |= opened_elsewhere(path.read_text(), path.relative_to(ROOT / "fastnn").as_posix())
    assert found - EXCEPTIONS.keys() == set(), "use fastnn.reading.open_file or read_file"
    assert EXCEPTIONS.keys() - found == set(), "drop the exceptions that are not needed"


@pytest.mark.parametrize(
    "call", ["open('a')", "Path('a').open()", "path.read_bytes()", "np.load('a')", "x.read_text()", "np.memmap(p)"]
)
def test_the_search_finds_calls_that_open_a_file(call: str) -> None:
    assert opened_elsewhere(f"x = {call}", "m.py")


# ---- every reader ----


def run_program(module: str, folder: Path) -> list[str]:
    """Return the lines that a program of the tests prints."""
    command = [sys.executable, "-m", module, str(folder)]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    cache = str(folder / "cache")
    with ChildProcess(
        command, cwd=ROOT, env=environment(FASTNN_CACHE_DIR=cache), text=True, start_new_session=True, **pipes
    ) as process:
        output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output
    return output.splitlines()


@needs_linux
def test_what_is_not_a_regular_file_is_refused_at_once_by_every_reader(tmp_path: Path) -> None:
    lines = run_program("tests.special_files", tmp_path)
    assert len(lines) > 150
    root = os.geteuid() == 0
    for line in lines:
        case, found = (json.loads(part) for part in line.split("\t"))
        if case["reader"] == "history":
            # Root may read everything.
            assert found["kind"] == "ModelError", line
        else:
            assert (found["code"], found["stdout"], found["fault"]) == (2, "", None), line
        assert len(found["stderr"].splitlines()) == 1, line
        assert root or case["kind"] != "unreadable" or "denied" in found["stderr"] or "open" in found["stderr"], line


@needs_linux
def test_no_small_file_needs_much_memory_or_time(tmp_path: Path) -> None:
    for line in run_program("tests.bombs", tmp_path):
        case, size, peak, seconds, error = json.loads(line)
        # A transparent picture takes 130 MiB, if nothing that was read before has left memory behind.
        assert peak < (132 << 20) + 30 * size, line
        assert seconds < 5, line
        # Pictures of one colour are sound, and so are unknown values in a model.
        sound = case.startswith(("sound", "picture", "model: safetensors"))
        assert (error == "") == sound, line
        assert error != "MemoryError", line
