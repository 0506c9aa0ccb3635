"""The export to C: compiled without a warning, in C and in C++, and the same answers."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fastnn.datasets import load_dataset
from fastnn.errors import ModelError
from fastnn.evaluation.agreement import check_export
from fastnn.formats import c_header
from fastnn.formats.export import export
from fastnn.images import normalise_batch
from fastnn.model import decide
from fastnn.recipe import Recipe
from fastnn.session import fit
from tests.formats.all_kinds import KINDS
from tests.models import model, seven

if TYPE_CHECKING:
    from pathlib import Path

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not on the PATH")

SOME = ("original", "two classes", "no hidden layer", "normalises", "labels", "regression, standardised, ensemble")
"""Kinds that have all the code of int8 weights."""

USER = """
#include "{name}"
#include "{name}"
int main(void)
{{
    return {prefix}_names[0][0] == 0;
}}
"""


def compiled(folder: Path, header: str, prefix: str, *command: str) -> str:
    """Return what a compiler says of a program that includes a header twice."""
    source = folder / ("user.cpp" if command[0] == "g++" else "user.c")
    source.write_text(USER.format(name=header, prefix=prefix))
    flags = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-o", "user", source.name, "-lm")
    return subprocess.run([*command, *flags], cwd=folder, capture_output=True, text=True, check=False).stderr


@needs_gcc
@pytest.mark.parametrize(("name", "precision"), [*((name, "float32") for name in KINDS), *((n, "int8") for n in SOME)])
def test_c_gives_the_same_answers(name: str, precision: str, tmp_path: Path) -> None:
    kind = KINDS[name]()
    exported = export(kind.model, tmp_path / "my net-2.h", precision=precision)  # type: ignore[arg-type]
    assert compiled(tmp_path, "my net-2.h", "my_net_2", "gcc", "-std=c99") == ""
    found = c_header.run(exported.path, kind.model, kind.samples)
    expected = kind.model.answers(kind.samples)
    size = max(1.0, np.abs(expected).max())
    if precision == "float32":
        assert np.abs(found - expected).max() <= 1e-6 * size
        if kind.model.task != "regression":
            assert np.array_equal(decide(kind.model.task, found), decide(kind.model.task, expected))
    else:
        # Weights are off by at most 1/254 of the largest.
        assert 0 < np.abs(found - expected).max() < 0.03 * size


@needs_gcc
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on the PATH")
@pytest.mark.parametrize("name", ["normalises", "regression, standardised, ensemble", "calibrated"])
def test_the_header_is_cpp_too(name: str, tmp_path: Path) -> None:
    for precision in ("float32", "int8"):
        (tmp_path / "net.h").write_bytes(c_header.dump(KINDS[name]().model, precision, "net"))
        assert compiled(tmp_path, "net.h", "net", "g++", "-std=c++11") == ""


@needs_gcc
def test_values_of_rows_may_be_floats(tmp_path: Path) -> None:
    name = "regression, standardised, ensemble"
    (tmp_path / "net.h").write_bytes(c_header.dump(KINDS[name]().model, "int8", "net"))
    assert compiled(tmp_path, "net.h", "net", "gcc", "-std=c99", "-DNET_VALUE=float", "-Wdouble-promotion") == ""


@needs_gcc
def test_real_digits_get_the_same_probabilities(shared: Path, tmp_path: Path) -> None:
    digits = load_dataset(str(shared / "digits" / "dataset.json"))
    trained = fit(digits, Recipe(hidden=(20, 10), epochs=1, invert=True, rule="backprop", lr=0.01), progress=False)
    some = digits.take(np.arange(0, len(digits), 7))
    exact = check_export(export(trained, tmp_path / "digits.h").path, trained, some)
    assert (exact.same, exact.total) == (len(some), len(some))
    assert exact.largest_difference <= 1e-6
    small = export(trained, tmp_path / "small.h", precision="int8")
    about = check_export(small.path, trained, some)
    assert about.same >= 0.97 * len(some)
    assert about.score is not None
    assert about.model_score is not None
    assert abs(about.score - about.model_score) < 0.02
    constants = [
        int(re.search(rb"Constants take ([0-9,]+) bytes", path.read_bytes())[1].replace(b",", b""))  # type: ignore[index]
        for path in (tmp_path / "digits.h", small.path)
    ]
    assert constants[0] == 4 * trained.network.n_parameters
    assert constants[1] < constants[0] / 3.5


@needs_gcc
def test_c_normalises_drawings_of_another_size(tmp_path: Path) -> None:
    made = KINDS["normalises"]().model
    (tmp_path / "net.h").write_bytes(c_header.dump(made, "float32", "net"))
    pictures = np.stack([seven(50, 40, thick=t) for t in (1, 2, 4)] + [np.full((50, 40), 200, np.uint8)])
    program = """
#include <stdio.h>
#define NET_HEIGHT 50
#define NET_WIDTH 40
#include "net.h"
int main(void)
{
    static uint8_t image[2000], result[784];
    while (fread(image, 1, 2000, stdin) == 2000) {
        int drawn = net_normalise(image, result);
        fwrite(result, 1, 784, stdout);
        putchar(drawn);
    }
    return 0;
}
"""
    (tmp_path / "user.c").write_text(program)
    subprocess.run(["gcc", "-std=c99", "user.c", "-o", "user", "-lm"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "user"], input=pictures.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, np.uint8).reshape(4, 785)
    expected, blank = normalise_batch(pictures, polarity="dark-on-light")
    assert np.array_equal(found[:, :784], expected)
    assert found[:, 784].tolist() == (~blank).astype(int).tolist() == [1, 1, 1, 0]


@needs_gcc
def test_the_caller_may_give_the_buffer(tmp_path: Path) -> None:
    (tmp_path / "net.h").write_bytes(c_header.dump(KINDS["original"]().model, "float32", "net"))
    program = """
#include "net.h"
int main(void)
{
    static uint8_t image[NET_INPUTS];
    float buffer[NET_BUFFER + 1], one[NET_OUTPUTS], two[NET_OUTPUTS];
    int j, same = 1;
    buffer[NET_BUFFER] = 77.0f;
    same &= net_compute(image, one, buffer) == net_predict(image, two);
    for (j = 0; j < NET_OUTPUTS; j++)
        same &= one[j] == two[j];
    return same && buffer[NET_BUFFER] == 77.0f ? 5 : 1;
}
"""
    (tmp_path / "user.c").write_text(program)
    flags = ["-std=c99", "-fsanitize=undefined", "user.c", "-o", "user", "-lm"]
    subprocess.run(["gcc", *flags], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "user"], check=False).returncode == 5


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("digits", "digits"), ("My-Net 2", "My_Net_2"), ("3", "model_3"), ("ä", "model"), ("", "model"),
        ("__x__", "x"), ("int", "int"), ("a" * 200, "a" * 32), ("*/ #error", "error"),
    ],
)  # fmt: skip
def test_names_are_identifiers(name: str, prefix: str) -> None:
    assert c_header.prefix_of(name) == prefix


@needs_gcc
def test_any_names_of_classes_are_kept(tmp_path: Path) -> None:
    names = ('say "hi"', "back\\slash", "??/trigraph", "röd", "new\nline", "@P@", "*/", "%d", "\x7f1", " ")
    made = model(4, 2, 10)
    (tmp_path / "net.h").write_bytes(c_header.dump(type(made)(made.networks, names), "float32", "net"))
    program = '#include <stdio.h>\n#include "net.h"\nint main(void)\n{\n    int j;\n    for (j = 0; j < 10; j++)\n'
    (tmp_path / "user.c").write_text(program + '        printf("%s%c", net_names[j], 0);\n    return 0;\n}\n')
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Werror", "user.c", "-o", "user", "-lm"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "user"], capture_output=True, check=True).stdout
    assert tuple(said.decode().split("\0")[:-1]) == names


def test_what_c_cannot_hold_is_refused(tmp_path: Path) -> None:
    made = model(4, 2, 2)
    with pytest.raises(ModelError, match=r"net\.h: C cannot hold the name"):
        export(type(made)(made.networks, ("a\0b", "c")), tmp_path / "net.h")
    large = model(4, 2, 2, dtype="float64").network.copy()
    large.weights[0][0, 0] = 1e60
    with pytest.raises(ModelError, match=r"net\.h: .*too large"):
        export(type(made)((large,), ("a", "b")), tmp_path / "net.h")
    assert not (tmp_path / "net.h").exists()


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = KINDS["rows"]()
    path = export(kind.model, tmp_path / "net.h").path
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match="cc, gcc, clang"):
        c_header.run(path, kind.model, kind.samples)


@needs_gcc
@pytest.mark.parametrize("content", [b"", b"int x;", b"static inline int a_predict(", b"\xff" * 99])
def test_another_header_is_refused(content: bytes, tmp_path: Path) -> None:
    kind = KINDS["rows"]()
    (tmp_path / "net.h").write_bytes(content)
    with pytest.raises(ModelError, match=r"export the model again|failed"):
        c_header.run(tmp_path / "net.h", kind.model, kind.samples)


@needs_gcc
def test_the_header_of_another_model_is_refused(tmp_path: Path) -> None:
    path = export(KINDS["softmax"]().model, tmp_path / "net.h").path
    kind = KINDS["original"]()
    with pytest.raises(ModelError, match="not the header of this model"):
        c_header.run(path, kind.model, kind.samples)
