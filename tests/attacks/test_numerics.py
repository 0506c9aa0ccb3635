"""A short pass of the attack on the numbers, and faults that it must find."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.attacks import numerics
from tests.helpers import needs_jit, run_python

needs_posix = pytest.mark.skipif(os.name != "posix", reason="guard pages need a POSIX system")


@needs_jit
def test_numbers_withstand_a_short_attack(capsys: pytest.CaptureFixture[str]) -> None:
    assert numerics.main(["--n", "12", "--seed", "7", "--every", "16384"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "nothing broke"
    if os.name == "posix":
        counts = [int(word.strip(",")) for word in lines[0].split() if word.strip(",").isdigit()]
        assert counts[0] == 12
        # The others have huge weights or are too sensitive to rounding errors.
        assert counts[1] >= 8
        rows = [int(word.strip(",")) for word in lines[2].split() if word.strip(",").isdigit()]
        assert rows[0] == 12
        assert rows[1] >= 8
    assert sum(line.startswith("exp float32: ") for line in lines) == 1


# Prints by which signal a process ends that writes outside of guarded memory.
OUTSIDE = """
import ctypes, os
from tests.attacks.numerics import Guarded
for at_end, index in ((True, 100), (False, -1)):
    memory = Guarded(100, at_end=at_end)
    ctypes.memset(memory.address, 2, 100)
    assert memory.bytes.tolist() == [2] * 100
    child = os.fork()
    if child == 0:
        ctypes.memset(memory.address + index, 3, 1)
        os._exit(0)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]) in (10, 11))
"""


@needs_posix
def test_a_number_outside_of_guarded_memory_ends_the_process() -> None:
    child = run_python(OUTSIDE)
    assert (child.stdout, child.returncode) == ("True\nTrue\n", 0), child.stderr


@needs_jit
@needs_posix
def test_a_wrong_number_is_found() -> None:
    cases = (numerics.Case.random(np.random.default_rng([7, k])) for k in range(1000))
    case = next(one for one in cases if one.kinds == ("usual", "usual") and one.network.dtype == "float64")
    rng = np.random.default_rng(0)
    network, outputs = case.trained(at_end=True)
    assert case.compare(network, outputs, rng) == (False, [])
    network.weights[0][0, 0] += 1e-6
    _, faults = case.compare(network, outputs, rng)
    assert len(faults) == 1
    assert "1.0e-06" in faults[0]


@needs_jit
@needs_posix
def test_a_wrong_number_from_rows_is_found() -> None:
    cases = (numerics.RowCase.random(np.random.default_rng([7, k, 1]), numerics.ROW_KERNELS) for k in range(1000))
    case = next(one for one in cases if one.kinds == ("usual", "usual", "random") and one.network.dtype == "float64")
    rng = np.random.default_rng(0)
    network, outputs = case.trained(at_end=True)
    assert numerics.compare(case, network, outputs, rng) == (False, [])
    network.weights[0][0, 0] += 1e-6
    assert len(numerics.compare(case, network, outputs, rng)[1]) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wrong_exponential_is_found(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "compiled_exp", lambda _: lambda x: np.exp(x) * (1 + 4 * np.finfo(x.dtype).eps))
    assert any(one.startswith(f"exp {dtype}: ") for one in numerics.attack_exp(1 << 16, 1000, 0))
