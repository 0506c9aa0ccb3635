"""The readers and writers of fastnn, found in its source, and those that the targets of the attack really call.

They are the functions that open, decode or parse what comes from outside, or that use one of the package's functions
that open a file. The targets' seeds are run under a profiler, so that the list of what is covered is never out of date.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastnn

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(fastnn.__file__).parent

_PARSERS = frozenset(
    {
        "DictReader", "GzipFile", "ZipFile", "convert", "decompress", "decompressobj", "deserialize", "file_digest",
        "from_data", "from_file", "frombuffer", "fromfile", "fromstring", "getenv", "load", "loads", "make_url",
        "memmap", "mmap", "open", "parse_header", "read_array", "read_array_header_1_0", "read_bytes", "read_text",
        "reader", "safe_open", "unpack_from", "urlopen",
    }
)  # fmt: skip
"""Names of functions and methods of libraries that take bytes or text from outside."""

_OPENERS = ("storage", "reading", "datasets.safe_read")
"""Modules with the functions through which others read and write."""

_COMPILED = "kernels."
"""Modules of compiled code, which works on arrays alone; the loader is no part of it."""

Reader = tuple[str, str]
"""A module without the package's name, and the qualified name of a function in it."""


def readers(package: Path = PACKAGE) -> set[Reader]:
    """Return the functions of a package that read or write."""
    found, calls = set(), {}
    for path in sorted(package.rglob("*.py")):
        module = ".".join(path.relative_to(package).with_suffix("").parts)
        for name, function in _functions(ast.parse(path.read_text(encoding="utf-8"))):
            calls[module, name] = set(_called(function))
            if any(_reads(node) for node in _own_nodes(function)):
                found.add((module, name))
    openers = {name for module, name in found if module in _OPENERS and not name.startswith("_")}
    found |= {one for one, names in calls.items() if names & openers}
    return {one for one in found if not one[0].startswith(_COMPILED) or one[0] == "kernels.loader"}


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yield qualified name and node of each function, as Python's code objects name them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
            yield from _functions(node, f"{prefix}{node.name}.<locals>.")
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        else:
            yield from _functions(node, prefix)


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of functions in it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _own_nodes(node)


def _called(function: ast.AST) -> Iterator[str]:
    """Yield the last part of the name of each function that is called or passed on."""
    for node in _own_nodes(function):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _reads(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute) and node.attr in ("environ", "argv", "stdin"):
        return True
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = getattr(function, "id", None) or getattr(function, "attr", "")
    if name == "decode":
        # Of a decoder; bytes.decode takes the name of an encoding at most.
        return any(not isinstance(argument, ast.Constant) for argument in node.args)
    if name == "open":
        # Session.open has no arguments.
        return bool(node.args)
    return name in _PARSERS


@contextlib.contextmanager
def recorded() -> Iterator[set[Reader]]:
    """Yield the set to which each function of fastnn that runs in the block is added, in every thread."""
    called: set[Reader] = set()
    root = f"{PACKAGE}{os.sep}"

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(root):
            module = ".".join(Path(frame.f_code.co_filename[len(root) :]).with_suffix("").parts)
            called.add((module, frame.f_code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
