"""The public names, and what is loaded for them."""

from __future__ import annotations

import ast
import importlib
import json
from typing import TYPE_CHECKING

import pytest

import fastnn
from tests.helpers import ROOT, python

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAVY = ("numba", "PIL", "sklearn", "scipy", "matplotlib", "pooch", "requests")


def loaded_by(code: str) -> set[str]:
    """Return which of the heavy packages a new process has loaded after running some code."""
    done = python(
        f"import json, sys\ntry:\n    {code}\nexcept SystemExit as error:\n    assert not error.code\n"
        f"print(); print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import fastnn",
        "import fastnn.recipe, fastnn.network, fastnn.errors, fastnn.datasets",
        "from fastnn.cli import main; sys.argv[1:] = ['--help']; main()",
        "from fastnn.cli import main; sys.argv[1:] = ['--version']; main()",
        "from fastnn.cli import main; sys.argv[1:] = ['train', '--help']; main()",
        "from fastnn.cli import main; sys.argv[1:] = ['data', 'info', '--help']; main()",
    ],
)
def test_help_and_import_load_nothing_heavy(code: str) -> None:
    assert loaded_by(code) == set()


def test_only_the_command_that_is_run_is_imported() -> None:
    code = "import sys\nfrom fastnn.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules, sep='\\n')"
    for wanted, count in (("train", 1), ("--help", 8)):
        loaded = python(code, wanted, *(["--help"] if count == 1 else [])).stdout.splitlines()
        commands = ("train", "evaluate", "compare", "predict", "import_", "serve", "bench", "data")
        assert sum(f"fastnn.cli.{name}" in loaded for name in commands) == count


def test_training_loads_neither_compiler_nor_images_nor_downloads() -> None:
    """What was compiled before needs no compiler; see tests/kernels/test_loader.py."""
    assert loaded_by("import fastnn.training, fastnn.images.distort") == set()


@pytest.mark.parametrize("name", fastnn.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(fastnn, name)
    assert name in dir(fastnn)
    if name != "__version__":
        home = importlib.import_module(value.__module__)
        assert getattr(home, name) is value
        assert value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        fastnn.trian  # noqa: B018


def test_the_version_is_shown() -> None:
    done = python("from fastnn.__main__ import main; main()", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"fastnn {fastnn.__version__}")


def parameters() -> Iterator[tuple[str, int]]:
    """Yield the number of parameters of each function; those of a command are its options."""
    for path in sorted((ROOT / "fastnn").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            name, arguments = getattr(node, "name", "lambda"), node.args
            is_command = path.parent.is_relative_to(ROOT / "fastnn" / "cli") and name == path.stem.rstrip("_")
            given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            if not is_command:
                yield f"{path.name}: {name}", sum(each.arg not in ("self", "cls") for each in given)


def test_no_function_has_more_than_seven_parameters() -> None:
    counts = list(parameters())
    assert len(counts) > 300
    assert [(name, count) for name, count in counts if count > 7] == []
