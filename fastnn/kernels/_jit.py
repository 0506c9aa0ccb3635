"""The only file that knows Numba's options and the cache fall-back."""

import os
from collections.abc import Callable
from typing import Any

import numba
from numba.extending import overload

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}


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


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` for calls from other compiled functions of its file alone.

    It has no way in from Python and no cache file of its own, which halves the time that compiling takes; its machine
    code is part of its callers'.
    """
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)


def either(one: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls `one` or `other`, of which only the one that is needed is compiled.

    Its first argument, a tuple, decides: `one` if it is empty, else `other`; the rest is passed on. The length of a
    tuple is part of its type, so that the choice is made when the caller is compiled.
    """

    def choice(which: tuple[int, ...], *arguments: Any) -> Any:
        return (other if which else one)(*arguments)

    @overload(choice, jit_options={"no_cpython_wrapper": True, "no_cfunc_wrapper": True, **_OPTIONS})
    def _choose(which: Any, *arguments: Any) -> Callable[..., Any]:  # noqa: ARG001 - Numba passes the types
        chosen = other if len(which) else one

        def call(which: Any, *arguments: Any) -> Any:  # noqa: ARG001 - as in `choice`
            return chosen(*arguments)

        return call

    return choice
