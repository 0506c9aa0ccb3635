"""Kernels whose machine code is kept: the same bits as Numba's own way, and no Numba where there is no need."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn import engine
from fastnn.engine import Engine, KernelInput
from fastnn.images.distort import Distorter
from fastnn.kernels import augment, native, sgd
from fastnn.kernels.layout import Room
from fastnn.network import Network
from fastnn.recipe import Recipe
from tests.helpers import compiled_only, python, together, tree
from tests.kernels.small import RUN

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 20), dtype=np.uint8)

# Trains and normalises.
WHOLE = """
import sys
import numpy as np
from fastnn.engine import Engine, KernelInput
from fastnn.network import Network
network = Network((5, 4, 3)).initialise()
engine = Engine(network)
images = KernelInput(np.arange(40, dtype=np.uint8).reshape(8, 5), False, network.dtype)
engine.load_weights(images)
engine.train(images, np.arange(8) % 3, np.arange(8), 0.1, np.zeros(2))
engine.store_weights()
from fastnn.images import normalise_batch
normalise_batch(np.arange(2 * 784).astype(np.uint8).reshape(2, 784))
result = network.sha256()
"""
# Prints what came out and whether Numba was needed.
TOLD = """
print(result, "numba" in sys.modules)
"""


def told(code: str = RUN, **changes: str | None) -> list[str]:
    done = python(code + TOLD, **changes)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split()


def kept(folder: Path) -> Path:
    (file,) = folder.rglob("*.native")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> dict[str, Any]:
    return {"NUMBA_CACHE_DIR": str(tmp_path), "FASTNN_CACHE": None}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a folder with the code for RUN, and what that gave."""
    place = tmp_path_factory.mktemp("compiled")
    result, needed = told(NUMBA_CACHE_DIR=str(place), FASTNN_CACHE=None)
    assert needed == "True"
    return place, result


@pytest.fixture
def result(compiled: tuple[Path, str], folder: dict[str, Any]) -> str:
    """Fill the folder; what RUN gives."""
    place, result = compiled
    shutil.copytree(place, folder["NUMBA_CACHE_DIR"], dirs_exist_ok=True)
    return result


# ---- the same bits ----


def weights(monkeypatch: pytest.MonkeyPatch, network: Network, dtype: DTypeLike, *, directly: bool) -> tuple[Any, ...]:
    """Train and predict through the kept code, or through Numba's dispatchers."""
    network = network.copy()
    with monkeypatch.context() as patch:
        if directly:
            for name, kernel in vars(engine).items():
                if isinstance(kernel, native.Kernel):
                    patch.setattr(kernel, "_plain", getattr(sgd, name))
        trainer = Engine(network)
        prepared = KernelInput(IMAGES, False, np.dtype(dtype))
        trainer.load_weights(prepared)
        totals = np.zeros(2)
        factors = np.linspace(0.5, 1, len(IMAGES)).astype(dtype)
        trainer.train(prepared, np.arange(9) % 3, np.arange(9)[::-1], 0.1, totals, smoothing=0.1, weights=factors)
        trainer.store_weights()
        trainer.load_weights(prepared)
        return network.sha256(), totals.tobytes(), trainer.outputs(prepared).tobytes()


@compiled_only
@pytest.mark.parametrize(("activation", "dtype"), [("sigmoid", "float32"), ("relu", "float64")])  # 8 s each, to compile
def test_the_same_bits_as_through_numba(activation: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = "original" if activation == "sigmoid" else "backprop"
    network = Network((20, 7, 3), activation=activation, rule=rule, dtype=dtype).initialise()  # type: ignore[arg-type]
    ours = weights(monkeypatch, network, dtype, directly=False)
    assert ours == weights(monkeypatch, network, dtype, directly=True)
    assert ours[0] != network.sha256()


@compiled_only
def test_distortions_are_the_same_as_through_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(1).integers(0, 256, (4, 784), dtype=np.uint8)
    recipe = Recipe(rotation=10, shift=2, elastic_alpha=8, elastic_sigma=5)
    directly = native.Kernel("", "")
    monkeypatch.setattr(directly, "_plain", augment.distort)
    results = []
    for kernel in (native.Kernel("fastnn.kernels.augment", "distort"), directly):
        out, grey = np.zeros_like(images), np.zeros(4, np.int64)
        monkeypatch.setattr("fastnn.images.distort.distort", kernel)
        Distorter(recipe)(images, np.arange(4), 1, out, grey)
        results.append((out.tobytes(), grey.tobytes()))
    assert results[0] == results[1]
    assert len(set(results[0][0])) > 2


# ---- when Numba is needed ----


@compiled_only
def test_the_second_process_needs_no_numba(folder: dict[str, Any], tmp_path: Path) -> None:
    first, second = told(WHOLE, **folder), told(WHOLE, **folder)
    assert (first[1], second[1]) == ("True", "False")
    assert first[0] == second[0]
    # A kernel a file, and nothing of Numba's own: it is not asked to keep what is kept here.
    assert {Path(name).suffix for name in tree(tmp_path)} == {".native"}
    assert len(tree(tmp_path)) == 2


@compiled_only
@pytest.mark.parametrize("damage", ["truncated", "emptied", "one bit", "another's", "garbage"])
def test_a_damaged_file_is_written_anew(damage: str, result: str, folder: dict[str, Any], tmp_path: Path) -> None:
    file = kept(tmp_path)
    whole = file.read_bytes()
    damaged = {
        "truncated": whole[:-100],
        "emptied": b"",
        "one bit": whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
        "another's": native.hashlib.sha256(bytes(32) + whole[64:]).digest() + bytes(32) + whole[64:],
        "garbage": os.urandom(4000),
    }[damage]
    file.write_bytes(damaged)
    assert told(**folder) == [result, "True"]
    assert file.read_bytes() != damaged
    assert told(**folder) == [result, "False"]


@compiled_only
@pytest.mark.parametrize("change", [{"NUMBA_OPT": "2"}, {"NUMBA_CPU_NAME": "generic"}])
def test_what_changes_the_code_has_a_file_of_its_own(
    change: dict[str, Any], result: str, folder: dict[str, Any], tmp_path: Path
) -> None:
    assert told(**folder, **change) == [result, "True"]
    assert len(list(tmp_path.rglob("*.native"))) == 2
    assert told(**folder, **change) == [result, "False"]
    assert told(**folder) == [result, "False"]


@compiled_only
@pytest.mark.usefixtures("result")
def test_an_edit_or_another_version_is_compiled_anew_over_the_old(folder: dict[str, Any], tmp_path: Path) -> None:
    before = kept(tmp_path).read_bytes()
    other = "from fastnn.kernels import native\nnative._made_from = lambda: b'other'\n" + RUN
    assert told(other, **folder)[1] == "True"
    assert kept(tmp_path).read_bytes()[32:64] != before[32:64]
    assert told(other, **folder)[1] == "False"


@compiled_only
def test_two_cold_processes_at_once(folder: dict[str, Any], tmp_path: Path) -> None:
    together(RUN, folder, folder)
    assert told(**folder)[1] == "False"
    assert len(tree(tmp_path)) == 1


@compiled_only
@pytest.mark.usefixtures("result")
def test_without_a_cache_nothing_is_read_or_written(folder: dict[str, Any], tmp_path: Path) -> None:
    before = tree(tmp_path)
    assert told(**{**folder, "FASTNN_CACHE": "0"})[1] == "True"
    assert tree(tmp_path) == before


@compiled_only
def test_where_no_folder_can_be_written_it_only_takes_longer(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    for _ in range(2):
        done = python(
            "import os\nos.environ['NUMBA_CACHE_DIR'] = os.environ.pop('LATER')\n" + RUN + TOLD,
            LATER=str(blocked),
            NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator",
            FASTNN_CACHE=None,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split()[1] == "True"
    assert tree(tmp_path) == {str(blocked): b""}


def test_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert list(native._folders()) == [Path(native.__file__).parent / "__pycache__", tmp_path / "kernels"]
    monkeypatch.setenv("NUMBA_CACHE_DIR", "named")
    assert list(native._folders()) == [Path("named/fastnn")]


def test_a_file_with_settings_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = native._settings()
    (tmp_path / ".numba_config.yaml").write_text("opt: 1\n")
    assert native._settings() != before


def test_with_the_jit_off_plain_functions_are_called(folder: dict[str, Any], tmp_path: Path) -> None:
    assert told(**folder, NUMBA_DISABLE_JIT="1")[1] == "True"
    assert tree(tmp_path) == {}


@compiled_only
def test_a_kernel_bound_to_all_arguments_but_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    kernel = native.Kernel("tests.kernels.small", "add_product")
    numbers, total = np.arange(3.0), np.zeros(2)
    call = kernel.bound((total, native.pack(2.0)), (3.0,))
    for _ in range(3):
        call(numbers)
    assert total.tolist() == [3 * 2 * 3 * 3, 0]
    call(numbers.astype(np.float32))
    assert total[0] == 4 * 2 * 3 * 3
    numbers[:] = 1
    call(numbers)
    assert total[0] == 5 * 2 * 3 * 3


def test_a_bound_kernel_of_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, got = native.Kernel("math", "hypot"), []
    monkeypatch.setattr(kernel, "_plain", lambda *arguments: got.append(arguments))
    call = kernel.bound((native.pack(2.0),), (4,))
    call(3)
    call(5)
    assert got == [(2.0, 3, 4), (2.0, 5, 4)]


# ---- what cannot be done this way ----


@compiled_only
def test_code_that_needs_numba_is_left_to_it() -> None:
    from fastnn.kernels import _jit

    def speak(n):
        print(n)

    def nothing(n):
        pass

    assert _jit.object_code(_jit.jit(speak), [3], "q", "entry") is None
    # Arguments that are taken apart in another way than is thought.
    assert _jit.object_code(_jit.jit(nothing), [3], "d", "entry") is None
    assert _jit.object_code(_jit.jit(nothing), [3], "q", "entry") is not None


def test_a_kernel_of_plain_python_gets_what_was_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, got = native.Kernel("math", "hypot"), []
    monkeypatch.setattr(kernel, "_plain", lambda *arguments: got.append(arguments))
    kernel(native.pack(2.0), 3)
    assert got == [(2.0, 3)]


def test_what_kernels_do_not_take() -> None:
    with pytest.raises(TypeError, match="kernels take no str"):
        native.pack("text")


# ---- how arguments are taken apart ----


def test_kinds() -> None:
    array = np.zeros((3, 4), np.float32)
    locked = array.copy()
    locked.flags.writeable = False
    kinds = [
        native.pack(each).kind
        for each in (array, array[:1], array.T, array[:, ::2], locked, array[0], np.zeros((3, 4)))
    ]
    assert kinds[0] is kinds[1]  # a single row lies in both orders
    assert kinds[4] is kinds[0]  # kernels do not write to what they read
    assert len({kind.name for kind in kinds}) == 5
    assert native.pack(1.0).kind is native.pack(np.float64(2)).kind


def test_numbers_and_addresses() -> None:
    for array in (np.arange(12, dtype=np.int64).reshape(3, 4)[:, ::2], np.zeros(0), np.arange(3)):
        numbers = np.frombuffer(native.pack(array).content, np.int64).tolist()
        address = array.__array_interface__["data"][0]
        assert numbers[:5] == [0, 0, array.size, array.itemsize, address]
        assert tuple(numbers[5:]) == array.shape + array.strides
    packed = native.pack((1.5, np.float32(2.5), True, -1))
    assert packed.kind.codes == "dfbq"
    assert np.frombuffer(packed.content, np.float64)[0] == 1.5
    assert np.frombuffer(packed.content, np.float32)[2] == 2.5
    assert packed.content[16:24] == b"\1" + bytes(7)
    assert np.frombuffer(packed.content, np.int64)[3] == -1


def test_a_file_mapped_into_memory_is_an_array(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "numbers", np.int64, "w+", shape=(3,))
    packed = native.pack(mapped)
    assert packed.value is mapped
    assert packed.kind is native.pack(np.zeros(3, np.int64)).kind
    assert packed.content == native.pack(np.asarray(mapped)).content


def test_a_copy_has_addresses_of_its_own() -> None:
    packed = native.pack(Room(*(np.zeros(3) for _ in Room._fields)))
    twin = copy.deepcopy(packed)
    assert twin.value.rows is not packed.value.rows
    assert twin.content != packed.content
    assert twin.kind is packed.kind
