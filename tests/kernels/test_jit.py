"""Compiling with and without a folder for the cache."""

from __future__ import annotations

from pathlib import Path

import numba
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


def test_kernels_run_where_numba_refuses_to_cache() -> None:
    """Holds Numba's wording of today, which the fall-back goes by."""
    done = python(REFUSED + RUN, NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator")
    assert done.returncode == 0, done.stderr


@compiled_only
def test_two_processes_may_fill_one_cache_together(tmp_path: Path) -> None:
    cache: dict[str, str | None] = {"NUMBA_CACHE_DIR": str(tmp_path)}
    together(RUN, cache, cache)
    entries = tree(tmp_path)
    assert {Path(name).suffix for name in entries} == {".native"}
    assert python(RUN, NUMBA_CACHE_DIR=str(tmp_path)).returncode == 0
    assert tree(tmp_path) == entries  # the third one found what it needs
