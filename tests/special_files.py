"""Gives each kind of file that is not a regular one to each command that reads a file, and prints what happened.

A program for a child process, which may hang or run out of memory: ``python -m tests.special_files FOLDER``.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.formats.safetensors import dump_model
from fastnn.runs import read_history
from tests.datasets.samples import idx_images, idx_labels
from tests.helpers import invoke
from tests.models import model, png, seven

if TYPE_CHECKING:
    from collections.abc import Callable


DEADLINE = 20
"""Seconds for one command; each takes a few milliseconds unless it hangs."""
MEMORY = 3 << 30
"""Bytes of address space; a reader of /dev/zero reaches any limit."""

_DATA = ("data", "info", "ARGUMENT")

READERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # name: (the special file, ARGUMENT of the command, the command)
    "data.json": ("a.json", "a.json", _DATA),
    "data.json.gz": ("a.json.gz", "a.json.gz", _DATA),
    "data.csv": ("a.csv", "a.csv", _DATA),
    "data.csv.gz": ("a.csv.gz", "a.csv.gz", _DATA),
    "data.npz": ("a.npz", "a.npz", _DATA),
    "data.zip": ("a.zip", "a.zip", _DATA),
    "data.tar": ("a.tar", "a.tar", _DATA),
    "idx images": ("p/x-images-idx3-ubyte", "p/x-images-idx3-ubyte", _DATA),
    "idx labels": ("q/x-labels-idx1-ubyte", "q/x-images-idx3-ubyte", _DATA),
    "class folder": ("set/3/a.png", "set", _DATA),
    "class file": ("files/3.json", "files", _DATA),
    "database": ("a.db", "sqlite:///a.db", _DATA),
    "database to fill": ("a.db", "sqlite:///a.db", ("data", "import", "good.json", "--into", "ARGUMENT")),
    "picture": ("a.png", "a.png", ("predict", "good.safetensors", "ARGUMENT")),
    "image in JSON": ("a.json", "a.json", ("predict", "good.safetensors", "ARGUMENT")),
    "image in .json.gz": ("a.json.gz", "a.json.gz", ("predict", "good.safetensors", "ARGUMENT")),
    "model": ("a.safetensors", "a.safetensors", ("predict", "ARGUMENT", "good.png")),
    "run": ("run/model.safetensors", "run", ("predict", "ARGUMENT", "good.png")),
    "original": ("NN.json", "NN.json", ("import", "ARGUMENT", "out.safetensors")),
    "recipe": ("a.toml", "a.toml", ("train", "--data", "good.json", "--recipe", "ARGUMENT", "--out", "new")),
    "list of issues": (
        "issues.csv", "issues.csv", ("data", "clean", "good.json", "--apply", "ARGUMENT", "--to", "out.json")
    ),
}  # fmt: skip


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _unreadable(path: Path) -> None:
    path.write_bytes(b"[]")
    path.chmod(0)


KINDS: dict[str, Callable[[Path], Any]] = {
    "named pipe": os.mkfifo,
    "socket": _socket,
    "folder": Path.mkdir,
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "empty device": lambda path: path.symlink_to("/dev/null"),
    "/proc file": lambda path: path.symlink_to("/proc/self/status"),
    "endless /proc file": lambda path: path.symlink_to("/proc/self/pagemap"),
    "unreadable": _unreadable,
}


def _prepare() -> None:
    pixels = seven().ravel().tolist()
    digits = [{"image": [*pixels[:-1], 255 - k], "label": k % 10} for k in range(20)]
    Path("good.json").write_text(json.dumps(digits))
    Path("good.safetensors").write_bytes(dump_model(model()))
    Path("good.png").write_bytes(png(seven()))
    for folder in ("p", "q", "set/3", "files", "run"):
        Path(folder).mkdir(parents=True)
    Path("p/x-labels-idx1-ubyte").write_bytes(idx_labels(1, b"\1"))
    Path("q/x-images-idx3-ubyte").write_bytes(idx_images(1, np.zeros(784, np.uint8).tobytes()))


def _try(reader: str) -> dict[str, Any]:
    _, argument, command = READERS[reader]
    result = invoke([word.replace("ARGUMENT", argument) for word in command])
    fault = None if result.exception is None or isinstance(result.exception, SystemExit) else repr(result.exception)
    return {"code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr, "fault": fault}


def _history(path: Path) -> dict[str, Any]:
    try:
        read_history(path)
    except Exception as error:
        return {"kind": type(error).__name__, "stderr": str(error)}
    return {"kind": "none", "stderr": ""}


def main() -> None:
    """Print a line of JSON for each pair of reader and kind; a pair that hangs ends the process."""
    os.chdir(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    _prepare()
    for kind, make in KINDS.items():
        for reader, (name, *_) in {**READERS, "history": ("history.csv",)}.items():
            if (reader, kind) == ("database to fill", "link to nothing"):
                continue  # which is made
            path = Path(name)
            make(path)
            print(json.dumps({"reader": reader, "kind": kind}), end="\t", flush=True)
            signal.alarm(DEADLINE)
            found = _history(path) if reader == "history" else _try(reader)
            signal.alarm(0)
            print(json.dumps(found), flush=True)
            with contextlib.suppress(FileNotFoundError):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink()


if __name__ == "__main__":
    main()
