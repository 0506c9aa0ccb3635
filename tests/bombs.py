"""Gives each reader small files that need much memory if they are read carelessly, and prints the peak of each.

A program for a child process, which may run out of memory: ``python -m tests.bombs FOLDER``. It needs Linux.
"""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import resource
import struct
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastnn.datasets import load_dataset
from fastnn.errors import FastnnError
from fastnn.formats import load_model
from fastnn.formats.safetensors import dump_model
from fastnn.images import read_image
from fastnn.label_issues import apply_issues
from fastnn.recipe import load_recipe
from fastnn.recognition import read_pictures
from fastnn.runs import read_history
from tests.datasets.samples import idx_images, idx_labels
from tests.helpers import blobs
from tests.models import model

MEMORY = 3 << 30
UNPACKED = 60 << 20
"""Bytes that a compressed bomb unpacks to; a little less than what is refused for its size alone."""
PLAIN = 2 << 20
"""Bytes of a bomb that is not compressed."""
SIDE = 4096


def gz(piece: bytes, *, head: bytes = b"", size: int = UNPACKED) -> bytes:
    """Return a gzip file of `head` and a repeated piece."""
    member = piece * ((1 << 20) // len(piece))
    packed = gzip.compress(member)
    return (gzip.compress(head) if head else b"") + packed * (size // len(member))


def npz(**arrays: bytes) -> bytes:
    """Return an archive of members with these contents."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(dtype: str, *shape: int) -> bytes:
    """Return an array of zeros as NumPy writes it."""
    file = io.BytesIO()
    np.save(file, np.zeros(shape, dtype))
    return file.getvalue()


def picture(mode: str, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    colour: Any = 60_000 if mode == "I;16" else tuple([250] * len(mode)) if mode != "L" else 250
    Image.new(mode, (SIDE, SIDE), colour).save(file, kind)
    return file.getvalue()


def large_jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8000, 6000), 250).save(file, "JPEG")
    return file.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    """Return a .zip file of one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def tar_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf()


def original(**changes: str) -> bytes:
    """Return a network of the original's with some values replaced by JSON texts."""
    matrix = '{"rows": 1, "cols": 1, "values": [[1]]}'
    names = ("weights_ih1", "weights_h1h2", "weights_h2o", "bias_h1", "bias_h2", "bias_o")
    fields = {**dict.fromkeys(("inputs", "hidden1", "hidden2", "outputs"), "1"), **dict.fromkeys(names, matrix)}
    return ("{" + ",".join(f'"{key}": {value}' for key, value in {**fields, **changes}.items()) + "}").encode()


def safetensors(extra: str) -> bytes:
    """Return a model file whose metadata hold a JSON text as additional values."""
    content = dump_model(model(), extra={"x": "EXTRA"})
    (length,) = struct.unpack("<Q", content[:8])
    quoted = json.dumps(extra)[1:-1]
    header = content[8 : 8 + length].rstrip().replace(b'\\"EXTRA\\"', quoted.encode())
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


WHITE_ROW = b"7," + b",".join([b"255"] * 784) + b"\n"
WHITE_DIGIT = b'{"image":[' + b",".join([b"255"] * 784) + b'],"label":7}'
LISTS = "[" + "[]," * (PLAIN // 3) + "[]]"
ISSUES = b"index,label,suggested\n"


def files() -> dict[str, tuple[str, bytes]]:
    """Return name and content of each file; the name of the case says which reader gets it."""
    nothing = npy("u1", 1, 784)
    return {
        "data: csv.gz, one line": ("a.csv.gz", gz(b"11,")),
        "data: csv.gz, empty lines": ("a.csv.gz", gz(b"\n")),
        "data: csv.gz, short lines": ("a.csv.gz", gz(b"1\n")),
        "data: csv.gz, quotes": ("a.csv.gz", gz(b'"",')),
        "data: json.gz, empty lists": ("a.json.gz", gz(b"[],", head=b"[")),
        "data: json.gz, numbers": ("a.json.gz", gz(b"1,", head=b"[")),
        "data: json.gz, small digits": ("a.json.gz", gz(b'{"image":0,"label":0},', head=b"[")),
        "data: json.gz, one image": ("a.json.gz", gz(b"1,", head=b'[{"label":1,"image":[')),
        "data: json.gz, one field": ("a.json.gz", gz(b"{},", head=b'[{"x":[')),
        "data: json.gz, one text": ("a.json.gz", gz(b"a", head=b'["')),
        "data: json.gz, blanks": ("a.json.gz", gz(b" ")),
        "data: json.gz, deep": ("a.json.gz", gz(b"[")),
        "data: npz, images": ("a.npz", npz(images=npy("u1", 30_000, 784), test_images=npy("u1", 30_000, 784))),
        "data: npz, labels": ("a.npz", npz(images=nothing, labels=npy("U1", 8 << 20))),
        "data: npz, classes": ("a.npz", npz(images=nothing, labels=npy("i8", 1), classes=npy("U1", 8 << 20))),
        "data: npz, a header": (
            "a.npz", npz(images=b"\x93NUMPY\x02\x00" + struct.pack("<I", 32 << 20) + bytes(32 << 20))
        ),
        "data: idx.gz, more than announced": ("x-idx3.gz", gz(b"\0", head=idx_images(1, bytes(784)))),
        "data: idx.gz, less than announced": ("x-idx3.gz", gzip.compress(idx_images(1 << 31, bytes(784)))),
        "class file: empty lists": ("3.json.gz", gz(b"[],", head=b"[")),
        "class file: numbers": ("3.json.gz", gz(b"[1],", head=b"[")),
        "data: zip, a picture": ("a.zip", zipped("0/a.png", bytes(UNPACKED))),
        "data: zip, arrays": ("a.zip", zipped("a.npz", bytes(UNPACKED // 2))),
        "data: tar.gz, a picture": ("a.tar.gz", gz(b"\0", head=tar_header("0/a.png", 20 << 20), size=20 << 20)),
        "data: tar.gz, many files": ("a.tgz", gz(tar_header("0/a", 0), size=8 << 20)),
        "picture: 48 million pixels": ("a.jpg", large_jpeg()),
        "predict: empty lists": ("a.json.gz", gz(b"[],", head=b"[")),
        "predict: numbers": ("a.json.gz", gz(b"1,", head=b"[")),
        "predict: an object": ("a.json.gz", gz(b"[],", head=b'{"image":[')),
        "picture: transparent": ("a.png", picture("RGBA")),
        "picture: 16 bits": ("a.png", picture("I;16")),
        "picture: jpeg": ("a.jpg", picture("RGB", "JPEG")),
        "model: original, values": ("a.json", original(weights_ih1=f'{{"rows": 1, "cols": 1, "values": {LISTS}}}')),
        "model: original, notes": ("a.json", original(training=LISTS)),
        "model: original, unknown": ("a.json", original(input_nodes=LISTS)),
        "model: original, no comma": ("a.json", original(training=LISTS)[:-1] + b" "),
        "model: safetensors, extra": ("a.safetensors", safetensors(LISTS)),
        "recipe: lists": ("a.toml", b"x = [" + b"[]," * 20_000 + b"]"),
        "recipe: a dotted key": ("a.toml", b"a." * 30_000 + b"a = 1"),
        "history: empty lines": ("history.csv", b"\n" * PLAIN),
        "history: cells": ("history.csv", b"a," * (PLAIN // 2)),
        "issues: empty lines": ("issues.csv", ISSUES + b"\n" * PLAIN),
        "issues: cells": ("issues.csv", ISSUES + b"1," * (PLAIN // 2)),
        "issues: one cell": ("issues.csv", ISSUES + b'"' + b"a\n" * (PLAIN // 2)),
        "sound: white json.gz": ("a.json.gz", gzip.compress(b"[" + b",".join([WHITE_DIGIT] * 2000) + b"]")),
        "sound: white csv.gz": ("a.csv.gz", gzip.compress(WHITE_ROW * 2000)),
        "sound: white npz": ("a.npz", npz(images=npy("u1", 30_000, 784), labels=npy("i8", 30_000))),
        "sound: white idx.gz": ("x-idx3.gz", gzip.compress(idx_images(30_000, bytes(30_000 * 784)), 1)),
    }  # fmt: skip


def read(case: str, path: Path) -> None:
    """Read a file with the reader of the case."""
    reader = case.partition(":")[0]
    if reader in ("data", "sound", "class file"):
        load_dataset(path.parent if reader == "class file" else path)
    elif reader == "predict":
        list(read_pictures(path))
    elif reader == "picture":
        read_image(path)
    elif reader == "model":
        load_model(path)
    elif reader == "recipe":
        load_recipe(path)
    elif reader == "history":
        read_history(path)
    else:
        apply_issues(blobs(20), path)


def memory(field: str) -> int:
    """Return a field of this process's status in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) << 10


def make() -> None:
    """Write each file into a folder named after its case."""
    for case, (name, content) in files().items():
        Path(case).mkdir()
        (Path(case) / name).write_bytes(content)
        if name == "x-idx3.gz":
            (Path(case) / "x-idx1").write_bytes(idx_labels(30_000, bytes(30_000)))


def main() -> None:
    """Print a line of JSON for each case."""
    os.chdir(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # In a process of its own: memory that making them leaves behind would hide what reading needs.
    if not os.fork():
        make()
        os._exit(0)
    os.wait()
    for case in sorted(path.name for path in Path().iterdir()):
        (path,) = (path for path in Path(case).iterdir() if path.name != "x-idx1")
        size, error = path.stat().st_size, ""
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        before, start = memory("VmRSS"), time.process_time()
        try:
            read(case, path)
        except FastnnError as fault:
            error = str(fault)
        except MemoryError:
            error = "MemoryError"
        peak = memory("VmHWM") - before
        print(json.dumps([case, size, peak, time.process_time() - start, error]), flush=True)


if __name__ == "__main__":
    main()
