"""Compiles kernels once per machine, keeps their machine code and loads it later without importing Numba.

``import numba`` and loading from its cache take 0.65 s, a sixth of training 60 epochs on 13,942 digits; loading from
here takes 0.05 s. A kernel is a compiled function of one argument, the address of a record
(``fastnn.kernels.workspace``), so that a call takes well under a microsecond.

This file alone uses undocumented parts of Numba: the object code and the name of its function. If they are not as
expected, or the loaded code computes other numbers than NumPy, Numba's dispatcher calls the kernel and a warning says
so. The folder with the code is as sensitive as Numba's cache: whoever can write to it decides what runs. Nothing in it
is unpickled.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import os
import platform
import re
import struct
import threading
import warnings
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn.errors import FastnnError
from fastnn.reading import read_file
from fastnn.storage import atomic_write, cache_dir, file_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastnn.kernels.workspace import ArgumentBlock

    Entry = Callable[[int], Any]

_FOLDER = Path(__file__).parent

_RUNTIME_SYMBOLS = ("fma", "fmaf", "log", "memcpy", "memset", "sqrt")
"""Functions that machine code may call. LLVM ends the process if one is missing."""

_WITHOUT_EFFECT = ("NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES", "NUMBA_DEBUG_CACHE", "NUMBA_NUM_THREADS")
"""Environment variables of Numba that do not change machine code."""

_SOURCE_LIMIT = 1 << 20
_CODE_LIMIT = 1 << 24
"""Size in bytes above which a file holds no kernel; the largest has 100 KB."""
_ELF, _OTHER_OBJECT_FILES = b"\x7fELF", (b"\xcf\xfa\xed\xfe", b"\x64\x86", b"\x64\xaa")
"""How object files begin: on Linux; on macOS, and on Windows on x86-64 and ARM64."""
_ELF_HEADER = 64
"""Size in bytes of the header of an ELF file of 64 bits."""

_alive: list[Any] = []  # LLVM's engines, which own the machine code, and memory that it writes to
_lock = threading.RLock()


class Kernel:
    """A compiled function; its first call compiles or loads it.

    Parameters
    ----------
    module, factory : str
        The module, and the function in it that returns the Python function to compile. The module is imported only
        to compile.
    arguments : tuple of str
        Arguments of the factory.
    check : callable
        Called once with the loaded code; returns whether it computes the same as NumPy.
    """

    def __init__(self, module: str, factory: str, arguments: tuple[str, ...], check: Callable[[Entry], bool]) -> None:
        self._module, self._factory, self._arguments, self._check = module, factory, arguments, check

    def __call__(self, arguments: ArgumentBlock) -> None:
        """Run the kernel."""
        self.run(arguments.address)

    def run(self, address: int) -> None:
        """Run the kernel on the record at an address; the caller keeps the record and its arrays alive."""
        self.load()(address)

    def load(self) -> Entry:
        """Return the function that :meth:`run` calls, compiled or loaded now if it was not yet."""
        with _lock:
            if "run" not in vars(self):
                # Later calls go straight to the machine code.
                vars(self)["run"] = self._load()
        return self.run

    def _load(self) -> Entry:
        file = _CodeFile(self._module, self._factory, self._arguments)
        with contextlib.suppress(Exception):
            # If kept code cannot be used, it is compiled again.
            return self._checked(*file.read())
        # Of several processes that start together, one compiles and the others wait for its code.
        with file.lock():
            with contextlib.suppress(Exception):
                return self._checked(*file.read())
            return self._compile(file)

    def _compile(self, file: _CodeFile) -> Entry:
        import numba

        if numba.config.DISABLE_JIT:
            raise FastnnError("NUMBA_DISABLE_JIT is set, but fastnn's kernels run only compiled; unset it")
        function = getattr(importlib.import_module(self._module), self._factory)(*self._arguments)
        try:
            code = object_code(function)
            entry = self._checked(*code)
        except Exception as error:
            text = f"{self._factory}: Numba calls this kernel, since its machine code cannot be kept ({error})"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            return numba.njit(nogil=True, error_model="numpy", boundscheck=False)(function)
        file.write(*code)
        return entry

    def _checked(self, name: str, code: bytes) -> Entry:
        """Return the entry of machine code if it passes the check."""
        entry = load_object(name, code)
        if not self._check(entry):
            raise RuntimeError("it computes other numbers than NumPy")
        return entry


def object_code(function: Callable[[int], None]) -> tuple[str, bytes]:
    """Compile a function of an int64; return the name of the compiled function and the object file that holds it.

    Raises RuntimeError if the code calls functions that only Numba provides, and the errors of Numba.
    """
    import numba
    from llvmlite import binding

    options = {"nogil": True, "error_model": "numpy", "boundscheck": False}
    dispatcher = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
    signature = (numba.int64,)
    dispatcher.compile(signature)
    compiled = dispatcher.overloads[signature]
    name, text = compiled.fndesc.llvm_func_name, dispatcher.inspect_llvm(signature)
    _, form, (code, _) = compiled.library.serialize_using_object_code()
    kinds = [str(argument.type) for argument in binding.parse_assembly(text).get_function(name).arguments]
    if form != "object" or kinds != ["ptr", "ptr", "i64"]:
        raise RuntimeError(f"it is {form} code of a function of {', '.join(kinds)}")
    called = set(re.findall(r"^declare [^@]*@\"?([^\s\"(]+)", text, re.MULTILINE))
    unknown = {name for name in called if not name.startswith("llvm.")} - set(_RUNTIME_SYMBOLS)
    if unknown:
        raise RuntimeError(f"it calls {', '.join(sorted(unknown))}")
    return name, bytes(code)


def load_object(name: str, code: bytes) -> Entry:
    """Return a function of an object file, which releases the GIL; RuntimeError if it cannot be used here."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_triple(binding.get_process_triple()).create_target_machine()
    # One engine for each object file: two files may define the same names.
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    # LLVM finds no symbol before there is an engine.
    missing = [symbol for symbol in _RUNTIME_SYMBOLS if not binding.address_of_symbol(symbol)]
    if missing:
        raise RuntimeError(f"this process has no {', '.join(missing)}")
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(name)
    if not address:
        raise RuntimeError(f"it has no function {name}")
    # Before their own arguments Numba's functions take addresses for result and exception; kernels have neither.
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)
    unused = (ctypes.c_int64 * 2)()
    _alive.extend((engine, unused))
    return partial(function, ctypes.addressof(unused), ctypes.addressof(unused) + 8)


class _CodeFile:
    """The file for the machine code of one kernel.

    Its name depends on kernel, machine and settings, so that code of other sources or versions is overwritten; the key
    inside depends on sources and versions too. The file begins with the checksum of the rest.
    """

    def __init__(self, module: str, factory: str, arguments: tuple[str, ...]) -> None:
        purpose = repr((str(_FOLDER), module, arguments, _machine(), _settings())).encode()
        made_from = None if os.environ.get("FASTNN_CACHE") == "0" else _made_from()
        self._key = hashlib.sha256(purpose + (made_from or b"")).digest()
        file = f"{factory}-{hashlib.sha256(purpose).hexdigest()[:16]}.native"
        self._paths = [] if made_from is None else [folder / file for folder in _folders()]

    def read(self) -> tuple[str, bytes]:
        """Return the name and code that :meth:`write` kept; LookupError if no valid file is found."""
        for path in self._paths:
            with contextlib.suppress(FastnnError, ValueError):
                content = read_file(path, _CODE_LIMIT)
                rest = content[32:]
                if len(rest) > 40 and hashlib.sha256(rest).digest() == content[:32] and rest[:32] == self._key:
                    end = 40 + int.from_bytes(rest[32:40], "little")
                    name, code = rest[40:end], rest[end:]
                    if name in code and _is_object_file(code):
                        return name.decode(), code
        raise LookupError("no valid machine code is kept")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of this kernel in the first folder that can be written to, if there is one."""
        with contextlib.ExitStack() as stack:
            for path in self._paths:
                with contextlib.suppress(OSError):
                    path.parent.mkdir(parents=True, exist_ok=True)
                if stack.enter_context(file_lock(path.with_suffix(".lock"))):
                    break
            yield

    def write(self, name: str, code: bytes) -> None:
        """Write the code to the first folder that can be written to."""
        rest = self._key + struct.pack("<q", len(name.encode())) + name.encode() + code
        for path in self._paths:
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(path) as file:
                    file.write(hashlib.sha256(rest).digest() + rest)
                return


def _is_object_file(code: bytes) -> bool:
    """Return whether bytes look like a whole object file; LLVM ends the process for others."""
    if not code.startswith(_ELF):
        return code.startswith(_OTHER_OBJECT_FILES)
    if len(code) < _ELF_HEADER:
        return False
    # In ELF files of 64 bits the table of sections comes last: its offset, and the size and number of its entries.
    (start,), (size, count) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<2H", code, 58)
    return bool(start > 0 and 0 < size * count <= len(code) - start)


def _folders() -> list[Path]:
    """Return the folders for machine code, the preferred one first: where Numba has its cache, then the user's."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    return [Path(named) / "fastnn"] if named else [_FOLDER / "__pycache__", cache_dir() / "kernels"]


@cache
def checksum_of_kernels() -> bytes | None:
    """Return a checksum of the kernels' source files, which takes 1 ms; None if they cannot be read."""
    return _checksum(sorted(_FOLDER.glob("*.py")))


def _checksum(paths: list[Path]) -> bytes | None:
    """Return a checksum of files' names and contents; None if there are none, or one cannot be read."""
    digest = hashlib.sha256()
    try:
        for path in paths:
            digest.update(path.name.encode() + hashlib.sha256(read_file(path, _SOURCE_LIMIT)).digest())
    except FastnnError:
        return None
    return digest.digest() if paths else None


@cache
def _made_from() -> bytes | None:
    """Return a checksum of the kernels' sources and the versions of all compilers; None if they cannot be found."""
    from llvmlite import __version__ as llvmlite_version

    numba = find_spec("numba")  # does not import it
    version = (
        None if numba is None or numba.origin is None else _checksum([Path(numba.origin).with_name("_version.py")])
    )
    parts = (checksum_of_kernels(), version, llvmlite_version, platform.python_version())
    return None if None in parts else hashlib.sha256(repr(parts).encode()).digest()


@cache
def _machine() -> tuple[str, ...]:
    from llvmlite import binding

    return binding.get_process_triple(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()


def _settings() -> tuple[Any, ...]:
    """Return Numba's settings from the environment and from its file."""
    names = sorted(name for name in os.environ if name.startswith("NUMBA_") and name not in _WITHOUT_EFFECT)
    file = Path(".numba_config.yaml")
    return *((name, os.environ[name]) for name in names), read_file(file, _SOURCE_LIMIT) if file.is_file() else b""
