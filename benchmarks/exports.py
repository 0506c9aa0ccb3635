"""Size, load time, latency and agreement of exported files: ``python -m benchmarks.exports``.

A network of preset `mnist` is exported to every format that can hold it. Each file is loaded and asked for one digit at
a time by the program that runs it: ONNX Runtime, Chromium or Node, a C program, NumPy, PyTorch, scikit-learn. Then the
file and the model answer for the same test digits. Writes the table "exports" into the guide `export`.
"""

from __future__ import annotations

from benchmarks import environment

environment.pin()

import argparse  # noqa: E402 -- nothing that could load NumPy may come before pin()
import json  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any, NamedTuple, cast  # noqa: E402

import numpy as np  # noqa: E402

import fastnn  # noqa: E402
from benchmarks.page import show  # noqa: E402
from fastnn.errors import ModelError  # noqa: E402
from fastnn.evaluation.agreement import check_export  # noqa: E402
from fastnn.formats.export import FORMATS, export  # noqa: E402
from fastnn.formats.page_runner import run_page  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastnn import Dataset, Model
    from fastnn.formats.export import Format, Precision

GUIDE = Path(__file__).resolve().parent.parent / "fastnn" / "guides" / "export.md"

REPEATS = 7
"""Files are loaded so many times; the median counts."""

DIGITS = 500
"""Digits that are asked for one by one; the median counts."""

PAGE_DIGITS = 1000
"""Test digits for the page: its answers for more take minutes."""


class Times(NamedTuple):
    """Seconds to load a file, None if it is compiled into a program, and for one digit."""

    load: float | None
    digit: float


def median_time(work: Callable[[int], Any], n: int) -> float:
    """Return the median of the seconds that `work` takes, called with 0 to n - 1."""
    seconds = []
    for k in range(n):
        start = time.perf_counter()
        work(k)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def ask_each(load: Callable[[], Callable[[NDArray[np.uint8]], Any]], images: NDArray[np.uint8]) -> Times:
    """Return the times of a loader, whose result answers for arrays of images."""
    loading = median_time(lambda _: load(), REPEATS)
    answer = load()
    answer(images[:1])
    return Times(loading, median_time(lambda k: answer(images[k : k + 1]), min(DIGITS, len(images))))


def own_file(path: Path, images: NDArray[np.uint8]) -> Times:
    """Return the times of fastnn itself."""
    return ask_each(lambda: fastnn.load_model(path).predict_proba, images)


def onnx_file(path: Path, images: NDArray[np.uint8]) -> Times:
    """Return the times of ONNX Runtime."""
    from fastnn.formats.onnx_nodes import load_onnxruntime

    def load() -> Callable[[NDArray[np.uint8]], Any]:
        session = load_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda image: session.run(None, {"input": image})

    return ask_each(load, images)


def estimator(path: Path, images: NDArray[np.uint8]) -> Times:
    """Return the times of scikit-learn."""
    from skops import io

    return ask_each(lambda: io.load(path, trusted=io.get_untrusted_types(file=path)).predict_proba, images)


SCRIPTS = re.compile(r"<script[^>]*>\n(.*?)\n</script>", re.DOTALL)
"""The elements of a page: its model as JSON, and the script that computes."""


def page(path: Path, images: NDArray[np.uint8]) -> Times:
    """Return the times of the page's script, as the browser measures them."""
    text = path.read_text(encoding="utf-8")
    code = f"""(() => {{
      const images = {json.dumps(images[:DIGITS].tolist())}.map((image) => Uint8Array.from(image));
      const median = (times) => times.sort((a, b) => a - b)[times.length >> 1];
      const timed = (work) => {{ const start = performance.now(); work(); return performance.now() - start; }};
      const model = readModel(text);
      for (const image of images) answersFor(model, image);
      const load = median(Array.from({{length: {REPEATS}}}, () => timed(() => readModel(text))));
      // The clock of a browser is coarse: time them together.
      const digit = timed(() => images.forEach((image) => answersFor(model, image))) / images.length;
      return JSON.stringify([load, digit]);
    }})()"""
    model, script = SCRIPTS.findall(text)[:2]
    load, digit = json.loads(run_page(text, (model, script), code))
    return Times(load / 1e3, digit / 1e3)


C_PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "model.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void)
{
    static uint8_t images[DIGITS][MODEL_INPUTS];
    float outputs[MODEL_OUTPUTS];
    double best = 1e9;
    long sum = 0;
    if (fread(images, MODEL_INPUTS, DIGITS, stdin) != DIGITS)
        return 1;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int k = 0; k < DIGITS; k++)
            sum += MODEL_PREDICT(images[k], outputs);
        double seconds = (now() - start) / DIGITS;
        best = seconds < best ? seconds : best;
    }
    fprintf(stderr, "%ld\\n", sum);
    printf("%.9f\\n", best);
    return 0;
}
"""


def c_header(path: Path, images: NDArray[np.uint8]) -> Times:
    """Return the time of a compiled program; the best of several rounds."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise ModelError("needs a C compiler")
    with tempfile.TemporaryDirectory() as place:
        folder, stem = Path(place), path.stem
        (folder / "model.h").write_bytes(path.read_bytes())
        source = C_PROGRAM.replace("MODEL_PREDICT", f"{stem}_predict").replace("MODEL_", f"{stem.upper()}_")
        (folder / "main.c").write_text(source)
        some = np.ascontiguousarray(images[:DIGITS])
        options = ["-std=gnu99", "-O2", f"-DDIGITS={len(some)}", f"-DROUNDS={REPEATS}"]
        program = str(folder / "program")
        subprocess.run([compiler, *options, str(folder / "main.c"), "-o", program, "-lm"], check=True)
        done = subprocess.run([program], input=some.tobytes(), capture_output=True, check=True)
    return Times(None, float(done.stdout))


def row(model: Model, chosen: Format, precision: Precision, test: Dataset, folder: Path) -> tuple[str, ...]:
    """Return a row of the table: format, size, times, and agreement."""
    name = f"`{chosen.ending}`, {precision}" if chosen.precisions else f"`{chosen.ending}`"
    path = folder / f"mnist{chosen.ending}"
    try:
        exported = export(model, path, precision=precision, force=True)
    except ModelError as error:
        return name, "-", "-", "-", "-", str(error).rpartition(": ")[2]
    timer = TIMERS.get(chosen.ending, own_file)
    times = timer(path, test.images)
    some = replace(test, features=test.images[:PAGE_DIGITS], targets=test.targets[:PAGE_DIGITS])
    agreement = check_export(path, model, some if chosen.ending == ".html" else test)
    loading = "compiled in" if times.load is None else f"{1e3 * times.load:.1f} ms"
    same = f"{agreement.same:,} of {agreement.total:,}; {agreement.largest_difference:.1g}"
    size, digit = f"{exported.size / 1e6:.2f} MB", f"{1e6 * times.digit:.0f} µs"
    return name, size, loading, digit, f"{agreement.score:.2%}", same


TIMERS = {".onnx": onnx_file, ".html": page, ".h": c_header, ".skops": estimator}
"""What runs the files of a format; fastnn runs the others."""


def as_markdown(rows: list[tuple[str, ...]], accuracy: float) -> str:
    """Return the table with its caption."""
    head = (
        "format, weights",
        "size",
        "load",
        "one digit",
        "right",
        "the same class; largest difference of a probability",
    )
    lines = [
        f"| {' | '.join(head)} |",
        "|---|---:|---:|---:|---:|---|",
        *(f"| {' | '.join(cells)} |" for cells in rows),
    ]
    caption = (
        f"A network of preset `mnist`, {accuracy:.2%} right on the test digits; drawings are normalised in the files. "
        "Load: the median of several, in a program that runs already. One digit: asked for one by one. Differences are "
        "those of probabilities. `.npz`, `.pt` and `.safetensors` are run by fastnn."
    )
    about = environment.machine(("onnxruntime",))
    versions = ", ".join(
        f"{name} {cast('dict[str, str]', about['versions'])[name]}" for name in ("numpy", "onnxruntime")
    )
    measured = f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on one core of {about['cpu']}; {versions}."
    return "\n".join([*lines, "", caption, "", measured])


def main() -> None:
    """Train or load the model, measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist", help="data set MNIST")
    parser.add_argument("--model", type=Path, help="a run of recipe mnist; by default one is trained")
    parser.add_argument("--digits", type=int, help="only so many test digits")
    parser.add_argument("--page", type=Path, default=GUIDE, help="file to write the table into; - only prints it")
    options = parser.parse_args()
    data = fastnn.load_dataset(options.data)
    model = fastnn.fit(data, "mnist", progress=False) if options.model is None else fastnn.load_model(options.model)
    test = cast("Dataset", data.test)
    if options.digits is not None:
        test = replace(test, features=test.images[: options.digits], targets=test.targets[: options.digits])
    accuracy = fastnn.evaluate(model, test).score
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for chosen in FORMATS:
            own = cast("Precision", model.network.dtype.name)
            for precision in chosen.precisions or (own,):
                rows.append(row(model, chosen, precision, test, Path(folder)))
                print(" | ".join(rows[-1]), flush=True)
    show(as_markdown(rows, accuracy), "exports", options.page)


if __name__ == "__main__":
    main()
