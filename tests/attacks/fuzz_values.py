"""Targets that take text and values: names, options, labels, variables, arrays."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets import Dataset, encode_labels, load_dataset
from fastnn.datasets.labels import parse_classes
from fastnn.recipe import Recipe, load_recipe
from tests.attacks import fuzz_mutate as mutate
from tests.attacks import fuzz_seeds as seeds
from tests.attacks.fuzz_bench import as_text, as_value, check_dataset, environment, lines, target, values

if TYPE_CHECKING:
    from tests.attacks.fuzz_bench import Bench

# ---- text and values ----

_NAMES = (
    "drawn:20:7",
    "drawn:1",
    "sqlite:///a.db",
    "postgresql://u:p@h:1/n",
    "x.json",
    "~/a.csv",
    "data",
    "drawn:",
    "a\0b",
)


@target(
    "names",
    lines(*_NAMES),
    mutate.text(*_NAMES, ":", "/", "..", "~", "~x", "@", "?a=b", "%00", "["),
    longest_message=1 << 18,
)
def _names(content: bytes, bench: Bench) -> None:
    from fastnn.datasets.database import without_password

    name = as_text(content)
    without_password(name)
    size = re.match(r"drawn:0*(\d{1,8})(?:$|:)", name)
    if name in ("digits", "mnist", "drawn") or name.startswith("postgres") or (size and 300 < int(size[1]) <= 10**7):
        return  # the network, or sound and too much work
    if "/" in name.removeprefix("sqlite:///") or name.startswith("~"):
        return  # the user's files
    with bench.in_empty_folder():
        check_dataset(load_dataset(name))


@target(
    "urls",
    lines("sqlite:///a.db", "postgresql://u:p@h:1/n?x=y", "sqlite:///:memory:"),
    mutate.text("sqlite", "postgresql+psycopg", "file:", "?mode=ro", "@", ":", "[::1]", "%", "mysql"),
    longest_message=1 << 18,
)
def _urls(content: bytes, bench: Bench) -> None:
    from fastnn.datasets.database import open_engine, without_password

    url = as_text(content)
    shown = without_password(url)
    assert ":p@" not in shown or "://u:p@" not in url
    if "postgres" not in url and "/" not in url.removeprefix("sqlite:///"):
        with bench.in_empty_folder():
            open_engine(url, create=False).dispose()


@target(
    "hidden",
    lines("200,40", "none", "", "1_0, 2"),
    mutate.text("none", ",", "-", "+", "٣", "1e3"),
    longest_message=1 << 18,
)
def _hidden(content: bytes, _: Bench) -> None:
    from fastnn.cli.train import parse_hidden

    assert all(1 <= units <= 1 << 20 for units in Recipe(hidden=parse_hidden(as_text(content))).hidden)


@target(
    "until", lines("99%", "0.99", " 1 "), mutate.text("%", "nan", "inf", "1_0", "٣", "1e-400"), longest_message=1 << 18
)
def _until(content: bytes, _: Bench) -> None:
    from fastnn.cli.train import parse_until

    assert 0 < Recipe(until=parse_until(as_text(content))).until <= 1


@target(
    "classes", lines("0-9", "A-Z,a-z", "0,1,seven"), mutate.text("-", ",", "0-99999999", "9-0", "٣-٩", "\0"),
    longest_message=1 << 18,
)  # fmt: skip
def _classes(content: bytes, _: Bench) -> None:
    found = parse_classes(as_text(content))
    assert 0 < len(set(found)) == len(found)


@target(
    "labels",
    values([0, 9, 3], ["a", "b"], ["7", 3], [10, 11]),
    mutate.json_value("cat", "07", "0", "9223372036854775808", "-1", "é"),
)
def _labels(content: bytes, _: Bench) -> None:
    found = as_value(content)
    if not isinstance(found, list) or not found or not all(type(one) in (int, str) for one in found):
        return
    indices, classes = encode_labels(found, "x")
    assert indices.shape == (len(found),)
    assert [classes[index] for index in indices] == [str(one) for one in found]


@target(
    "environment", lines("data", ".", "/no/such", "~"), mutate.text("~", "/", "..", "~nobody"), longest_message=1 << 18
)
def _variables(content: bytes, bench: Bench) -> None:
    from fastnn.storage import cache_dir, search_folders

    if b"\0" in content:
        return  # a variable cannot hold it
    with bench.in_empty_folder(), contextlib.ExitStack() as stack:
        for name in ("FASTNN_DATA", "FASTNN_CACHE_DIR"):
            stack.enter_context(environment(name, as_text(content)))
        cache_dir()
        assert search_folders("digits")


_CALLS = (
    "dataset",
    "model",
    "recipe",
    "history",
    "images",
    "issues",
    "evaluate",
    "resume",
    "create",
    "write",
    "picture",
    "report",
)
_PATHS = (
    "a.npz",
    "a.toml",
    "a.png",
    "a.json",
    "a.csv",
    "run",
    "x-images-idx3-ubyte",
    "no/such",
    "~nobody9",
    "a\0b",
    "x" * 300 + ".npz",
)


@target(
    "paths",
    values(*({"call": call, "path": "a.npz"} for call in _CALLS)),
    mutate.json_value(*_CALLS, *_PATHS),
    longest_message=1 << 18,
)
def _paths(content: bytes, bench: Bench) -> None:
    """A path, odd or too long or of no file, wherever one is taken."""
    asked = as_value(content)
    if not isinstance(asked, dict) or not isinstance(asked.get("path"), str) or asked.get("call") not in _CALLS:
        return
    path = asked["path"].encode(errors="replace").decode()
    outside = path.startswith(("/", "~")) and not path.startswith("~nobody9")
    if outside or ".." in path or path.startswith(("digits", "mnist", "drawn", "postgres", "sqlite")):
        return  # the user's files, or the network
    with contextlib.chdir(bench.new_folder("paths")):
        _call_with_path(asked["call"], path)


def _call_with_path(call: str, path: str) -> None:
    """Give a path to one of the functions that take one."""
    from fastnn import formats, label_issues, report, runs
    from fastnn.datasets.writers import check_not_source, write_dataset
    from fastnn.evaluation.saved_model import evaluate_file
    from fastnn.images.mosaic import mosaic, save_png
    from fastnn.recognition import read_pictures

    dataset = seeds.dataset()
    match call:
        case "dataset":
            check_dataset(load_dataset(path))
        case "model":
            formats.load_model(path)
        case "recipe":
            load_recipe(path)
        case "history":
            runs.read_history(path)
        case "images":
            list(read_pictures(Path(path)))
        case "issues":
            label_issues.apply_issues(dataset, Path(path))
        case "evaluate":
            evaluate_file(path)
        case "resume":
            runs.Run.resume(path)
        case "create":
            runs.Run.create(path, Recipe(), seeds.model())
        case "write":
            check_not_source(Path(path), dataset, path)
            write_dataset(dataset, Path(path))
            label_issues.write_issues((), Path(path))
        case "picture":
            save_png(mosaic(dataset), Path(path))
        case "report":
            report.check_folder(Path(path), force=False)


@target(
    "guides", lines("start", "web"), mutate.text("data", "../start", "start.md", "/etc/passwd"), longest_message=1 << 18
)
def _guides(content: bytes, _: Bench) -> None:
    from fastnn.cli.guide import read_guide

    assert read_guide(as_text(content)).startswith("#")


@target("addresses", lines("1.2.3.4", "::1", "::ffff:1.2.3.4", "fe80::1%eth0", ""), mutate.text("::", "%", ".", "0"))
def _addresses(content: bytes, bench: Bench) -> None:
    from fastnn.web.limits import MAX_ADDRESSES, RateLimiter

    limiter = bench.once("limiter", lambda: RateLimiter(1.0, lambda: 0.0))
    limiter.charge(as_text(content), 2.0)
    assert limiter.try_spend(as_text(content), 1.0) >= 0
    assert len(limiter) <= MAX_ADDRESSES


_ARRAYS = [
    {"what": what, "dtype": dtype, "shape": shape, "fill": fill}
    for what, shape in (("predict", [2, 784]), ("dataset", [2, 784]), ("picture", [30, 40, 3]), ("batch", [2, 784]))
    for dtype, fill in (("uint8", 7), ("float64", 255.0))
]


@target(
    "arrays",
    values(*_ARRAYS),
    mutate.json_value(
        "int8", "float16", "complex64", "bool", "U3", "datetime64[s]", "O", "predict", "dataset", "picture", "batch"
    ),
)
def _arrays(content: bytes, bench: Bench) -> None:
    """Arrays of any shape and type, where Python callers give images."""
    from fastnn.images import normalise_batch, normalise_picture

    asked = as_value(content)
    try:
        if math.prod(asked["shape"]) > 100_000:
            return
        with warnings.catch_warnings(action="ignore"):
            array = np.full(asked["shape"], asked["fill"], dtype=asked["dtype"])
        what = asked["what"]
    except Exception:  # no array, so no input
        return
    model = bench.once("model", seeds.model)
    if what == "predict":
        probabilities = model.predict_proba(array)
        assert np.isfinite(probabilities).all()
        assert np.allclose(probabilities.sum(axis=1), 1)
    elif what == "dataset":
        labels = array[:, 0] if array.ndim == 2 and array.shape[1] else array
        Dataset(array, labels.astype(np.int64) if labels.dtype.kind in "iub" else labels, ("a",) * 256, "x")
    elif what == "picture":
        assert normalise_picture(array).shape == (784,)
    elif what == "batch":
        assert normalise_batch(array)[0].dtype == np.uint8
