"""The public names, and the modules that they import."""

from __future__ import annotations

import ast
import importlib
import json
import re
import tomllib
from typing import TYPE_CHECKING

import pytest

import fastnn
from tests.helpers import ROOT, run_python

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

HEAVY = ("numba", "PIL", "sklearn", "scipy", "matplotlib", "pooch", "requests")


def loaded_by(code: str) -> set[str]:
    """Return the heavy packages that a new process has imported after running some code."""
    done = run_python(
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
def test_help_and_import_load_no_heavy_package(code: str) -> None:
    assert loaded_by(code) == set()


def test_only_the_command_that_is_run_is_imported() -> None:
    code = "import sys\nfrom fastnn.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules, sep='\\n')"
    for wanted, count in (("train", 1), ("--help", 9)):
        loaded = run_python(code, wanted, *(["--help"] if count == 1 else [])).stdout.splitlines()
        commands = ("train", "evaluate", "compare", "predict", "import_", "serve", "bench", "guide", "data")
        assert sum(f"fastnn.cli.{name}" in loaded for name in commands) == count


def test_training_imports_no_compiler_image_or_download_library() -> None:
    """Cached machine code needs no compiler; see tests/kernels/test_loader.py."""
    assert loaded_by("import fastnn.session, fastnn.images.distort") == set()


@pytest.mark.parametrize("name", fastnn.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(fastnn, name)
    assert name in dir(fastnn)
    assert getattr(fastnn, name) is value
    if name == "presets":  # a mapping
        assert value is importlib.import_module("fastnn.recipe").presets
    elif name != "__version__":
        home = importlib.import_module(value.__module__)
        assert getattr(home, name) is value
        assert value.__doc__


def test_the_public_names_are_the_documented_ones() -> None:
    """Users rely on these names: each new one is a promise, and removing one breaks programs."""
    assert set(fastnn.__all__) == {
        "Dataset", "FastnnError", "Model", "Recipe", "Session", "__version__", "compare", "cross_validate", "evaluate",
        "fit", "load_dataset", "load_model", "presets", "save_model", "split", "train",
    }  # fmt: skip
    assert fastnn.EpochReport is importlib.import_module("fastnn.training").EpochReport
    assert fastnn.Network is importlib.import_module("fastnn.network").Network


def modules() -> dict[str, Path]:
    found = {}
    for path in (ROOT / "fastnn").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_by(path: Path, known: Collection[str]) -> set[str]:
    """Return the modules of fastnn that a file imports, also within functions and for annotations."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & set(known) or {node.module}
    return found & set(known)


def test_there_are_no_circular_imports() -> None:
    known = modules()
    # Modules may import the package itself, for its version.
    left = {name: imported_by(path, known) - {name, "fastnn"} for name, path in known.items()}
    while free := {name for name, imported in left.items() if not imported & left.keys()}:
        left = {name: imported for name, imported in left.items() if name not in free}
    assert left == {}


def test_a_session_imports_no_display_library() -> None:
    code = "import sys\nimport fastnn.session, fastnn.crossval\nprint(*sys.modules)"
    assert not {"rich", "typer"} & set(run_python(code).stdout.split())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        fastnn.trian  # noqa: B018


def test_the_version_is_shown() -> None:
    done = run_python("from fastnn.__main__ import main; main()", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"fastnn {fastnn.__version__}")


def test_change_log_and_citation_name_the_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version, date = re.findall(r"(?m)^## (\d\S*) \((\d{4}-\d\d-\d\d)\)$", changes)[0]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert version == fastnn.__version__
    assert f'\nversion: {version}\ndate-released: "{date}"\n' in citation


def test_the_licence_of_each_direct_dependency_is_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    of_users = re.fullmatch(r"fastnn-trainer\[(.*)\]", extras["all"][0])
    assert of_users
    assert set(of_users[1].split(",")) == set(extras) - {"all", "bench", "dev"}
    lines = [*project["dependencies"], *(line for name in of_users[1].split(",") for line in extras[name])]
    names = {re.split(r"[^a-z]", line)[0] for line in lines} - {"fastnn"}
    listed = re.findall(r"(?m)^\| (\S+) \|", (ROOT / "LICENSES.md").read_text(encoding="utf-8"))
    assert len(names) > 12
    assert names <= set(listed)


def test_type_checkers_may_use_the_hints() -> None:
    assert (ROOT / "fastnn" / "py.typed").is_file()


def parameter_counts() -> Iterator[tuple[str, int]]:
    """Yield the number of parameters of each function except commands, whose parameters are their options."""
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
    counts = list(parameter_counts())
    assert len(counts) > 300
    assert [(name, count) for name, count in counts if count > 7] == []
