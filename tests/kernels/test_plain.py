"""The plain twins: kernels run on them without a change to the compiled ones."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

import fastnn.kernels
from tests.kernels import plain


def test_a_copy_of_kernels_runs_on_the_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    intrinsics = {name: ModuleType(name) for name in plain.INTRINSICS}
    for name, module in intrinsics.items():
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(fastnn.kernels, name.rpartition(".")[2], module, raising=False)
    copy = plain.kernels.__wrapped__("fastnn.kernels.normalise")
    assert copy is not sys.modules.get("fastnn.kernels.normalise")
    assert copy.record_at is plain.record_at
    for name, module in intrinsics.items():
        assert sys.modules[name] is getattr(fastnn.kernels, name.rpartition(".")[2]) is module


def test_with_the_twins_in_place_the_kernels_themselves_run_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in plain.INTRINSICS:
        monkeypatch.setitem(sys.modules, name, plain)
    module = ModuleType("fastnn.kernels.normalise")
    monkeypatch.setitem(sys.modules, "fastnn.kernels.normalise", module)
    assert plain.kernels.__wrapped__("fastnn.kernels.normalise") is module


def test_neither_pointers_nor_vectors_reach_before_their_start() -> None:
    numbers = plain.Pointer(0, "float32")
    assert plain.floats_per_vector(numbers) == 16
    for access in (lambda: numbers[-1], lambda: plain.load(numbers, -1, plain.ONE)):
        with pytest.raises(AssertionError):
            access()
    with pytest.raises(AssertionError):
        numbers[-1] = 0
    for call in (plain.load_rows, plain.splat_rows):
        with pytest.raises(AssertionError):
            call(numbers, 0, plain.TWO)
