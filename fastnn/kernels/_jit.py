"""The only file that knows Numba's options and the cache fall-back."""

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
from llvmlite import binding, ir
from numba import types
from numba.extending import overload

# Kernels get their arrays from outside and keep none, so that nobody counts who holds one: code that calls on Numba's
# own memory ("nrt") could not be loaded without Numba.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False, "_nrt": False}
_BARE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_OUTER: dict[str, Any] = {}
_INNER: dict[str, Any] = dict(_BARE)
with contextlib.suppress(ImportError):
    from fastnn.kernels._compiler import LeanCompiler, PartCompiler, works

    if works():
        _OUTER["pipeline_class"] = LeanCompiler
        _INNER["pipeline_class"] = PartCompiler


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on first use, keep the machine code on disk where a folder can be written.

    No ``fastmath``: it lets NaN checks be folded away and makes weights differ by CPU. ``error_model="numpy"``
    drops the checks for division by zero, ``nogil`` lets other threads predict while one trains. Where neither
    the package's own folder nor the user's cache can be written, Numba refuses to cache when it decorates; the
    function is then compiled anew in each process. ``FASTNN_CACHE=0`` asks for that.
    """
    if os.environ.get("FASTNN_CACHE") != "0":
        try:
            return numba.njit(cache=True, **_OPTIONS)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
    return numba.njit(**_OPTIONS)(function)


def inner(function: Callable[..., Any] | None = None, *, vectorised: bool = False) -> Callable[..., Any]:
    """Compile `function` for calls from other compiled functions of its file alone.

    It has no way in from Python and no cache file of its own; its code is part of its callers', see
    :mod:`fastnn.kernels._compiler`. It must not call on Python's interpreter, nor be one of several that call each
    other.

    Parameters
    ----------
    function : callable, optional
        Without it a decorator is returned.
    vectorised : bool
        Whether LLVM is to make vectors of its loops. It is then optimised on its own as well: left to its callers,
        distortions and normalising took a third longer.
    """
    if function is None:
        return partial(inner, vectorised=vectorised)
    return numba.njit(**(_BARE if vectorised else _INNER), **_OPTIONS)(function)


def either(one: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls `one` or `other`, of which only the one that is needed is compiled.

    Its first argument, a tuple, decides: `one` if it is empty, else `other`; the rest is passed on. The length of a
    tuple is part of its type, so that the choice is made when the caller is compiled.
    """

    def choice(which: tuple[int, ...], *arguments: Any) -> Any:
        return (other if which else one)(*arguments)

    @overload(choice, jit_options={**_INNER, **_OPTIONS})
    def _choose(which: Any, *arguments: Any) -> Callable[..., Any]:  # noqa: ARG001 - Numba passes the types
        chosen = other if len(which) else one

        def call(which: Any, *arguments: Any) -> Any:  # noqa: ARG001 - as in `choice`
            return chosen(*arguments)

        return call

    return choice


def object_code(function: Any, arguments: list[Any], codes: str, entry: str) -> tuple[bytes, bytes] | None:
    """Compile a function of :func:`jit` for such arguments, into machine code that needs no Numba to be loaded.

    Parameters
    ----------
    function : callable
    arguments : list
        Of the types to compile for.
    codes : str
        What ``native.pack`` takes them apart into.
    entry : str
        Name for the function that is to be called; it is given the address of as many 8-byte places.

    Returns
    -------
    tuple of bytes or None
        Two object files: the function, and the entry. None if this cannot be: with the JIT off, if the function
        calls on others, if Numba takes arguments apart in another way, or has other insides.
    """
    if not hasattr(function, "py_func"):
        return None
    wanted = tuple(_writeable(numba.typeof(argument)) for argument in arguments)
    lone: Any = numba.njit(**_OUTER, **_BARE, **_OPTIONS)(function.py_func)
    lone.compile(wanted)
    result = lone.overloads[wanted]
    library, described = result.library, result.fndesc
    try:
        names = [part.name for part in library._final_module.functions if part.is_declaration]
        kind = lone.targetctx.call_conv.get_function_type(described.restype, described.argtypes)
        taken_apart = [_code(part) for part in kind.args[2:]]
        _, _, (code, _) = library.serialize_using_object_code()
    except AttributeError:
        return None
    if taken_apart != list(codes) or not all(name.startswith("llvm.") for name in names):
        return None
    triple = binding.get_process_triple()
    machine = binding.Target.from_triple(triple).create_target_machine(reloc="pic", codemodel="jitdefault")
    module = ir.Module(entry)
    module.triple, module.data_layout = triple, str(machine.target_data)
    _write_entry(module, entry, ir.Function(module, kind, described.mangled_name))
    return code, machine.emit_object(binding.parse_assembly(str(module)))


def _writeable(kind: Any) -> Any:
    """Return the type of an array, or of a tuple with arrays, as it were if nothing in it were read-only."""
    if isinstance(kind, types.Array):
        return kind.copy(readonly=False)
    if isinstance(kind, types.NamedTuple):
        return types.NamedTuple([_writeable(part) for part in kind.types], kind.instance_class)
    return kind


def _code(kind: ir.Type) -> str:
    """Return the letter that ``native.Kind`` has for a type."""
    letters = {"i64": "q", "i8": "b", "float": "f", "double": "d"}
    return "p" if isinstance(kind, ir.PointerType) else letters.get(str(kind), str(kind))


def _write_entry(module: ir.Module, name: str, callee: ir.Function) -> None:
    """Write the function that reads the arguments of another, one every eight bytes, and calls it."""
    result, raised, *kinds = callee.function_type.args
    places = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.IntType(32), [places.as_pointer()]), name)
    builder = ir.IRBuilder(function.append_basic_block())
    arguments = [builder.alloca(result.pointee), builder.alloca(raised.pointee)]
    for number, kind in enumerate(kinds):
        place = builder.gep(function.args[0], [places(number)])
        arguments.append(builder.load(builder.bitcast(place, kind.as_pointer())))
    builder.ret(builder.call(callee, arguments))
