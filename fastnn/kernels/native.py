"""Kernels called without Numba where they were compiled before: their machine code is kept and loaded by llvmlite.

``import numba`` and its first look into its own cache take 0.65 s, a sixth of training 60 epochs on 13,942 digits; what
is here takes 0.05 s. Where there is no code to load, ``_jit`` compiles it and it is kept for the next time.

The machine code is that of a Numba function, which takes an array apart into seven numbers and more. It comes with a
little entry of its own that takes the address of all numbers, one every eight bytes: a call with a hundred arguments
through ctypes would take 10 us.

The folder of kept code has the same standing as that of Numba's own cache: who may write there decides what is run.
Nothing in it is unpickled.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import os
import platform
import struct
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastnn.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    Entry = Callable[[bytes], int]

ENTRY = "fastnn_entry"
"""Name of the function that takes the address of the numbers."""

_FOLDER = Path(__file__).parent
_RETURNED = (0, -2)
"""What Numba's functions answer unless they raise: something, or None."""

_CALLS = ("log", "fma", "fmaf", "memcpy", "memset")
"""What LLVM may call for instructions that a processor lacks. What it cannot find ends the process."""

_HARMLESS = ("NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES", "NUMBA_DEBUG_CACHE", "NUMBA_NUM_THREADS")
"""Numba's variables that do not change machine code; any other may."""

_C_CONTIGUOUS, _F_CONTIGUOUS, _ALIGNED = 0x1, 0x2, 0x100  # bits of ndarray.flags.num

_loaded: list[Any] = []  # LLVM's engines own the code.
_lock = threading.RLock()


class Kind:
    """What a kernel is compiled for; equal kinds are one object, so that looking one up is cheap.

    Attributes
    ----------
    name : str
        The same in every process.
    codes : str
        What the argument is taken apart into: p (pointer), q (int64), b (int8), f (float32), d (float64).
    """

    __slots__ = ("codes", "name")
    _all: ClassVar[dict[str, Kind]] = {}

    def __init__(self, name: str, codes: str) -> None:
        self.name, self.codes = name, codes

    @classmethod
    def of(cls, name: str, codes: str) -> Kind:
        """Return the one kind of this name."""
        return cls._all.setdefault(name, cls(name, codes))


class Packed:
    """An argument taken apart beforehand; lets its arrays live.

    Attributes
    ----------
    value : object
        The argument itself.
    kind : Kind
    content : bytes
        What the kernel reads: its numbers and addresses.
    """

    __slots__ = ("content", "kind", "value")

    def __init__(self, value: Any, kind: Kind, content: bytes) -> None:
        self.value, self.kind, self.content = value, kind, content

    def __reduce__(self) -> Any:
        # A copy has arrays of its own, at other addresses.
        return pack, (self.value,)


_SCALARS: dict[type, tuple[Kind, Callable[[Any], bytes]]] = {
    float: (Kind.of("float64", "d"), struct.Struct("d").pack),
    np.float64: (Kind.of("float64", "d"), struct.Struct("d").pack),
    np.float32: (Kind.of("float32", "f"), struct.Struct("f4x").pack),
    int: (Kind.of("int64", "q"), struct.Struct("q").pack),
    np.int64: (Kind.of("int64", "q"), struct.Struct("q").pack),
    bool: (Kind.of("bool", "b"), struct.Struct("?7x").pack),
}
_ARRAYS = [struct.Struct(f"{5 + 2 * ndim}q").pack for ndim in range(5)]
_array_kinds: dict[tuple[np.dtype[Any], int, int], Kind] = {}
_Nothing = ctypes.c_char * 0


def pack(argument: Any) -> Packed:
    """Take an argument apart as Numba's functions want it.

    Parameters
    ----------
    argument : ndarray, number, bool or tuple of such

    Raises
    ------
    TypeError
        If it is anything else.
    """
    return Packed(argument, *_flat(argument))


def _flat(argument: Any) -> tuple[Kind, bytes]:
    """Return the kind of an argument, and its numbers and addresses."""
    form = type(argument)
    if form is Packed:
        return argument.kind, argument.content
    if form is np.ndarray:
        flags = argument.flags.num
        # Of Numba's seven numbers the first two are for arrays that are kept, which no kernel does.
        content = _ARRAYS[argument.ndim](
            0, 0, argument.size, argument.itemsize, _address(argument), *argument.shape, *argument.strides
        )
        return _array_kinds.get((argument.dtype, argument.ndim, flags)) or _array_kind(argument, flags), content
    if form in _SCALARS:
        kind, content_of = _SCALARS[form]
        return kind, content_of(argument)
    if isinstance(argument, tuple):
        kinds, contents = zip(*map(_flat, argument), strict=True) if argument else ((), ())
        name = f"{form.__name__}({', '.join(kind.name for kind in kinds)})"
        return Kind.of(name, "".join(kind.codes for kind in kinds)), b"".join(contents)
    if isinstance(argument, np.ndarray):
        return _flat(argument.view(np.ndarray))  # a file mapped into memory, say
    raise TypeError(f"kernels take no {form.__name__}")


def _address(array: NDArray[Any]) -> int:
    try:
        # A third of the time that NumPy's own ways take.
        return ctypes.addressof(_Nothing.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):  # read-only or in pieces
        return int(array.__array_interface__["data"][0])


def _array_kind(array: NDArray[Any], flags: int) -> Kind:
    """Return the kind of an array, which says as much as its Numba type, but for whether it is read-only.

    Kernels do not write to what they are given to read, and code for both would be the same code twice: images are
    read-only where they come from the cache, and not in a process that they were sent to.
    """
    layout = flags & _C_CONTIGUOUS or flags & _F_CONTIGUOUS
    name = f"{array.dtype.str}[{array.ndim}, {layout}, {flags & _ALIGNED}]"
    kind = Kind.of(name, "ppqqp" + 2 * array.ndim * "q")
    _array_kinds[array.dtype, array.ndim, flags] = kind
    return kind


class Kernel:
    """A compiled function that returns nothing, by its name.

    Parameters
    ----------
    module, name : str
        Where it is. The module is imported if the function is to be compiled, or is not compiled at all.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name
        self._entries: dict[tuple[Kind, ...], Entry] = {}
        self._plain: Callable[..., None] | None = None

    def __call__(self, *arguments: Any) -> None:
        """Call it; arguments as :func:`pack` takes them, or packed."""
        if self._plain is None:
            kinds, contents = zip(*map(_flat, arguments), strict=True)
            entry = self._entries.get(kinds) or self._open(kinds, arguments)
            if entry is not None:
                if entry(b"".join(contents)) not in _RETURNED:
                    raise RuntimeError(f"{self._module}.{self._name} failed")
                return
        if self._plain is not None:
            self._plain(*map(_value, arguments))

    def bound(self, before: Iterable[Any], after: Iterable[Any]) -> Callable[[Any], None]:
        """Return a function of the one argument between these, which are taken apart once for all its calls.

        For calls that are many and short: one takes 2 us, where taking ten arguments apart makes it 5.

        Parameters
        ----------
        before, after : iterable
            The other arguments, as :meth:`__call__` takes them. They live as long as the function does.

        Returns
        -------
        callable
            Raises what :meth:`__call__` raises.
        """
        first = [_packed(argument) for argument in before]
        last = [_packed(argument) for argument in after]
        front = b"".join(argument.content for argument in first)
        back = b"".join(argument.content for argument in last)
        entries: dict[Kind, Entry] = {}

        def call(argument: Any) -> None:
            kind, content = _flat(argument)
            entry = entries.get(kind)
            if entry is None:
                self(*first, argument, *last)
                kinds = (*(each.kind for each in first), kind, *(each.kind for each in last))
                if kinds in self._entries:
                    entries[kind] = self._entries[kinds]
            elif entry(front + content + back) not in _RETURNED:
                raise RuntimeError(f"{self._module}.{self._name} failed")

        return call

    def _open(self, kinds: tuple[Kind, ...], arguments: tuple[Any, ...]) -> Entry | None:
        """Load or compile the code for such arguments; without any, leave the work to Numba or plain Python."""
        with _lock:
            if kinds in self._entries:
                return self._entries[kinds]
            store = _Store(self._module, self._name, kinds)
            entry = _load(store.read())
            if entry is None:
                function = getattr(importlib.import_module(self._module), self._name)
                from fastnn.kernels import _jit

                codes = "".join(kind.codes for kind in kinds)
                code = _jit.object_code(function, [_value(argument) for argument in arguments], codes, ENTRY)
                entry = _load(code)
                if code is None or entry is None:
                    self._plain = function
                    return None
                store.write(code)
            self._entries[kinds] = entry
            return entry


def _packed(argument: Any) -> Packed:
    return argument if isinstance(argument, Packed) else pack(argument)


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, Packed) else argument


def _load(code: tuple[bytes, bytes] | None) -> Entry | None:
    """Return the entry of machine code; it lets other threads run, as ctypes does. None without, or if it cannot be."""
    if code is None:
        return None
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_triple(binding.get_process_triple()).create_target_machine()
    # An engine for each, since names in the code of two may be the same.
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    # Asked once there is an engine: without one the answer is always no.
    if not all(binding.address_of_symbol(name) for name in _CALLS):
        return None
    for part in code:
        engine.add_object_file(binding.ObjectFileRef.from_data(part))
    engine.finalize_object()
    _loaded.append(engine)
    return ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_char_p)(engine.get_function_address(ENTRY))


class _Store:
    """The file for one kernel and one kind of arguments; whatever is wrong with it only costs time.

    Its name says what the code is for, so that an edit or another version writes over it; the key within says what it
    was made from. Before all stands the checksum of the rest.
    """

    def __init__(self, module: str, name: str, kinds: tuple[Kind, ...]) -> None:
        self._made_from = None if os.environ.get("FASTNN_CACHE") == "0" else _made_from()
        purpose = repr((str(_FOLDER), module, _machine(), _settings(), [kind.name for kind in kinds]))
        self._file = f"{name}-{hashlib.sha256(purpose.encode()).hexdigest()[:16]}.native"
        self._purpose = purpose.encode()

    def read(self) -> tuple[bytes, bytes] | None:
        """Return what :meth:`write` was given, by this or another process, if it still holds."""
        if self._made_from is None:
            return None
        for folder in _folders():
            try:
                content = (folder / self._file).read_bytes()
            except OSError:
                continue
            rest = content[32:]
            if hashlib.sha256(rest).digest() == content[:32] and rest[:32] == self._key():
                (length,) = struct.unpack_from("<q", rest, 32)
                return rest[40 : 40 + length], rest[40 + length :]
        return None

    def write(self, code: tuple[bytes, bytes]) -> None:
        """Keep the code in the first folder that takes it."""
        if self._made_from is None:
            return
        rest = self._key() + struct.pack("<q", len(code[0])) + code[0] + code[1]
        for folder in _folders():
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                with atomic_write(folder / self._file) as file:
                    file.write(hashlib.sha256(rest).digest() + rest)
                return

    def _key(self) -> bytes:
        return hashlib.sha256(self._purpose + (self._made_from or b"")).digest()


def _folders() -> Iterator[Path]:
    """Find the folders to look into, the first one first: where Numba keeps its own, then the user's cache."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        yield Path(named) / "fastnn"
        return
    yield _FOLDER / "__pycache__"
    from fastnn.storage import cache_dir

    yield cache_dir() / "kernels"


@cache
def checksum_of_kernels() -> bytes | None:
    """Return a checksum of all files of kernels, so that none can be forgotten: 1 ms. None if they are not files."""
    return _checksum(sorted(_FOLDER.glob("*.py")))


def _checksum(paths: list[Path]) -> bytes | None:
    """Return a checksum of files' names and contents; None if there are none, or one cannot be read."""
    digest = hashlib.sha256()
    try:
        for path in paths:
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    except OSError:
        return None
    return digest.digest() if paths else None


@cache
def _made_from() -> bytes | None:
    """Return a checksum of all that decides what the code for a purpose is; None where that is not known."""
    from llvmlite import __version__ as llvmlite_version

    numba = find_spec("numba")  # does not import it
    if numba is None or numba.origin is None:
        return None
    kernels, version = checksum_of_kernels(), _checksum([Path(numba.origin).with_name("_version.py")])
    if kernels is None or version is None:
        return None
    parts = (llvmlite_version, np.__version__, platform.python_version(), kernels, version)
    return hashlib.sha256(repr(parts).encode()).digest()


@cache
def _machine() -> tuple[str, ...]:
    from llvmlite import binding

    return binding.get_process_triple(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()


def _settings() -> tuple[Any, ...]:
    """Return what Numba is told from outside."""
    told = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] not in _HARMLESS)
    try:
        return *told, Path(".numba_config.yaml").read_bytes()
    except OSError:
        return tuple(told)
