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


def large(comment: bytes = b"") -> bytes:
    """Return an archive with the fields of one of more than 4 GiB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 100)
        return archive(comment=comment)


def stored(members: list[tuple[str, bytes, bytes]]) -> tuple[list[bytes], list[bytes]]:
    """Return of each member, a name, a content and a comment, its bytes and its entry in the directory."""
    bodies, entries = [], []
    for name, content, comment in members:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as made:
            info = zipfile.ZipInfo(name)
            info.comment = comment
            made.writestr(info, content)
            at = made.start_dir
        bodies.append(file.getvalue()[:at])
        entries.append(file.getvalue()[at:-22])
    return bodies, entries


def joined(body: bytes, entries: list[bytes], begins: list[int]) -> bytes:
    """Return an archive of these bytes, with a directory that says where each member begins."""
    placed = [entry[:42] + struct.pack("<L", at) + entry[46:] for entry, at in zip(entries, begins, strict=True)]
    directory, n = b"".join(placed), len(entries)
    return body + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, n, n, len(directory), len(body), 0)


def end_64(size: int, offset: int, record_at: int, disks: tuple[int, int] = (0, 1)) -> bytes:
    """Return the end of a directory of one member, as large archives have it, without the usual one behind it."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, offset)
    return record + struct.pack("<4sLQL", b"PK\6\7", disks[0], record_at, disks[1])


def with_a_directory_in_a_comment() -> bytes:
    """Return an archive of two members; the comment of the first is the directory of another archive."""
    _, [hidden] = stored([("hidden", b"h", b"")])
    at = 46 + len("first")
    comment = hidden + end_64(len(hidden), at, at + len(hidden))
    bodies, entries = stored([("first", b"1", comment), ("second", b"2", b"")])
    return joined(b"".join(bodies), entries, [0, len(bodies[0])])


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
    "with the longest comment": archive(comment=b"c" * 0xFFFF),
    "large, with a comment": large(b"made by hand"),
    "an end in a comment": archive(comment=b"PK\5\6" + bytes(18)),
    "bytes behind it": archive() + b"junk",
    "a directory in a comment": with_a_directory_in_a_comment(),
    "behind a program": b"#!/bin/sh\n" + archive(),
    "large": large(),
    "large, behind a program": b"#!/bin/sh\n" + large(),
    "other numbers of members": changed(_8=1),
}


@pytest.mark.parametrize("piece", [1 << 18, 500, 300])
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
    "several disks": large()[:-26] + b"\2\0\0\0" + large()[-22:],
    "another disk": large()[:-38] + b"\1\0\0\0" + large()[-34:],
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
    numbers = [members.add(info, info.orig_filename) for info in members.infos()]
    with pytest.raises(zipfile.BadZipFile, match=r"Bad CRC-32 for file 'a/1\.png'"):
        members.read(numbers[0], "a/1.png", 1000)


def read_each(content: bytes) -> list[str]:
    """Return of each member the content, or why it cannot be read."""
    members = ZipMembers(io.BytesIO(content), len(content))
    told = []
    for number, path in [(members.add(info, info.orig_filename), info.orig_filename) for info in members.infos()]:
        try:
            told.append(members.read(number, path, 1000).decode())
        except zipfile.BadZipFile as error:
            told.append(str(error))
    return told


OVERLAPS = "overlaps another member"


def test_several_members_with_the_same_bytes_are_refused() -> None:
    [body], [entry] = stored([("a", b"1", b"")])
    assert read_each(joined(body, [entry] * 3, [0] * 3)) == [OVERLAPS, OVERLAPS, "1"]


@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"])
def test_a_member_in_the_content_of_another_one_is_refused(before: bytes) -> None:
    [inner, last], [second, third] = stored([("b", b"2", b""), ("c", b"3", b"")])
    [outer], [first] = stored([("a", inner, b"")])
    # The directory need not have the order of the file.
    content = joined(outer + last, [third, second, first], [len(outer), len(outer) - len(inner), 0])
    assert read_each(before + content) == ["3", "2", OVERLAPS]


def test_the_last_member_is_refused_if_it_reaches_into_the_directory() -> None:
    [body], [entry] = stored([("a", b"1", b"")])
    longer = entry[:20] + struct.pack("<2L", 2, 2) + entry[28:]
    assert read_each(joined(body, [longer], [0])) == [OVERLAPS]


@pytest.mark.parametrize("at", [1 << 31, (1 << 63) + 5, (1 << 64) - 1])
def test_only_the_member_with_a_damaged_offset_cannot_be_read(at: int) -> None:
    bodies, entries = stored([("a", b"1", b""), ("b", b"2", b"")])
    extra = struct.pack("<2HQ", 1, 8, at)
    entries[1] = entries[1][:30] + struct.pack("<H", len(extra)) + entries[1][32:] + extra
    content = joined(b"".join(bodies), entries, [0, (1 << 32) - 1])
    assert read_each(content) == ["1", "begins outside of it"]


def test_an_archive_that_lost_its_first_bytes_still_has_the_other_members() -> None:
    content = archive(("a", "b", "c"))
    assert read_each(content[10:]) == ["begins outside of it", "bb", "ccc"]


@pytest.mark.parametrize(
    ("names", "comment"),
    [("{}.png", b""), ("{}.png", b"made by hand"), ("./{}.png", b""), ("a\\{}.png", b""), ("{}/", b"")],
)
def test_many_members_take_little_memory(names: str, comment: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.datasets.zip_members.PIECE", 1 << 13)
    content = archive(tuple(names.format(k) for k in range(2000)), method=zipfile.ZIP_STORED, comment=comment)
    tracemalloc.start()
    try:
        file = io.BytesIO(content)
        members = ZipMembers(file, len(content))
        for info in members.infos():
            members.add(info, info.filename.replace("\\", "/").removeprefix("./").removesuffix("/"))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # zipfile needs 1.2 MB.
    assert peak < 250_000 + 2 * 0xFFFF
    assert kept < 2000 * 60
