"""Compiling with and without a folder for the cache."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numba
import numpy as np
import pytest

from fastnn.kernels import _jit
from tests.helpers import compiled_only, python, together, tree
from tests.kernels.small import RUN


def double(x):
    return 2 * x


@compiled_only
def test_functions_are_cached_where_a_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTNN_CACHE", raising=False)
    function = _jit.jit(double)
    assert type(function._cache).__name__ == "FunctionCache"
    assert function(4) == 8


@compiled_only
def test_the_cache_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_CACHE", "0")
    function = _jit.jit(double)
    assert type(function._cache).__name__ == "NullCache"
    assert function(4) == 8


def test_without_a_folder_functions_are_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def njit(**options: object) -> object:
        asked.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'double': no locator available for file 'x.py'")
        return lambda function: function

    monkeypatch.delenv("FASTNN_CACHE", raising=False)
    monkeypatch.setattr(numba, "njit", njit)
    assert _jit.jit(double) is double
    assert asked == [True, False]


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(**_: object) -> object:
        raise RuntimeError("something else")

    monkeypatch.delenv("FASTNN_CACHE", raising=False)
    monkeypatch.setattr(numba, "njit", njit)
    with pytest.raises(RuntimeError, match="something else"):
        _jit.jit(double)


@compiled_only
@pytest.mark.parametrize("option", ["fastmath", "parallel"])
def test_no_option_that_makes_results_depend_on_the_machine(option: str) -> None:
    for wrap in (_jit.jit, _jit.inner):
        assert not wrap(double).targetoptions.get(option)
        assert wrap(double).targetoptions["nogil"]


REFUSED = """
import numba
try:
    numba.njit(cache=True)(lambda x: x)
except RuntimeError as error:
    assert "cannot cache function" in str(error), error
else:
    assert numba.config.DISABLE_JIT
"""


def test_kernels_run_where_numba_refuses_to_cache(tmp_path: Path) -> None:
    """Holds Numba's wording of today, which the fall-back goes by."""
    compiled = 'assert "tests.kernels.small" in sys.modules\n'
    folders = {"NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = python(REFUSED + RUN + compiled, **folders)
    assert done.returncode == 0, done.stderr


@compiled_only
def test_two_processes_may_fill_one_cache_together(tmp_path: Path) -> None:
    cache: dict[str, str | None] = {"NUMBA_CACHE_DIR": str(tmp_path)}
    together(RUN, cache, cache)
    entries = tree(tmp_path)
    assert {Path(name).suffix for name in entries} == {".native"}
    assert python(RUN, NUMBA_CACHE_DIR=str(tmp_path)).returncode == 0
    assert tree(tmp_path) == entries  # the third one found what it needs


@compiled_only
def test_an_inner_function_is_part_of_its_callers_alone() -> None:
    """Else compiling takes longer, and nothing else would show it."""
    from fastnn.kernels._compiler import Part

    part = _jit.inner(double)
    assert numba.njit(lambda x: part(x) + 1)(2.0) == 5
    (compiled,) = part.overloads.values()
    assert type(compiled.library) is Part
    assert not compiled.library._codegen._engine.is_symbol_defined(compiled.fndesc.mangled_name)
    whole = _jit.inner(vectorised=True)(double)
    assert numba.njit(lambda x: whole(x) + 1)(2.0) == 5
    (compiled,) = whole.overloads.values()
    assert compiled.library._codegen._engine.is_symbol_defined(compiled.fndesc.mangled_name)


@compiled_only
def test_kernels_are_compiled_by_the_lean_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it takes longer: each call is looked into again and again, and code is optimised twice."""
    from numba.core.codegen import CPUCodegen
    from numba.core.typing import Context

    from fastnn.kernels._compiler import LeanCompiler, Part, Whole, _Typing

    libraries, asked, optimised = [], [], []
    make, resolve = LeanCompiler.define_pipelines, Context.resolve_function_type
    passes = CPUCodegen._module_pass_manager

    def define(compiler: Any) -> Any:
        pipelines = make(compiler)
        libraries.append(type(compiler.state.library))
        return pipelines

    def count(*arguments: Any) -> Any:
        asked.append(arguments[1:3])
        return resolve(*arguments)

    def optimise(*arguments: Any, **options: Any) -> Any:
        optimised.append(options)
        return passes(*arguments, **options)

    monkeypatch.setattr(_Typing, "_of_context", WeakKeyDictionary())
    monkeypatch.setattr(CPUCodegen, "_module_pass_manager", optimise)
    monkeypatch.setattr(LeanCompiler, "define_pipelines", define)
    monkeypatch.setattr(Context, "resolve_function_type", count)
    part = _jit.inner(lambda x: x * x * x)

    def kernel(x):
        for k in range(x.size):
            x[k] = part(x[k]) + x[k] * x[k]

    assert _jit.object_code(_jit.jit(kernel), [np.zeros(3)], "ppqqpqq", "entry") is not None
    assert libraries == [Whole, Part]
    products = [arguments for function, arguments in asked if "mul" in str(function)]
    assert len(products) == len(set(products)) == 1
    assert len(optimised) == 1


@compiled_only
def test_where_numba_has_other_insides_its_own_compiler_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.codegen import CPUCodegen

    from fastnn.kernels import _compiler

    assert _compiler.works()
    monkeypatch.setattr(CPUCodegen, "_module_pass_manager", lambda _: None)
    assert not _compiler.works()
    monkeypatch.undo()
    monkeypatch.setattr(_compiler, "works", lambda: False)
    spec = importlib.util.spec_from_file_location("other_jit", str(_jit.__file__))
    assert spec is not None
    assert spec.loader is not None
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    assert "pipeline_class" not in other._INNER
    assert "pipeline_class" not in other._OUTER
    part = other.inner(double)
    assert numba.njit(lambda x: part(x) + 1)(2.0) == 5


@compiled_only
def test_what_cannot_be_a_part_is_told() -> None:
    @_jit.inner
    def speaks(x):
        print("x is", x)
        return x

    with pytest.raises(NotImplementedError, match="speaks cannot be a part of others, it needs"):
        numba.njit(lambda x: speaks(x) + 1)(2.0)


@compiled_only
def test_functions_that_call_each_other_are_no_parts() -> None:
    names: dict[str, Any] = {"inner": _jit.inner}
    exec(  # noqa: S102 - each needs the other's name in its globals
        "@inner\ndef even(n):\n    return odd(n - 1) if n else True\n"
        "@inner\ndef odd(n):\n    return even(n - 1) if n else False\n",
        names,
    )
    even = names["even"]
    with pytest.raises(NotImplementedError, match="cannot be a part of others"):
        numba.njit(lambda n: not even(n))(3)
