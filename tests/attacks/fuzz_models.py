"""Targets that read recipes, models, run folders and machine code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy

from fastnn.datasets import load_dataset
from fastnn.errors import FastnnError
from fastnn.recipe import Recipe, load_recipe
from tests.attacks import fuzz_mutate as mutate
from tests.attacks import fuzz_seeds as seeds
from tests.attacks.fuzz_bench import as_value, check_dataset, check_model, check_recipe, environment, target

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.model import Model
    from tests.attacks.fuzz_bench import Bench

# ---- recipes, models and runs ----

_RECIPE_WORDS = (
    "base",
    "hidden",
    "inputs",
    "kernel",
    "toy",
    "ink",
    "original",
    "cosine",
    "[a]",
    "[[b]]",
    "a.b.c",
    "'''",
    '"""',
    "1979-05-27T07:32:00Z",
    "0x_1",
    "1_000",
    "true",
)


@target(
    "recipe",
    seeds.recipes,
    mutate.text(*_RECIPE_WORDS),
    heavy=lambda: [
        b"a." * 40_000 + b"a=1",
        b"[a]\n" * 30_000,
        b"a=" + b"[" * 100_000,
        b"a=" + b"9" * 60_000,
        b"[" + b"a." * 30_000 + b"a]",
    ],
)
def _recipe(content: bytes, bench: Bench) -> None:
    check_recipe(load_recipe(bench.write("a.toml", content)), bench)


@target(
    "recipe-values", seeds.recipe_dicts, mutate.json_value(*Recipe.__struct_fields__, "toy", "inputs", "kernel", "ink")
)
def _recipe_values(content: bytes, bench: Bench) -> None:
    found = as_value(content)
    if isinstance(found, dict):
        check_recipe(Recipe.from_dict(found), bench)


_MODEL = mutate.safetensors("paper", "ink", "random", "own", "hash")


@target("model", seeds.models, _MODEL)
def _model(content: bytes, bench: Bench) -> None:
    from fastnn.formats import load_model, save_model
    from fastnn.formats.export import export

    model = load_model(bench.write("m.safetensors", content))
    check_model(model)
    save_model(model, bench.folder / "again.safetensors")
    assert load_model(bench.folder / "again.safetensors").sha256() == model.sha256()
    for name in ("m.npz", "m.pt", "m.json", "m.html"):
        with contextlib.suppress(FastnnError):  # not every model is one of the original's
            assert export(model, bench.folder / name, force=True).size > 0


@target("model-npz", lambda: seeds.exported("npz_arrays"), mutate.npz)
def _model_npz(content: bytes, bench: Bench) -> None:
    from fastnn.formats import load_model
    from fastnn.formats.export import export
    from fastnn.formats.npz_arrays import read

    path = bench.write("m.npz", content)
    with contextlib.suppress(FastnnError):
        _check_any(load_model(path))
    model = read(path)
    export(model, bench.folder / "again.npz", force=True)
    assert read(bench.folder / "again.npz").sha256() == model.sha256()


@target("model-torch", lambda: seeds.exported("torch_tensors"), _MODEL)
def _model_torch(content: bytes, bench: Bench) -> None:
    from fastnn.formats import load_model
    from fastnn.formats.torch_tensors import dump, read

    path = bench.write("m.pt", content)
    with contextlib.suppress(FastnnError):
        _check_any(load_model(path))
    model = read(path)
    assert read(bench.write("again.pt", dump(model, "float32"))).sha256() == model.sha256()


def _check_any(model: Model) -> None:
    """Check that a model of images or rows predicts finite numbers."""
    n = model.n_inputs
    samples = np.stack([np.zeros(n), np.ones(n), np.arange(n) % 200])
    with contextlib.suppress(FastnnError):  # rows may overflow
        assert np.isfinite(model.answers(samples)).all()


def _import(path: Path) -> None:
    from fastnn.formats import load_model, save_model
    from fastnn.formats.foreign import Facts
    from fastnn.formats.importing import import_network

    given = (
        Facts("relu", "classification", "rows", names=("a", "b")),
        Facts("tanh", "multilabel", "rows", names=("a", "b"), mean=2.0, std=1e-3),
        Facts("sigmoid", "classification", "images", True, ("a", "b"), 0.1, 0.3),
        Facts(names=("y",)),
    )
    for facts in given:
        with contextlib.suppress(FastnnError):
            found = import_network(path, facts)
            _check_any(found)
            save_model(found, path.with_name("again.safetensors"))
            assert load_model(path.with_name("again.safetensors")).sha256() == found.sha256()
    import_network(path, Facts() if path.suffix == ".skops" else given[0])


@target(
    "network-torch",
    lambda: [safetensors.numpy.save(arrays) for arrays in seeds.layers()],
    mutate.safetensors("0.weight", "1.weight", "2.weight", "b", "weight"),
)
def _network_torch(content: bytes, bench: Bench) -> None:
    _import(bench.write("a.safetensors", content))


@target("network-npz", seeds.layer_archives, mutate.npz)
def _network_npz(content: bytes, bench: Bench) -> None:
    _import(bench.write("a.npz", content))


@target(
    "network-skops",
    seeds.estimators,
    mutate.skops("coefs_", "__class__", "__module__", "ndarray", "numpy", "builtins", "dict", "ObjectNode", "file"),
    share=0.3,
)
def _network_skops(content: bytes, bench: Bench) -> None:
    _import(bench.write("a.skops", content))


_RUN_FILES = {".safetensors": _MODEL, ".csv": mutate.text("epoch", "loss"), ".toml": mutate.text(*_RECIPE_WORDS)}
_RUN_NAMES = ("model.safetensors", "checkpoint.safetensors", "history.csv", "member-1/model.safetensors")


@target(
    "run-folder",
    lambda: [*seeds.run_folders(), *seeds.current_runs()],
    mutate.files(_RUN_FILES, *_RUN_NAMES),
    share=0.3,
)
def _run_folder(content: bytes, bench: Bench) -> None:
    """A run that is resumed, and trained for an epoch if it can be."""
    from fastnn.runs import Run
    from fastnn.session import Session

    folder = bench.write_files(content)
    data = bench.once("data", lambda: load_dataset("drawn:60"))
    run, model, recipe = Run.resume(folder)
    assert [report.epoch for report in run.history] == sorted({report.epoch for report in run.history})
    check_model(model)
    if recipe.ensemble > 4 or max(recipe.hidden, default=0) > 100 or recipe.epochs > 1000:
        return  # sound, and too much work for an attack
    Session.resume(folder, dataset=data, threads=1)


@target("history", seeds.histories, mutate.text("epoch", "nan", "1e400", "\r", '"'))
def _history(content: bytes, bench: Bench) -> None:
    from fastnn.runs import read_history

    path = bench.write("history.csv", content)
    for skip in (True, False):
        for report in read_history(path, skip_damaged=skip):
            json.dumps(report.as_dict(), allow_nan=False)


@target("original-json", seeds.original_networks, mutate.json_value("values", "data", "rows", "cols", "training"))
def _original(content: bytes, bench: Bench) -> None:
    from fastnn.formats import load_model, read_original, write_original

    path = bench.write("NN.json", content)
    with contextlib.suppress(FastnnError):
        check_model(load_model(path))
    model = read_original(path).model
    check_model(model)
    write_original(model, bench.folder / "again.json")
    assert read_original(bench.folder / "again.json").model.sha256() == model.sha256()


@target("onnx", seeds.onnx_files, mutate.raw(b"input", b"Relu", b"MatMul", b"Loop", b"fastnn.checksum"))
def _onnx(content: bytes, bench: Bench) -> None:
    """A changed graph is refused before onnxruntime sees it."""
    from fastnn.evaluation.agreement import check_export
    from fastnn.formats.export import export

    model, data = seeds.model(784, 3, 10), bench.once("data", seeds.dataset)
    assert check_export(bench.write("m.onnx", content), model, data).total == len(data)
    bench.once("again", lambda: export(model, bench.folder / "again.onnx", precision="int8", force=True))


@target("issues", seeds.issues, mutate.text("index", "label", "suggested", "0", "9", "cat"))
def _issues(content: bytes, bench: Bench) -> None:
    from fastnn.label_issues import apply_issues

    dataset = bench.once("data", seeds.dataset)
    cleaned, relabelled, left_out = apply_issues(dataset, bench.write("a.csv", content))
    check_dataset(cleaned)
    assert len(cleaned) + left_out == len(dataset)
    assert relabelled <= len(cleaned)


@target("machine-code", lambda: [b"0", b"16", b"40 1", b"48 255", b"3", b"400", b"9999"], mutate.text(), share=0.002)
def _machine_code(content: bytes, bench: Bench) -> None:
    """A kept file of machine code, cut at one place or changed at another: refused, and then compiled again.

    The code itself is never changed under a right checksum: whoever can do that decides what runs.
    """
    from fastnn.kernels import loader
    from fastnn.kernels.workspace import ArgumentBlock
    from tests.kernels import small

    numbers = [int(number) for number in re.findall(rb"\d{1,4}", content)][:2]
    with environment("NUMBA_CACHE_DIR", str(bench.folder)):
        original = loader.object_code
        code = bench.once("code", lambda: original(small.double()))
        compiled = []
        block = ArgumentBlock(small.NUMBERS, numbers=(values := np.arange(5.0)), n=5)

        def run() -> None:
            loader.object_code = lambda _: compiled.append(1) or code
            try:
                loader.Kernel("tests.kernels.small", "double", (), lambda _: True)(block)
            finally:
                loader.object_code = original

        path = bench.once("file", lambda: (run(), next(bench.folder.rglob("*.native")))[1])
        good = bench.once("good", path.read_bytes)
        compiled.clear()
        path.write_bytes(_changed_code(good, *numbers))
        before = values.copy()
        run()
    assert (values == 2 * before).all()
    assert compiled or path.read_bytes() == good
    assert path.read_bytes() == good


def _changed_code(content: bytes, at: int = 0, value: int | None = None) -> bytes:
    """Return the file cut to `at` bytes with a right checksum, or with the byte at `at` changed and a stale one."""
    if value is None:
        # Never the whole file: its end is missing at least.
        rest = content[32:-1][:at]
        return hashlib.sha256(rest).digest() + rest
    changed = bytearray(content)
    changed[at % len(changed)] = value % 256
    return bytes(changed)
