"""The public names, and the modules that they import."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

import fastnn
from tests.helpers import ROOT, invoke, run_python

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

TYPER = {"annotated_doc", "colorama", "linkify_it", "markdown_it", "mdurl", "pygments", "rich", "shellingham", "typer"}
if tuple(map(int, version("typer").split(".")[:2])) >= (0, 29):
    # The package excludes it, for this alone; a developer may have it.
    TYPER |= {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}
DATA = {"msgspec", "numpy", "platformdirs"}
TRAINING = DATA | {"llvmlite", "safetensors"}
# Modules of Cython and of the standard library that have no fixed name.
UNNAMED = re.compile("_cython_.*|cython_runtime|_sysconfigdata_.*")


def loaded_by(code: str, *args: str) -> set[str]:
    """Return the packages outside the standard library that a new process imports while it runs some code."""
    done = run_python(
        "import sys\nbefore = set(sys.modules)\n"
        f"try:\n    {code}\nexcept SystemExit as error:\n    assert not error.code\n"
        "print(); print(*{name.partition('.')[0] for name in set(sys.modules) - before})",
        *args,
    )
    assert done.returncode == 0, done.stderr
    names = set(done.stdout.splitlines()[-1].split()) - set(sys.stdlib_module_names)
    return {name for name in names if not UNNAMED.fullmatch(name)}


def test_importing_the_package_imports_no_other_module() -> None:
    """Until it is imported, the command line cannot decide what Ctrl-C does; see ``fastnn/__main__.py``."""
    code = "import sys\nbefore = set(sys.modules)\nimport fastnn\nprint(*set(sys.modules) - before)"
    assert run_python(code).stdout.split() == ["fastnn"]


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import fastnn.recipe, fastnn.network, fastnn.errors, fastnn.datasets", DATA),
        # Machine code that is kept needs no compiler; see tests/kernels/test_loader.py.
        ("import fastnn.session, fastnn.images.distort", TRAINING),
        ("import fastnn.session, fastnn.crossval", TRAINING),
        ("import fastnn.formats.importing, fastnn.formats.export, fastnn.formats.c_header", TRAINING),
    ],
)
def test_modules_import_only_what_they_need(code: str, allowed: set[str]) -> None:
    assert loaded_by(code) - allowed <= {"fastnn", "typing_extensions"}


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("--help", TYPER),
        ("--version", TYPER),
        ("train --help", TYPER),
        ("data info --help", TYPER),
        ("train --data drawn:20 --hidden 4 --epochs 1 --out run", TYPER | TRAINING),
    ],
)
def test_commands_import_only_what_they_need(
    command: str, allowed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train = "from fastnn.__main__ import main; main()"
    if "--out" in command:
        # The kernels are compiled by the first of two trainings.
        assert invoke(command.replace("run", "first").split()).exit_code == 0
    assert loaded_by(train, *command.split()) - allowed <= {"fastnn", "typing_extensions"}


def test_only_the_command_that_is_run_is_imported() -> None:
    code = "import sys\nfrom fastnn.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules, sep='\\n')"
    for wanted, count in (("train", 1), ("--help", 9)):
        loaded = run_python(code, wanted, *(["--help"] if count == 1 else [])).stdout.splitlines()
        commands = ("train", "evaluate", "compare", "predict", "import_", "serve", "bench", "guide", "data")
        assert sum(f"fastnn.cli.{name}" in loaded for name in commands) == count


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
        "export", "fit", "load_dataset", "load_model", "presets", "save_model", "split", "train",
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
    names = {re.split(r"[^a-z-]", line)[0] for line in lines} - {"fastnn-trainer"}
    listed = re.findall(r"(?m)^\| (\S+) \|", (ROOT / "LICENSES.md").read_text(encoding="utf-8"))
    assert len(names) > 12
    assert names <= set(listed)


def test_type_checkers_may_use_the_hints() -> None:
    assert (ROOT / "fastnn" / "py.typed").is_file()


def parameter_counts() -> Iterator[tuple[str, int]]:
    """Yield the number of parameters of each function except commands and estimators: theirs are options."""
    for path in sorted((ROOT / "fastnn").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            name, arguments = getattr(node, "name", "lambda"), node.args
            is_command = path.parent.is_relative_to(ROOT / "fastnn" / "cli") and name.rstrip("_") == path.stem.rstrip(
                "_"
            )
            is_estimator = path.name in ("river.py", "classifier.py", "regressor.py") and name == "__init__"
            given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            if not (is_command or is_estimator):
                yield f"{path.name}: {name}", sum(each.arg not in ("self", "cls") for each in given)


def test_no_function_has_more_than_seven_parameters() -> None:
    counts = list(parameter_counts())
    assert len(counts) > 300
    assert [(name, count) for name, count in counts if count > 7] == []
