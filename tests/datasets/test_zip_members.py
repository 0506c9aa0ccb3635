"""Members of .zip files: what zipfile says of them and reads, in less memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import pytest

from fastnn.datasets.zip_members import ZipMembers

NAMES = ("a/1.png", "a/é.png", "./b/2.png", "b\\3.png", "b/", "c" * 200)
FIELDS = (
    "filename",
    "orig_filename",
    "header_offset",
    "compress_size",
    "file_size",
    "CRC",
    "flag_bits",
    "external_attr",
)


def archive(names: tuple[str, ...] = NAMES, *, comment: bytes = b"", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for k, name in enumerate(names):
            made.writestr(name, b"" if name.endswith("/") else name.encode() * (k + 1))
        made.comment = comment
    return file.getvalue()


def large() -> bytes:
    """Return an archive with the fields of one of more than 4 GiB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 100)
        return archive()


def changed(**at: int) -> bytes:
    """Return an archive with another number in the end of its directory."""
    content = archive()
    end = bytearray(content[-22:])
    for field, value in at.items():
        struct.pack_into("<H", end, int(field[1:]), value)
    return content[:-22] + end


KINDS: dict[str, bytes] = {
    "usual": archive(),
    "stored": archive(method=zipfile.ZIP_STORED),
    "empty": archive(()),
    "with a comment": archive(comment=b"made by hand"),
    "behind a program": b"#!/bin/sh\n" + archive(),
    "large": large(),
    "large, behind a program": b"#!/bin/sh\n" + large(),
    "other numbers of members": changed(_8=1),
}


@pytest.mark.parametrize("piece", [1 << 18, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_members_are_those_of_zipfile(kind: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = KINDS[kind]
    monkeypatch.setattr("fastnn.datasets.zip_members.PIECE", piece)
    with zipfile.ZipFile(io.BytesIO(content)) as expected:
        members = ZipMembers(io.BytesIO(content), len(content))
        found = [*members.infos()]
        said = [[getattr(info, field) for field in FIELDS] for info in expected.infolist()]
        assert [[getattr(info, field) for field in FIELDS] for info in found] == said
        numbers = [members.add(info, f"as {k}" if k % 2 else info.orig_filename) for k, info in enumerate(found)]
        for k in reversed(numbers):
            info = expected.infolist()[k]
            path, whole = f"as {k}" if k % 2 else info.orig_filename, expected.read(info)
            assert members.read(k, path, 1000) == whole[:1000]
            assert members.read(k, path, 5) == whole[:5]
            assert b"".join(members.pieces(k, path)) == whole
        members.close()


DAMAGED: dict[str, bytes] = {
    "nothing": b"",
    "no archive": b"hello" * 100,
    "no end": archive()[:-1],
    "half a directory": archive()[:-60] + archive()[-22:],
    "another mark": archive().replace(b"PK\1\2", b"PK\1\3"),
    "another mark in a large one": large().replace(b"PK\6\6", b"PK\6\5"),
    "bytes between directory and end": archive()[:-22] + b"abc" + archive()[-22:],
    "the end alone": archive(())[:4] + bytes(8) + b"\1\0\0\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_archives_are_refused_as_zipfile_does(kind: str) -> None:
    content, told = DAMAGED[kind], []
    for read in (
        lambda: zipfile.ZipFile(io.BytesIO(content)),
        lambda: [*ZipMembers(io.BytesIO(content), len(content)).infos()],
    ):
        with pytest.raises(zipfile.BadZipFile) as caught:
            read()
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_a_damaged_member_is_told_as_by_zipfile() -> None:
    content = bytearray(archive(method=zipfile.ZIP_STORED))
    content[40] ^= 1
    members = ZipMembers(io.BytesIO(content), len(content))
    first = next(members.infos())
    with pytest.raises(zipfile.BadZipFile, match=r"Bad CRC-32 for file 'a/1\.png'"):
        members.read(members.add(first, "a/1.png"), "a/1.png", 1000)


def test_many_members_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.datasets.zip_members.PIECE", 1 << 13)
    content = archive(tuple(f"{k}.png" for k in range(2000)), method=zipfile.ZIP_STORED)
    tracemalloc.start()
    try:
        members = ZipMembers(io.BytesIO(content), len(content))
        for info in members.infos():
            members.add(info, info.filename)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # zipfile needs 1.2 MB.
    assert peak < len(content) + 250_000
