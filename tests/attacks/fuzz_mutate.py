"""Mutators: each returns a damaged copy of an input, and knows enough of its format to get past the magic number.

What is compressed or has checksums is unpacked, mutated inside and packed again; otherwise nearly all inputs would end
at the first check. Every mutator also damages the packed bytes now and then.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sqlite3
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    Mutator = Callable[[Random, bytes], bytes]

LIMIT = 1 << 18
"""Most bytes of a mutated input; repeated mutations would otherwise let inputs grow without end."""

_INTEGERS = (0, 1, -1, 7, 9, 10, 27, 28, 127, 128, 255, 256, 783, 784, 785, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31)
INTEGERS = (*_INTEGERS, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**31), -(2**63), 10**25)
NUMBERS = (*(str(value) for value in INTEGERS), "-0", "1e999", "-1e999", "1e308", "3e38", "1e-320", "0.5", "nan", "inf")
_LONG_NUMBER = "9" * 5000
_WORDS = (
    "",
    " ",
    "\t",
    "a",
    "é",
    "\u0301",
    "\u202e",
    "\x00",
    "\x7f",
    "\ud800",
    "\ufeff",
    "𝟗",
    "٣",
    "x" * 300,
    "%s{0}[b]",
)

# Standing for text that json.dumps does not write; replaced after it.
_RAW = (
    "NaN",
    "Infinity",
    "1e999",
    "-0",
    "1E400",
    _LONG_NUMBER,
    f"-{_LONG_NUMBER}",
    "[" * 3000,
    "{",
    '"\\ud800"',
    '"\\u0000"',
)
_VALUES: tuple[Any, ...] = (
    *INTEGERS,
    *_WORDS,
    None,
    True,
    False,
    0.5,
    -1.5,
    1e308,
    5e-324,
    [],
    {},
    [[]],
    [[[0]]],
    {"a": 1},
    [0] * 784,
)


def raw(*tokens: bytes) -> Mutator:
    """Return a mutator of bytes without a known structure; it also inserts `tokens`."""

    def mutate(random: Random, content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(random.choice((1, 1, 2, 4))):
            _damage(random, changed, tokens)
        return bytes(changed[:LIMIT])

    return mutate


def _damage(random: Random, content: bytearray, tokens: tuple[bytes, ...]) -> None:
    size = len(content)
    # Headers are at the start: half of the damage is done to the first 64 bytes.
    at = random.randrange(min(size, 64) if random.random() < 0.5 else size) if size else 0
    length = min(random.choice((1, 2, 4, 8, 32, 256)), size - at)
    match random.randrange(10):
        case 0 if size:
            content[at] ^= 1 << random.randrange(8)
        case 1 if size:
            content[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        case 2:
            content[at:at] = random.randbytes(random.choice((1, 3, 20)))
        case 3:
            del content[at : at + length]
        case 4:
            content[at:at] = content[at : at + length] * random.choice((1, 1, 3, 100))
        case 5 | 6 if tokens:
            token = random.choice(tokens)
            content[at : at + random.choice((0, len(token)))] = token
        case 7:
            width = random.choice((1, 2, 4, 8))
            value = random.choice(INTEGERS) % (1 << (8 * width))
            content[at : at + width] = value.to_bytes(width, random.choice(("big", "little")))
        case 8:
            del content[at:]
        case _ if size:
            other = random.randrange(size)
            content[at : at + length], content[other : other + length] = (
                content[other : other + length],
                content[at : at + length],
            )


def text(*tokens: str) -> Mutator:
    """Return a mutator of text: numbers become extreme ones, words become `tokens`, lines move."""
    encoded = tuple(token.encode(errors="surrogatepass") for token in (*tokens, *_WORDS))
    damage = raw(*encoded)

    def mutate(random: Random, content: bytes) -> bytes:
        choice = random.randrange(6)
        if choice <= 1:
            number = _LONG_NUMBER if random.random() < 0.05 else random.choice(NUMBERS)
            return _replace_one(random, rb"-?\d+(?:\.\d+)?", number.encode(), content)
        if choice == 2:
            return _replace_one(random, rb"[^\s,=:\[\]\"]+", random.choice(encoded), content)
        if choice == 3:
            return _replace_one(
                random,
                rb"[\s,=:\[\]\"]",
                random.choice((b"", b",", b'"', b"\n", b"\r", b";", b"'", b"=", b"[", b"]")),
                content,
            )
        if choice == 4:
            lines = content.splitlines(keepends=True) or [b""]
            match random.randrange(4):
                case 0:
                    del lines[random.randrange(len(lines))]
                case 1:
                    lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
                case 2:
                    random.shuffle(lines)
                case _:
                    lines.insert(random.randrange(len(lines) + 1), random.choice(encoded) + b"\n")
            return b"".join(lines)[:LIMIT]
        return damage(random, content)

    return mutate


def _replace_one(random: Random, pattern: bytes, new: bytes, content: bytes) -> bytes:
    """Replace one match of a pattern, one of the first three in half of the cases."""
    found = list(re.finditer(pattern, content[:LIMIT]))
    if not found:
        return content + new
    match = random.choice(found[:3] if random.random() < 0.5 else found)
    return content[: match.start()] + new + content[match.end() :]


def json_value(*words: str) -> Mutator:
    """Return a mutator of JSON: a node is replaced, removed, moved or nested; keys and values become `words`."""
    otherwise = text(*words)

    def mutate(random: Random, content: bytes) -> bytes:
        if random.random() < 0.2:
            return otherwise(random, content)
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            return otherwise(random, content)
        box = [value]
        for _ in range(random.choice((1, 1, 2, 4))):
            _change_node(random, box, words)
        try:
            changed = json.dumps(box[0])
        except (RecursionError, ValueError):  # too deep, or a list that holds itself
            return content
        return re.sub(r'"@raw(\d+)"', lambda match: _RAW[int(match[1])], changed).encode()[:LIMIT]

    return mutate


def _change_node(random: Random, box: list[Any], words: tuple[str, ...]) -> None:
    parent, key = _node(random, box)
    match random.randrange(8):
        case 0 if parent is not box:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[random.choice((*words, *_WORDS, str(key) + "x"))] = parent.pop(key)
        case 2:
            parent[key] = [parent[key]]
        case 3 if isinstance(parent, list) and parent is not box:
            parent.insert(random.randrange(len(parent) + 1), parent[key])
        case 4:
            other, place = _node(random, box)
            # A copy: what holds itself cannot be written.
            parent[key] = json.loads(json.dumps(other[place]))
        case 5 if words:
            parent[key] = random.choice(words)
        case 6:
            parent[key] = f"@raw{random.randrange(len(_RAW))}"
        case _:
            parent[key] = random.choice(_VALUES)


def _node(random: Random, box: list[Any]) -> tuple[Any, Any]:
    """Return a container and a key in it, near the root as often as among the many values in lists of pixels."""
    parent, key = box, 0
    while isinstance(parent[key], dict | list) and parent[key] and random.random() < 0.75:
        parent = parent[key]
        key = random.choice(list(parent)) if isinstance(parent, dict) else random.randrange(min(len(parent), 1000))
    return parent, key


def gzipped(inner: Mutator) -> Mutator:
    """Return a mutator of gzip files that mutates what is in them."""
    damage = raw(b"\x1f\x8b\x08")

    def mutate(random: Random, content: bytes) -> bytes:
        if random.random() < 0.15:
            return damage(random, content)
        try:
            # A decompression bomb is mutated like the start of what is in it.
            plain = zlib.decompressobj(wbits=31).decompress(content, LIMIT)
        except zlib.error:
            return damage(random, content)
        packed = gzip.compress(inner(random, plain), 1, mtime=0)
        return packed + packed if random.random() < 0.05 else packed

    return mutate


_DTYPES = (
    "|u1",
    "<i8",
    "<u8",
    ">i4",
    "<f8",
    "<f2",
    "|b1",
    "|O",
    "<U1",
    "<U0",
    ">U3",
    "|S4",
    "|V8",
    "<M8[s]",
    "<c16",
    "|u0",
    "[('a','u1')]",
)
_SHAPES = (
    "()",
    "(0,)",
    "(1,)",
    "(2,)",
    "(2, 784)",
    "(2, 28, 28)",
    "(784, 2)",
    "(-1,)",
    "(1000000000000, 784)",
    "(2,) * 3",
    "(2.0,)",
    "(True,)",
)
_MEMBERS = (
    "images", "labels", "classes", "test_images", "test_labels", "checksum", "other", "X", "y", "x_test", "y_test",
    "arr_0", "feature_names", "target", "data",
)  # fmt: skip


def npz(random: Random, content: bytes) -> bytes:
    """Mutate an archive of NumPy arrays: headers, contents and names of its members."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # zipfile raises a dozen kinds of exceptions for damaged bytes
        return _RAW_BYTES(random, content)
    if not members or random.random() < 0.15:
        return _RAW_BYTES(random, content)
    name = random.choice(list(members))
    match random.randrange(5):
        case 0:
            members[f"{random.choice(_MEMBERS)}.npy"] = members.pop(name)
        case 1:
            members[f"{random.choice(_MEMBERS)}.npy"] = members[name]
        case 2:
            members[name] = _RAW_BYTES(random, members[name])
        case _:
            members[name] = npy(random, members[name])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for member, array in members.items():
            archive.writestr(member, array)
    return file.getvalue()


def skops(*words: str) -> Mutator:
    """Return a mutator of skops files: of their text in JSON, and else of their arrays."""
    mutate_schema = json_value(*words)

    def mutate(random: Random, content: bytes) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
        except Exception:  # zipfile raises a dozen kinds of exceptions for damaged bytes
            return _RAW_BYTES(random, content)
        if "schema.json" not in members or random.random() < 0.3:
            return npz(random, content)
        members["schema.json"] = mutate_schema(random, members["schema.json"])
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for member, part in members.items():
                archive.writestr(member, part)
        return file.getvalue()

    return mutate


def npy(random: Random, array: bytes) -> bytes:
    """Mutate dtype, order or shape in the header of an array, and its content or other bytes now and then."""
    if len(array) < 10 or random.random() < 0.1:
        return _RAW_BYTES(random, array)
    end = 10 + int.from_bytes(array[8:10], "little")
    header, content = array[10:end].strip(), array[end:]
    header = (
        _replace_one(random, rb"'[^']*'(?=, 'fortran)", repr(random.choice(_DTYPES)).encode(), header)
        if random.random() < 0.6
        else header
    )
    header = (
        _replace_one(random, rb"\([^)]*\)", random.choice(_SHAPES).encode(), header)
        if random.random() < 0.6
        else header
    )
    header = header.replace(b"False", b"True") if random.random() < 0.2 else header
    if random.random() < 0.3:
        content = random.randbytes(random.choice((0, 1, 2, 8, 16, 24, 1568)))
    return array[:8] + len(header).to_bytes(2, "little") + header + content


_MEMBER_NAMES = (
    "../0/a.png", "/0/a.png", "C:\\a.png", "0\\a.png", ".", "a/", "0/a\nb.png", "__MACOSX/0/a.png", "x/y/z/0/a.png",
    "é" * 200, "t.csv", "train/0/a.png", "test/0/a.png", "a.zip", "dataset.json", "0.json",
)  # fmt: skip


def archive(random: Random, content: bytes) -> bytes:
    """Mutate an archive: bytes, or names and contents of the members of a .zip file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as held:
            members = {name: held.read(name) for name in held.namelist()}
    except Exception:  # zipfile raises a dozen kinds of exceptions for damaged bytes
        return _RAW_BYTES(random, content)
    if not members or random.random() < 0.4:
        return _RAW_BYTES(random, content)
    name = random.choice(list(members))
    match random.randrange(4):
        case 0:
            members[random.choice(_MEMBER_NAMES)] = members.pop(name)
        case 1:
            members[random.choice(_MEMBER_NAMES)] = members[name]
        case 2:
            members[name] = _RAW_BYTES(random, members[name])
        case _:
            members[name] = bytes(random.choice((0, 1, 1 << 10, 1 << 20)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as made:
        for member, part in members.items():
            made.writestr(member, part)
    return file.getvalue()


def png(random: Random, content: bytes) -> bytes:
    """Mutate a PNG file chunk by chunk, with checksums that are right."""
    chunks = _chunks(content)
    if not chunks or random.random() < 0.15:
        return _RAW_BYTES(random, content)
    at = random.randrange(len(chunks))
    kind, body = chunks[at]
    match random.randrange(7):
        case 0:
            chunks[0] = (chunks[0][0], _header(random, chunks[0][1]))
        case 1:
            chunks[at] = (kind, _RAW_BYTES(random, body))
        case 2 | 3:
            chunks.insert(
                max(1, at), (random.choice(_CHUNKS), random.randbytes(random.choice((0, 1, 2, 4, 6, 13, 256, 768))))
            )
        case 4:
            del chunks[at]
        case 5:
            chunks.insert(at, chunks[at])
        case _:
            chunks = [(name, _deflated(random, part)) if name == b"IDAT" else (name, part) for name, part in chunks]
    packed = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in chunks
    ]
    return content[:8] + b"".join(packed)


_CHUNKS = (
    b"tRNS",
    b"PLTE",
    b"gAMA",
    b"eXIf",
    b"iCCP",
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"pHYs",
    b"bKGD",
    b"IEND",
    b"IDAT",
)


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def _header(random: Random, body: bytes) -> bytes:
    """Return a PNG header with another size, depth, colour type or interlacing."""
    if len(body) != 13:
        return body
    width, height, *rest = struct.unpack(">IIBBBBB", body)
    sides = (0, 1, 27, 28, 29, 56, 280, 4096, 4097, 65535, 2**31 - 1, 2**32 - 1)
    width = random.choice(sides) if random.random() < 0.5 else width
    height = random.choice(sides) if random.random() < 0.5 else height
    if random.random() < 0.6:
        rest[random.randrange(5)] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return struct.pack(">IIBBBBB", width, height, *rest)


def _deflated(random: Random, body: bytes) -> bytes:
    try:
        return zlib.compress(_RAW_BYTES(random, zlib.decompress(body)), 1)
    except zlib.error:
        return body


jpeg = raw(
    *(bytes([0xFF, marker]) for marker in (0xC0, 0xC2, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xEE, 0xFE))
)
_RAW_BYTES = raw(b"\x00" * 8, b"\xff" * 8, b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\x89PNG\r\n\x1a\n")

_FLOATS = (0.0, -0.0, 1e-45, 1e-38, 1.0, 1e10, 3e38, -3e38, float("inf"), float("-inf"), float("nan"))


def safetensors(*words: str) -> Mutator:
    """Return a mutator of safetensors files: fastnn's metadata, the table of tensors, and the numbers."""
    metadata = json_value("original", "backprop", "toy", "relu", "tanh", "sigmoid", "float32", "float64", *words)

    def mutate(random: Random, content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        body = content[8 + length :]
        try:
            head = json.loads(content[8 : 8 + length])
            stored = head["__metadata__"]["fastnn"].encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _RAW_BYTES(random, content)
        match random.randrange(8):
            case 0:
                return _RAW_BYTES(random, content)
            case 1:
                text = metadata(random, json.dumps(head).encode())
            case 2 | 3:
                value = struct.pack(random.choice(("<f", "<d")), random.choice(_FLOATS))
                if random.random() < 0.5:
                    body = (value * (len(body) // len(value) + 1))[: len(body)]
                else:
                    at = random.randrange(max(1, len(body) // len(value))) * len(value)
                    body = body[:at] + value + body[at + len(value) :]
                text = json.dumps(head).encode()
            case _:
                head["__metadata__"]["fastnn"] = metadata(random, stored).decode(errors="replace")
                text = json.dumps(head).encode()
        return len(text).to_bytes(8, "little") + text + body

    return mutate


_SQL_VALUES = (
    "NULL",
    "-1",
    "10",
    "3.5",
    "9223372036854775807",
    "-9223372036854775808",
    "1e400",
    "'x'",
    "x'ff'",
    "zeroblob(784)",
    "zeroblob(1000000)",
    "CAST(x'fffe' AS TEXT)",
    "'accepted'",
    "'pending'",
    "hex(zeroblob(5000))",
)
_SQL_COLUMNS = (
    "seq",
    "id",
    "pixels",
    "given",
    "label",
    "state",
    "created",
    "contributor",
    "opinion",
    "doubt",
    "scored_by",
)
_SQL = (
    "UPDATE fastnn_digits SET {column} = {value}",
    "UPDATE fastnn_digits SET {column} = {value} WHERE seq = 1",
    "UPDATE fastnn_about SET {about} = {value}",
    "DELETE FROM fastnn_digits WHERE seq = 1",
    "DELETE FROM fastnn_about",
    "DROP TABLE fastnn_digits",
    "ALTER TABLE fastnn_digits DROP COLUMN {column}",
    "ALTER TABLE fastnn_digits RENAME COLUMN {column} TO {about}",
    "ALTER TABLE fastnn_digits RENAME TO other",
    "DROP TABLE fastnn_digits; CREATE VIEW fastnn_digits AS SELECT * FROM fastnn_about",
    # A table without the types of the schema: SQLite then converts nothing.
    "CREATE TABLE other AS SELECT * FROM fastnn_digits; DROP TABLE fastnn_digits; "  # noqa: ISC004
    "ALTER TABLE other RENAME TO fastnn_digits; UPDATE fastnn_digits SET {column} = {value} WHERE seq < 3",
    "CREATE TABLE other AS SELECT * FROM fastnn_digits; DROP TABLE fastnn_digits; "  # noqa: ISC004
    "CREATE VIEW fastnn_digits AS SELECT * FROM other",
    "INSERT INTO fastnn_digits SELECT seq + 9, hex(id), {value}, given, label, state, created, contributor, "  # noqa: ISC004
    "opinion, doubt, scored_by FROM fastnn_digits",
    "CREATE TRIGGER t AFTER UPDATE ON fastnn_digits BEGIN DELETE FROM fastnn_digits; END",
)


def sqlite(random: Random, content: bytes) -> bytes:
    """Mutate an SQLite file: values of any type in any column, other schemas, or damaged pages."""
    if random.random() < 0.3:
        return _damaged_pages(random, content)
    connection = sqlite3.connect(":memory:")
    try:
        # In WAL mode, which the header says, a database in memory cannot be opened.
        connection.deserialize(content[:18] + b"\x01\x01" + content[20:])
        connection.execute("PRAGMA ignore_check_constraints=ON")
        for _ in range(random.choice((1, 1, 2))):
            names = {
                "column": random.choice(_SQL_COLUMNS),
                "about": random.choice(("one", "version", "name", "revision", "model", "trained")),
            }
            connection.executescript(random.choice(_SQL).format(value=random.choice(_SQL_VALUES), **names))
        connection.commit()
        return bytes(connection.serialize())
    except (sqlite3.Error, ValueError, OverflowError, MemoryError):
        return _damaged_pages(random, content)
    finally:
        connection.close()


def _damaged_pages(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 4, 16))):
        # The first page holds the schema, with statements as text.
        at = random.randrange(min(len(changed), random.choice((100, 4096, len(changed) or 1))) or 1)
        changed[at : at + 1] = bytes([random.choice((0, 1, 0x0D, 0x7F, 0x80, 0xFF, random.randrange(256)))])
    if random.random() < 0.1:
        del changed[random.randrange(len(changed) or 1) :]
    return bytes(changed)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return several files as one input."""
    return msgspec.msgpack.encode(dict(files))


def unpack(content: bytes) -> dict[str, bytes]:
    """Return the files of an input that :func:`pack` or a mutator made; none if it is damaged."""
    try:
        return msgspec.msgpack.decode(content, type=dict[str, bytes])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def files(mutators: Mapping[str, Mutator], *names: str) -> Mutator:
    """Return a mutator of several files: one is mutated by the mutator for the end of its name, removed or renamed."""

    def mutate(random: Random, content: bytes) -> bytes:
        held = unpack(content)
        if not held:
            return content
        name = random.choice(list(held))
        match random.randrange(12):
            case 0:
                del held[name]
            case 1:
                held[random.choice((*names, *held))] = held[name]
            case 2:
                other = random.choice(list(held))
                held[name], held[other] = held[other], held[name]
            case _:
                change = next((one for end, one in mutators.items() if name.endswith(end)), _RAW_BYTES)
                held[name] = change(random, held[name])
        return pack(held)

    return mutate
