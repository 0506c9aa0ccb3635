"""The cache of machine code: the same bits as with Numba, and no import of Numba if the cache is filled."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.engine import Engine, StepOptions, kernel_for
from fastnn.errors import FastnnError
from fastnn.inputs import ImageInput
from fastnn.kernels import loader
from fastnn.network import Network
from tests.helpers import ROOT, file_contents, needs_jit, run_concurrently, run_python
from tests.kernels import small
from tests.kernels.small import RUN

if TYPE_CHECKING:
    from collections.abc import Callable

# Compiles every kind of kernel: dense and sparse layers, distortions, normalisation and strokes.
EVERY_KERNEL = """
import hashlib, sys
import numpy as np
from fastnn.datasets.drawn import drawn
from fastnn.engine import Engine
from fastnn.images import normalise_batch
from fastnn.images.distort import Distorter
from fastnn.inputs import ImageInput
from fastnn.network import Network
from fastnn.recipe import Recipe

def trained(rule, activation):
    network = Network((784, 33, 17, 3), rule=rule, activation=activation).initialise("xavier")
    images = np.random.default_rng(0).integers(0, 256, (9, 784), dtype=np.uint8)
    engine, data = Engine(network), ImageInput(images, False)
    engine.load_weights(data)
    engine.train(data, np.arange(9) % 3, np.arange(9), 0.1, np.zeros(2))
    engine.store_weights()
    return network.sha256()

def distorted(images):
    out = np.zeros_like(images)
    Distorter(Recipe(rotation=10, shift=2, elastic_alpha=8, elastic_sigma=5))(images, np.arange(len(images)), 1, out)
    return out

def results():
    digits = drawn(12, seed=3).images
    pictures = digits, distorted(digits), normalise_batch(digits)[0]
    found = [hashlib.sha256(images.tobytes()).hexdigest() for images in pictures]
    return [*found, trained("original", "sigmoid")]
"""
ONE_KERNEL = EVERY_KERNEL + "result = trained('backprop', 'relu')\n"

# Later versions of llvmlite have only untyped pointers. All kernels must give the same results with them.
UNTYPED: dict[str, Any] = {"LLVMLITE_ENABLE_IR_LAYER_TYPED_POINTERS": "0"}

# Prints the result and whether Numba was imported.
PRINT_RESULT = """
print(result, "numba" in sys.modules)
"""


def result_and_numba(code: str = RUN, **changes: str | None) -> list[str]:
    done = run_python(code + PRINT_RESULT, cwd=ROOT, **changes)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split()


def cached_file(folder: Path) -> Path:
    (file,) = folder.rglob("*.native")
    return file


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, Any]:
    return {"NUMBA_CACHE_DIR": str(tmp_path), "FASTNN_CACHE": None}


@pytest.fixture
def cache_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the empty folder in which this process now has its cache."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("FASTNN_CACHE", raising=False)
    return tmp_path


@pytest.fixture
def compiled_here(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that gets each function that this process compiles from now on."""
    compiled: list[Any] = []

    def counted(function: Any, real: Callable[..., Any] = loader.object_code) -> tuple[str, bytes]:
        compiled.append(function)
        return real(function)

    monkeypatch.setattr(loader, "object_code", counted)
    return compiled


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a folder with the machine code for RUN, and the result of RUN."""
    folder = tmp_path_factory.mktemp("compiled")
    result, needed = result_and_numba(NUMBA_CACHE_DIR=str(folder), FASTNN_CACHE=None)
    assert needed == "True"
    return folder, result


@pytest.fixture
def result(compiled: tuple[Path, str], cache: dict[str, Any]) -> str:
    """Fill the cache; return the result of RUN."""
    folder, result = compiled
    shutil.copytree(folder, cache["NUMBA_CACHE_DIR"], dirs_exist_ok=True)
    return result


@pytest.fixture(scope="module")
def results() -> list[str]:
    """Return the results of every kernel in this process."""
    names: dict[str, Any] = {}
    exec(EVERY_KERNEL, names)  # noqa: S102 - the child processes run the same code
    found: list[str] = [*names["results"](), names["trained"]("backprop", "relu")]
    assert len(set(found)) == 5
    return found


# ---- the same bits ----


@needs_jit
def test_the_same_bits_as_through_numba() -> None:
    import numba

    from fastnn.kernels.sgd import run_samples

    images = np.random.default_rng(0).integers(0, 256, (9, 20), dtype=np.uint8)
    start = Network((20, 7, 3), rule="backprop", activation="relu", dtype="float32").initialise("he")
    directly = numba.njit(error_model="numpy")(run_samples("float32", "cross_entropy", "relu", "images", "plain"))
    found = []
    for kernel in (kernel_for("float32", "cross_entropy", "relu").run, directly):
        network, totals, data = start.copy(), np.zeros(2), ImageInput(images, False, "sparse")
        engine = Engine(network, kernel)
        engine.load_weights(data)
        factors = np.linspace(0.5, 1, len(images)).astype(np.float32)
        engine.train(
            data,
            np.arange(9) % 3,
            np.arange(9)[::-1].copy(),
            0.1,
            totals,
            weights=factors,
            options=StepOptions(smoothing=0.1),
        )
        engine.store_weights()
        engine.load_weights(data)
        found.append((network.sha256(), totals.tobytes(), engine.outputs(data).tobytes()))
    assert found[0] == found[1]
    assert found[0][0] != start.sha256()


# ---- when Numba is imported ----


@needs_jit
def test_the_second_process_needs_no_numba(results: list[str], cache: dict[str, Any], tmp_path: Path) -> None:
    first, second = (result_and_numba(ONE_KERNEL, **cache, **UNTYPED) for _ in range(2))
    assert (first, second) == ([results[-1], "True"], [results[-1], "False"])
    # Numba's own cache is not used.
    assert [Path(name).suffix for name in file_contents(tmp_path)] == [".native"]


@needs_jit
@pytest.mark.parametrize(
    "damage",
    [
        "truncated", "emptied", "one bit", "another kernel", "garbage", "no such function", "a key alone", "no code",
        "code of garbage", "code cut off", "too large",
    ],
)  # fmt: skip
def test_a_damaged_file_is_written_again(damage: str, compiled_here: list[Any], cache_here: Path) -> None:
    result = small.result_of(small.kernel("double")).tolist()
    assert (result, len(compiled_here)) == ([0, 2, 4, 6, 8], 1)
    file = cached_file(cache_here)
    whole = file.read_bytes()
    key, length = whole[32:64], int.from_bytes(whole[64:72], "little")
    name, code = whole[72 : 72 + length], whole[72 + length :]
    renamed = whole[32:72] + bytes([whole[72] ^ 1]) + whole[73:]

    def with_checksum(rest: bytes) -> bytes:
        return hashlib.sha256(rest).digest() + rest

    damaged = {
        "truncated": whole[:-100],
        "emptied": b"",
        "one bit": whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
        "another kernel": with_checksum(bytes(32) + whole[64:]),
        "garbage": os.urandom(4000),
        "no such function": with_checksum(renamed),
        "a key alone": with_checksum(key + bytes(7)),
        "no code": with_checksum(key + (1 << 62).to_bytes(8, "little") + name),
        "code of garbage": with_checksum(whole[32 : 72 + length] + name + os.urandom(4000)),
        "code cut off": with_checksum(whole[32 : 72 + length] + code[: len(code) // 2]),
        "too large": whole + bytes(1 << 25),
    }[damage]
    file.write_bytes(damaged)
    # The second kernel is loaded from the new file.
    for _ in range(2):
        assert small.result_of(small.kernel("double")).tolist() == result
        assert (len(compiled_here), file.read_bytes() != damaged) == (2, True)


@needs_jit
def test_cached_code_that_computes_wrong_numbers_is_compiled_again(compiled_here: list[Any], cache_here: Path) -> None:
    """The check runs each time code is loaded, not only when it is compiled."""
    result = small.result_of(small.kernel("double")).tolist()
    wrong = loader.Kernel("tests.kernels.small", "double", (), small.agrees("print_numbers"))
    with pytest.warns(RuntimeWarning, match="it computes other numbers than NumPy"):
        assert small.result_of(wrong).tolist() == result
    assert len(compiled_here) == 2
    assert small.result_of(small.kernel("double")).tolist() == result
    assert len(compiled_here) == 2
    assert cached_file(cache_here).is_file()


@needs_jit
@pytest.mark.parametrize("change", [{"NUMBA_OPT": "2"}, {"NUMBA_CPU_NAME": "generic"}])
def test_each_compiler_setting_has_its_own_file(
    change: dict[str, Any], result: str, cache: dict[str, Any], tmp_path: Path
) -> None:
    assert result_and_numba(**cache, **change) == [result, "True"]
    assert len(list(tmp_path.rglob("*.native"))) == 2
    assert result_and_numba(**cache, **change) == [result, "False"]
    assert result_and_numba(**cache) == [result, "False"]


@needs_jit
def test_settings_in_a_numba_config_file_have_their_own_file(
    result: str, cache: dict[str, Any], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / ".numba_config.yaml").write_text('opt: "1"\n')
    done = run_python(RUN + PRINT_RESULT, cwd=work, **cache)
    assert (done.stdout.split(), done.stderr) == ([result, "True"], "")
    assert len(list(tmp_path.rglob("*.native"))) == 2


@needs_jit
@pytest.mark.usefixtures("result")
def test_an_edited_kernel_is_compiled_again_and_replaces_its_file(cache: dict[str, Any], tmp_path: Path) -> None:
    before = cached_file(tmp_path).read_bytes()
    # An edit in any file of kernels counts: this copy of the package has one more line.
    copied = tmp_path / "copied"
    shutil.copytree(ROOT / "fastnn", copied / "fastnn", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", copied / "tests", ignore=shutil.ignore_patterns("__pycache__", "fixtures"))
    other: dict[str, Any] = {**cache, "PYTHONPATH": str(copied)}
    compiled = [run_python(RUN + PRINT_RESULT, cwd=copied, **other).stdout.split()[1]]
    names = {path for path in (tmp_path / "fastnn").iterdir() if path.read_bytes() != before}
    with (copied / "fastnn" / "kernels" / "records.py").open("a") as file:
        file.write("\n# edited\n")
    compiled += [run_python(RUN + PRINT_RESULT, cwd=copied, **other).stdout.split()[1] for _ in range(2)]
    assert compiled == ["True", "True", "False"]
    assert {path for path in (tmp_path / "fastnn").iterdir() if path.read_bytes() != before} == names
    assert len(names) == 1


@needs_jit
def test_two_processes_can_fill_an_empty_cache_at_the_same_time(cache: dict[str, Any], tmp_path: Path) -> None:
    run_concurrently(RUN, cache, cache, cwd=ROOT)
    assert result_and_numba(**cache)[1] == "False"
    assert len(file_contents(tmp_path)) == 1


@needs_jit
def test_without_a_cache_nothing_is_read_or_written(
    compiled_here: list[Any], cache_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = small.result_of(small.kernel("double")).tolist()
    before = file_contents(cache_here)
    assert len(before) == 1
    monkeypatch.setenv("FASTNN_CACHE", "0")
    assert small.result_of(small.kernel("double")).tolist() == result
    assert len(compiled_here) == 2
    assert file_contents(cache_here) == before


@needs_jit
def test_without_a_writable_folder_kernels_are_compiled_each_time(
    compiled_here: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked))
    for n in (1, 2):
        assert small.result_of(small.kernel("double")).tolist() == [0, 2, 4, 6, 8]
        assert len(compiled_here) == n
    assert file_contents(tmp_path) == {str(blocked): b""}


@needs_jit
def test_the_users_cache_is_used_if_the_package_is_not_writable(tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(ROOT / "fastnn", copied / "fastnn", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", copied / "tests", ignore=shutil.ignore_patterns("__pycache__", "fixtures"))
    changes: dict[str, Any] = {
        "NUMBA_CACHE_DIR": None,
        "FASTNN_CACHE": None,
        "FASTNN_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(copied),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    beside = copied / "fastnn" / "kernels" / "__pycache__"
    beside.write_bytes(b"")  # a file in place of the folder
    assert [run_python(RUN + PRINT_RESULT, cwd=copied, **changes).stdout.split()[1] for _ in range(2)] == [
        "True",
        "False",
    ]
    assert cached_file(tmp_path / "cache").parent.name == "kernels"
    beside.unlink()
    shutil.rmtree(tmp_path / "cache")
    assert [run_python(RUN + PRINT_RESULT, cwd=copied, **changes).stdout.split()[1] for _ in range(2)] == [
        "True",
        "False",
    ]
    assert cached_file(copied).parent == beside


# ---- unusable machine code ----


def no_object_code(_: Any) -> tuple[str, bytes]:
    raise AttributeError("'CPUCodeLibrary' object has no attribute 'serialize_using_object_code'")


def other_type(function: Any, real: Callable[..., Any] = loader.object_code) -> tuple[str, bytes]:
    """Return code as from a Numba whose functions take other arguments."""
    import numba

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba, "int64", numba.int32)
        return real(function)


def other_name(function: Any, real: Callable[..., Any] = loader.object_code) -> tuple[str, bytes]:
    return "cfunc." + real(function)[0], real(function)[1]


def other_numbers(_: Any, real: Callable[..., Any] = loader.object_code) -> tuple[str, bytes]:
    return real(small.nothing())


def unchanged(function: Any, real: Callable[..., Any] = loader.object_code) -> tuple[str, bytes]:
    return real(function)


FAULTS = [
    (no_object_code, "double", "has no attribute 'serialize_using_object_code'"),
    (other_type, "double", "it is object code of a function of ptr, ptr, i32"),
    (other_name, "double", r"it has no function cfunc\."),
    (other_numbers, "double", "it computes other numbers than NumPy"),
    (unchanged, "error_function", "it calls erf"),
    (unchanged, "print_numbers", "it calls .*Py"),
]


@needs_jit
@pytest.mark.parametrize(("object_code", "factory", "reason"), FAULTS)
def test_unusable_machine_code_leaves_the_call_to_numba_with_one_warning(
    object_code: Any, factory: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(loader, "object_code", object_code)
    kernel = small.kernel(factory)
    with pytest.warns(RuntimeWarning, match=f"{factory}: Numba calls this kernel.*({reason})") as caught:
        found = small.result_of(kernel)
    assert len(caught) == 1
    for each in (found, small.result_of(kernel)):  # the second call gives no warning
        np.testing.assert_allclose(each, small.EXPECTED[factory](np.arange(5.0)))
    assert file_contents(tmp_path) == {}


EVERY_KERNEL_DOING_NOTHING = """
import warnings
from fastnn.kernels import loader
from tests.kernels import small
real = loader.object_code
loader.object_code = lambda function: real(small.nothing())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(*results(), sep="\\n")
for warning in caught:
    assert warning.category is RuntimeWarning, warning
    print("warned", str(warning.message).partition(":")[0])
"""


@needs_jit
def test_no_kernel_that_computes_wrong_numbers_is_used(
    results: list[str], cache: dict[str, Any], tmp_path: Path
) -> None:
    """The loaded code does nothing; each check must detect that, and Numba takes over, with untyped pointers."""
    done = run_python(EVERY_KERNEL + EVERY_KERNEL_DOING_NOTHING, cwd=ROOT, **cache, **UNTYPED)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:4] == results[:4]
    warned = ["distort", "draw", "normalise", "run_samples"]
    assert sorted(line.removeprefix("warned ") for line in lines[4:]) == warned
    assert file_contents(tmp_path) == {}


@needs_jit
def test_the_check_detects_code_of_another_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The loaded code trains, but by another rule."""
    from fastnn.kernels.sgd import run_samples

    real = loader.object_code
    images = np.random.default_rng(0).integers(0, 256, (8, 20), dtype=np.uint8)
    data, found = ImageInput(images, True), []

    def train(kernel: loader.Kernel) -> None:
        network = Network((20, 7, 3), rule="backprop", activation="tanh", dtype="float64").initialise("xavier")
        engine = Engine(network, kernel.run)
        engine.load_weights(data)
        engine.train(data, np.arange(8) % 3, np.arange(8), 0.1, np.zeros(2))
        engine.store_weights()
        found.append(network.sha256())

    train(kernel_for("float64", "cross_entropy", "tanh"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(loader, "object_code", lambda _: real(run_samples("float64", "original", "sigmoid")))
    with pytest.warns(RuntimeWarning, match="run_samples: .*it computes other numbers than NumPy") as caught:
        train(kernel_for.__wrapped__("float64", "cross_entropy", "tanh"))
    assert len(caught) == 1
    assert found[0] == found[1]


WITHOUT_JIT = """
import numpy as np
from fastnn.engine import Engine
from fastnn.inputs import ImageInput
from fastnn.network import Network
engine, data = Engine(Network((4, 3))), ImageInput(np.zeros((2, 4), np.uint8), False)
engine.load_weights(data)
engine.outputs(data)
"""


def test_fastnn_refuses_to_run_with_the_jit_disabled(tmp_path: Path) -> None:
    done = run_python(WITHOUT_JIT, NUMBA_DISABLE_JIT="1", NUMBA_CACHE_DIR=str(tmp_path))
    line = "FastnnError: NUMBA_DISABLE_JIT is set, but fastnn's kernels run only compiled; unset it"
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(line)
    command = "from fastnn.__main__ import main; main()"
    options = ["train", "--data", "drawn:40", "--epochs", "1", "--out", str(tmp_path / "run")]
    done = run_python(command, *options, NUMBA_DISABLE_JIT="1", NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == line.replace("FastnnError", "fastnn")
    assert "Traceback" not in done.stderr
    assert issubclass(FastnnError, Exception)
