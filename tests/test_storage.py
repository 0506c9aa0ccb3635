"""After any failure, an atomic write leaves either the old file or the new one."""

from __future__ import annotations

import os
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from fastnn.errors import DataError, FastnnError
from fastnn.storage import (
    atomic_write,
    cache_dir,
    check_home,
    data_path_from_environment,
    exchange,
    reserve,
    temporary_folder,
    user_path,
)
from tests.helpers import run_python

OLD, NEW = b"old" * 1000, b"new" * 1000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_and_raise(path: Path, error: type[BaseException]) -> None:
    with atomic_write(path) as file:
        file.write(NEW)
        raise error


def test_a_file_is_created_and_replaced_without_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    for content in (OLD, NEW, b""):
        with atomic_write(path) as file:
            file.write(content)
        assert path.read_bytes() == content
        assert names(tmp_path) == ["file.bin"]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(OLD)
    with atomic_write(str(path)) as file:
        file.write(NEW)
        file.flush()
        assert path.read_bytes() == OLD
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(OLD)
    with pytest.raises(error):
        write_and_raise(path, error)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_failing_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(OLD)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if step == "fsync" else Path, step, refuse)
    with pytest.raises(OSError, match="No space"), atomic_write(path) as file:
        file.write(NEW)
    monkeypatch.undo()
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file.bin"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_usual_permissions(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "file.bin") as file:
            file.write(NEW)
        assert stat.S_IMODE((tmp_path / "file.bin").stat().st_mode) == 0o666 & ~umask
        assert os.umask(umask) == umask  # restored
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_a_replaced_file_keeps_its_permissions_and_owner(tmp_path: Path, mode: int) -> None:
    path, beside = tmp_path / "file.bin", tmp_path / "beside.bin"
    path.write_bytes(OLD)
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 12345, 54321)
    owner = path.stat().st_uid, path.stat().st_gid
    for target, like in ((path, None), (beside, path)):
        with atomic_write(target, like=like) as file:
            file.write(NEW)
        status = target.stat()
        assert (stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)) == (mode, owner)
        assert target.read_bytes() == NEW


@pytest.mark.skipif(os.name != "posix", reason="making links needs rights on Windows")
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "far").mkdir()
    target, middle, link = tmp_path / "far" / "file.bin", tmp_path / "middle", tmp_path / "link"
    if exists:
        target.write_bytes(OLD)
    middle.symlink_to(Path("far") / "file.bin")
    link.symlink_to("middle")
    with atomic_write(link) as file:
        file.write(NEW)
    assert link.is_symlink()
    assert middle.is_symlink()
    assert target.read_bytes() == NEW
    assert names(tmp_path) == ["far", "link", "middle"]
    assert names(tmp_path / "far") == ["file.bin"]


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    kinds = {"folder": "is a folder", "circle": "Too many levels"}
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        kinds["pipe"] = "not a regular file"
    for name, words in kinds.items():
        with pytest.raises(OSError, match=words), atomic_write(tmp_path / name) as file:
            file.write(NEW)
    assert names(tmp_path) == sorted(kinds)


@pytest.mark.parametrize(
    ("name", "words"), [("x" * 300, "name too long"), ("a\0b", "NUL"), ("\ud800", "not valid text")]
)
def test_impossible_names_are_oserrors(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(OSError, match=words), atomic_write(tmp_path / name) as file:
        file.write(NEW)
    assert names(tmp_path) == []


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "ä" * 127):
        with atomic_write(tmp_path / name) as file:
            file.write(NEW)
        assert (tmp_path / name).read_bytes() == NEW


def test_the_folder_that_a_process_is_in_is_not_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "out" / "in")
    with temporary_folder(tmp_path / "out") as made:
        assert not exchange(made, tmp_path / "out", ["in"])
    assert Path.cwd() == tmp_path / "out" / "in"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges folders")
def test_an_exchanged_folder_keeps_permissions(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir(0o700)
    (folder / "a").write_text("old")
    (folder / "a").chmod(0o600)
    (tmp_path / "link").symlink_to("out")
    with temporary_folder(tmp_path / "link") as made:
        for name in ("a", "b"):
            (made / name).write_text("new")
        assert exchange(made, tmp_path / "link", ["a", "b"])
    assert names(tmp_path) == ["link", "out"]
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o600
    assert [(folder / name).read_text() for name in ("a", "b")] == ["new", "new"]


def test_a_missing_folder_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "no" / "file.bin"):
        pass


# The process kills itself at the n-th call that reaches the disk: during a write, and before and after the flush and
# the rename.
KILL_ITSELF = """
import os, signal, sys
from pathlib import Path
from fastnn.storage import atomic_write, exchange, temporary_folder
deadline = int(sys.argv[2])
calls = 0
def killing(function):
    def wrapper(*args, **kwargs):
        global calls
        for moment in ("before", "after"):
            if calls == deadline:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1
            if moment == "before":
                result = function(*args, **kwargs)
        return result
    return wrapper
os.fsync = killing(os.fsync)
Path.chmod = killing(Path.chmod)
Path.replace = killing(Path.replace)
write = killing(lambda file, content: (file.write(content), file.flush()))
with atomic_write(sys.argv[1]) as file:
    write(file, b"new" * 500)
    write(file, b"new" * 500)
print(calls)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_kill_9_at_any_moment_leaves_one_complete_file(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    whole = run_python(KILL_ITSELF, str(path), "-1")
    moments = int(whole.stdout)
    assert moments >= 10
    found = []
    for moment in range(moments):
        path.write_bytes(OLD)
        assert run_python(KILL_ITSELF, str(path), str(moment)).returncode == -signal.SIGKILL
        found.append(path.read_bytes())
    # Up to some call the old content, from then on the new one, and never anything else.
    assert found == sorted(found, key=[OLD, NEW].index)
    assert {OLD, NEW} == set(found)


def test_what_has_no_home_folder_is_taken_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_path("~/a.csv") == Path.home() / "a.csv"
    assert user_path("~no-such-user/a.csv") == Path("~no-such-user/a.csv")
    monkeypatch.chdir(tmp_path)
    for path in ("~", "~/a.csv", "~no-such-user/a.csv"):
        with pytest.raises(FastnnError, match=f"^{path}: the home folder is unknown; give the path without ~$"):
            check_home(Path(path))
    check_home(Path("~a.csv"))
    (tmp_path / "~b").mkdir()
    check_home(Path("~b/a.csv"))


def test_without_a_home_folder_the_cache_is_a_private_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("HOME", "XDG_CACHE_HOME", "FASTNN_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pytest.importorskip("pwd"), "getpwuid", lambda _: {}["nobody"])
    folder = cache_dir()
    assert folder.parent == tmp_path
    assert cache_dir() == folder
    # Another user could change it.
    folder.chmod(0o777)
    assert cache_dir() == Path(os.devnull) / "fastnn"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert cache_dir() == Path(os.devnull) / "fastnn"


@pytest.mark.parametrize("given", ["~no-such-user", "x" * 300, "no/such"])
def test_a_wrong_folder_in_the_environment_is_named(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_DATA", given)
    with pytest.raises(DataError, match=given):
        data_path_from_environment()


@pytest.mark.skipif(not hasattr(os, "chown"), reason="files have no owner here")
@pytest.mark.parametrize("group_is_ours", [False, True])
def test_a_file_of_another_owner_gives_no_other_group_access(
    group_is_ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(OLD)
    path.chmod(0o660)
    old = path.stat()
    theirs = os.stat_result((old.st_mode, *old[1:4], old.st_uid + 1, old.st_gid + 1, *old[6:]))
    given = []

    def chown(_: Path, owner: int, group: int) -> None:
        if owner != -1 or not group_is_ours:
            raise PermissionError(1, "Operation not permitted")
        given.append(group)

    monkeypatch.setattr(os, "chown", chown)
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **options: theirs if self == path else real(self, **options))
    with atomic_write(path) as file:
        file.write(NEW)
    monkeypatch.undo()
    assert given == [old.st_gid + 1] * group_is_ours
    assert path.stat().st_mode & 0o777 == (0o660 if group_is_ours else 0o600)


def test_reserved_room_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("x+b") as file:
        file.write(b"head")
        reserve(file, 3_000_000)
    assert path.read_bytes() == b"head".ljust(3_000_000, b"\0")
    assert path.stat().st_blocks * 512 >= 3_000_000


def test_room_is_taken_where_the_system_cannot_do_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with (tmp_path / "a").open("x+b") as file:
        file.write(b"head")
        reserve(file, 3_000_000)
    assert (tmp_path / "a").read_bytes() == b"head".ljust(3_000_000, b"\0")
