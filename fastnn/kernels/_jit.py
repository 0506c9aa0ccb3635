"""The only file that knows Numba's options and the cache fall-back."""

import os
from collections.abc import Callable
from typing import Any

import numba

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
