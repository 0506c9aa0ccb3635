"""The commands that write, with small inputs: what the attacks kill and disk run."""

from __future__ import annotations

import contextlib
import importlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterator

SPACE = """
base = "modern"
ensemble = 1
hidden = [8]
epochs = 3
[lr]
low = 0.005
high = 0.05
"""
"""What the sweeps search."""

TOKEN = "the-token-of-the-attacks"  # noqa: S105


@dataclass(frozen=True)
class Result:
    """A file or folder that a command writes in one step.

    Attributes
    ----------
    path : str
        Below the working folder.
    kind : {"files", "data", "run", "database"}
        How it is read; "files" compares the bytes.
    may_be_refused : bool
        A kill may leave something that reading refuses: no system replaces two files in one step.
    """

    path: str
    kind: str = "files"
    may_be_refused: bool = False


@dataclass(frozen=True)
class Case:
    """One command line that writes.

    Attributes
    ----------
    name : str
    command : str
        Name of the command, such as "data convert".
    args : tuple of str
        The command line, without ``fastnn``.
    results : tuple of Result
        Everything that it writes outside the cache. A run, `runs`, may also be between the old and the new state.
    before : tuple of tuple of str
        Command lines that make the old results.
    prepare : callable
        Called in the working folder before these command lines.
    again : tuple of str, optional
        The command line for the next start; by default `args`.
    resume : tuple of str, optional
        The command line for the next start if the run folder exists.
    patches : callable
        Returns pairs of "module:name" and the value for it.
    environment : tuple of pairs of str
        Variables; ``{folder}`` stands for the working folder.
    in_child : bool
        The next start needs a process of its own.
    serves : bool
        The command is a server, to which digits are sent.
    needs_cache : bool
        The result goes to the cache, without which the command fails.
    """

    name: str
    command: str
    args: tuple[str, ...]
    results: tuple[Result, ...] = ()
    before: tuple[tuple[str, ...], ...] = ()
    prepare: Callable[[], None] = lambda: None
    again: tuple[str, ...] | None = None
    resume: tuple[str, ...] | None = None
    patches: Callable[[], list[tuple[str, Any]]] = list
    environment: tuple[tuple[str, str], ...] = ()
    in_child: bool = False
    serves: bool = False
    needs_cache: bool = False

    @contextlib.contextmanager
    def patched(self) -> Iterator[None]:
        """Set the values of `patches` within the context."""
        with contextlib.ExitStack() as stack:
            for target, value in self.patches():
                module, _, name = target.partition(":")
                stack.enter_context(mock.patch.object(importlib.import_module(module), name, value))
            yield

    def next_args(self, folder: Path) -> tuple[str, ...]:
        """Return the command line for the next start in a folder."""
        if self.resume is not None and (folder / "run").exists():
            return self.resume
        return self.again or self.args


# ---- inputs ----


def chosen_cases(parser: ArgumentParser, name: str | None) -> list[Case]:
    """Return the case of a name, or those whose names contain it, or all; an unknown name is an error of the parser."""
    chosen = [case for case in CASES.values() if name in (None, case.name)]
    chosen = chosen or [case for case in CASES.values() if name is not None and name in case.name]
    if not chosen:
        parser.error(f"no command is named {name!r}; there are {', '.join(CASES)}")
    return chosen


def make_inputs(folder: Path) -> None:
    """Write the inputs of all commands to a folder."""
    from fastnn.formats import save_model, write_original
    from fastnn.recipe import Recipe
    from tests.helpers import blobs, save_npz
    from tests.models import model, png, row_model, seven

    for name in ("cache", "tmp"):
        (folder / name).mkdir()
    data = blobs(200)
    labels = data.labels.copy()
    labels[:6] = (labels[:6] + 3) % 10
    save_npz(replace(data, targets=labels), folder / "data.npz")
    # As many images, so that nothing but the pixels and labels tells old and new apart.
    save_npz(blobs(200, seed=1).take([*range(1, 200), 0]), folder / "other.npz")
    write_original(model(784, 5, 4, 10), folder / "NN.json")
    write_original(model(784, 5, 4, 10, seed=1), folder / "other-NN.json")
    (folder / "seven.png").write_bytes(png(seven()))
    (folder / "table.csv").write_text("a,colour,y\n1,red,0.5\n2,blue,1.5\n3,red,2.5\n")
    (folder / "other.csv").write_text("a,colour,y\n4,red,0.5\n5,blue,1.5\n6,red,3.5\n")
    save_model(row_model(), folder / "rows.safetensors")
    (folder / "issues.csv").write_text(
        "index,label,suggested,score,reason\n0,3,0,0.1,wrong label\n7,7,,0.1,duplicate\n"
    )
    small = Recipe(name="small", hidden=(8,), epochs=3)
    recipes = {
        "small": small,
        "average": small.replace(averaging="ema", averaging_epochs=2),
        "best": small.replace(validation_fraction=0.2, patience=2),
        "ensemble": small.replace(ensemble=2),
    }
    for name, recipe in recipes.items():
        (folder / f"{name}.toml").write_text(recipe.to_toml())
    (folder / "space.toml").write_text(SPACE)


def stop_early(recipe: str, epochs: int = 1) -> Callable[[], None]:
    """Return a function that trains a few epochs into the folder run, which then holds a checkpoint."""

    def train() -> None:
        from fastnn.session import Session

        for report in Session("data.npz", f"{recipe}.toml", "run", threads=1):
            if report.epoch >= epochs:
                break

    return train


def start_model() -> None:
    """Write the run folder base, from whose model a training starts."""
    from fastnn.session import Session

    for _ in Session("other.npz", "ensemble.toml", "base", threads=1):
        pass


def large_source() -> None:
    """Write a data set whose times are old enough for the cache to rely on them."""
    from fastnn.datasets import load_dataset
    from fastnn.datasets.writers import write_dataset

    write_dataset(load_dataset("data.npz"), Path("large.json"))
    status = Path("large.json").stat()
    os.utime("large.json", ns=(status.st_atime_ns, status.st_mtime_ns - 60 * 10**9))


def checkpoint_always() -> list[tuple[str, Any]]:
    return [("fastnn.runs:CHECKPOINT_SECONDS", 0.0), ("fastnn.runs:CHECKPOINT_COST", 0.0)]


def cache_everything() -> list[tuple[str, Any]]:
    return [("fastnn.datasets.cache:WORTH_CACHING", 0)]


def local_download() -> list[tuple[str, Any]]:
    """Download the digits from the address in ``ATTACK_URL``, and take any content."""
    from fastnn.datasets import digits

    remote = replace(digits.REMOTE, urls=(os.environ["ATTACK_URL"],), fault=lambda _: None)
    return [("fastnn.datasets.digits:REMOTE", remote)]


# ---- the table ----

_TRAIN = ("train", "--quiet", "--data", "data.npz", "--out", "run", "--recipe")
_RESUME = ("train", "--quiet", "--resume", "run")
_SEARCH = ("--folds", "2", "--repeats", "1", "--epochs", "1", "--threads", "1")
_SERVE = ("serve", "--db", "sqlite:///digits.db", "--model", "model.safetensors", "--port", "0", "--rate", "0")
_MODEL = ("import", "NN.json", "model.safetensors")
_RUN = Result("run", "run")


def _train() -> Iterator[Case]:
    for recipe in ("small", "average", "best", "ensemble"):
        yield Case(
            f"train, {recipe}", "train", (*_TRAIN, f"{recipe}.toml"), (_RUN,), resume=_RESUME, patches=checkpoint_always
        )
        yield Case(
            f"resume, {recipe}", "train", _RESUME, (_RUN,), prepare=stop_early(recipe), patches=checkpoint_always
        )
    start = ("train", "--quiet", "--data", "data.npz", "--from", "base", "--epochs", "3", "--out", "run")
    yield Case(
        "train from a model", "train", start, (_RUN,), prepare=start_model, resume=_RESUME, patches=checkpoint_always
    )
    more = (*_RESUME, "--epochs", "5")
    yield Case("more epochs", "train", more, (_RUN,), ((*_TRAIN, "small.toml"),), patches=checkpoint_always)


def _sweeps() -> Iterator[Case]:
    search = ("sweep", "--data", "data.npz", "--space", "space.toml", "--sampler", "random")
    args = (*search, "--workers", "0", "--trials", "3", "--out", "run")
    study = ("--study", "space.study")
    yield Case("sweep", "sweep", (*args, *study), (_RUN,), resume=_RESUME, patches=checkpoint_always)
    begun = (*search, *study, "--workers", "0", "--trials", "2", "--out", "first")
    yield Case("sweep, begun", "sweep", (*args, *study), (_RUN,), (begun,), resume=_RESUME, patches=checkpoint_always)


def _replacing(name: str, args: tuple[str, ...], old: tuple[str, ...], *results: Result) -> Iterator[Case]:
    """Yield the case of a command that writes new files, and the one that replaces old ones.

    Parameters
    ----------
    name : str
    args, old : tuple of str
        Command lines that write the new and the old result, both without ``--force``.
    results : Result
    """
    command = " ".join(args[: 2 if args[0] == "data" else 1])
    forced = (*args, "--force")
    yield Case(name, command, args, results, again=forced)
    yield Case(f"{name}, replaced", command, forced, results, (old,))


def _data_set(path: str) -> Result:
    return Result(path, "data", may_be_refused="idx3" in path)


def _data() -> Iterator[Case]:
    outputs = ("new.json", "new.json.gz", "new.csv", "new.csv.gz", "new.npz", "new-images-idx3-ubyte", "new")
    for out in outputs:
        result = _data_set(out)
        convert = ("data", "convert", "data.npz", out), ("data", "convert", "other.npz", out)
        yield from _replacing(f"convert to {out}", *convert, result)
    convert = ("data", "convert", "data.npz", "new.fnn"), ("data", "convert", "other.npz", "new.fnn")
    yield from _replacing("convert to new.fnn", *convert, _data_set("new.fnn"))
    for out in ("table.new.csv", "table.new.tsv.gz", "table.new.npz"):
        convert = ("data", "convert", "table.csv", out), ("data", "convert", "other.csv", out)
        yield from _replacing(f"convert to {out}", *convert, Result(out))
    apply = ("data", "clean", "data.npz", "--apply", "issues.csv", "--to")
    for out in ("new.npz", "new-images-idx3-ubyte"):
        yield from _replacing(f"clean to {out}", (*apply, out), ("data", "convert", "other.npz", out), _data_set(out))
    search = ("--out", "list.csv", "--sheet", "list.png", *_SEARCH)
    old = ("data", "clean", "other.npz", *search)
    yield from _replacing(
        "clean, search", ("data", "clean", "data.npz", *search), old, Result("list.csv"), Result("list.png")
    )
    mosaic = ("data", "mosaic", "data.npz", "new.png"), ("data", "mosaic", "other.npz", "new.png")
    yield from _replacing("mosaic", *mosaic, Result("new.png"))
    store = ("data", "import", "data.npz", "--into", "sqlite:///digits.db")
    database = Result("digits.db", "database")
    yield Case("import into a new database", "data import", store, (database,))
    yield Case("import into a database", "data import", store, (database,), ((*store[:2], "other.npz", *store[3:]),))
    yield Case("fetch", "data fetch", ("data", "fetch", "digits"), patches=local_download, needs_cache=True)
    yield Case(
        "fetch to a folder",
        "data fetch",
        ("data", "fetch", "digits", "--to", "new"),
        (Result("new/dataset.json"),),
        patches=local_download,
    )
    # What fills the cache: a data set and the hash of its file; and machine code.
    yield Case(
        "first read of data",
        "data info",
        ("data", "info", "large.json"),
        prepare=large_source,
        patches=cache_everything,
    )
    yield Case(
        "machine code of drawing",
        "data info",
        ("data", "info", "drawn:20"),
        environment=(("NUMBA_CACHE_DIR", "{folder}/code"),),
        in_child=True,
    )


def _models() -> Iterator[Case]:
    old = ("import", "other-NN.json", "model.safetensors")
    yield from _replacing("import", _MODEL, old, Result("model.safetensors"))
    for out in ("new.json", "new.npz", "new.html"):
        old = ("export", "other-NN.json", out)
        yield from _replacing(f"export to {out}", ("export", "NN.json", out), old, Result(out))
    evaluate = ("evaluate", "model.safetensors", "--report", "report", "--data")
    written = Result("report")
    yield Case(
        "report", "evaluate", (*evaluate, "data.npz"), (written,), (_MODEL,), again=(*evaluate, "data.npz", "--force")
    )
    yield Case(
        "report, replaced",
        "evaluate",
        (*evaluate, "data.npz", "--force"),
        (written,),
        (_MODEL, (*evaluate, "other.npz")),
    )
    export = ("export", "model.safetensors", "new.onnx")
    yield Case("export to ONNX", "export", export, (Result("new.onnx"),), (_MODEL,), again=(*export, "--force"))
    yield Case(
        "export to ONNX, replaced",
        "export",
        (*export, "--force", "--precision", "int8"),
        (Result("new.onnx"),),
        (_MODEL, export),
    )
    predict = ("predict", "rows.safetensors", "table.csv", "--out", "new.csv")
    old = ("predict", "rows.safetensors", "other.csv", "--out", "new.csv")
    yield from _replacing("predictions", predict, old, Result("new.csv"))
    yield Case(
        "machine code of prediction",
        "predict",
        ("predict", "model.safetensors", "seven.png"),
        before=(_MODEL,),
        environment=(("NUMBA_CACHE_DIR", "{folder}/code"),),
        in_child=True,
    )


def _servers() -> Iterator[Case]:
    token = (("FASTNN_TOKEN", TOKEN),)
    yield Case(
        "serve a new database",
        "serve",
        _SERVE,
        (Result("digits.db", "database"),),
        (_MODEL,),
        environment=token,
        serves=True,
    )
    yield Case(
        "serve a database",
        "serve",
        _SERVE,
        (Result("digits.db", "database"),),
        (_MODEL, ("data", "import", "other.npz", "--into", "sqlite:///digits.db")),
        environment=token,
        serves=True,
    )


CASES = {case.name: case for make in (_train, _sweeps, _data, _models, _servers) for case in make()}
"""The commands that write, by their names."""

READERS = {
    "compare": "prints; what it fills of the cache, evaluate and data info fill in the same way",
    "cv": "prints; the machine code that it keeps is written as by train",
    "sweep report": "writes its page with atomic_write, as show and evaluate do; tests/cli/test_sweep.py",
    "bench": "prints; the machine code that it keeps is written as by predict",
    "guide": "prints",
    "show": "prints",
    "runs": "prints",
}
"""Commands that write nothing of their own, each with the reason."""


def registered_commands() -> set[str]:
    """Return the names of all commands of ``fastnn``, such as "data clean"."""
    import typer

    from fastnn.cli import app

    def names(command: Any, *above: str) -> Iterator[str]:
        below = getattr(command, "commands", None)
        if below is None or (above and command.invoke_without_command):
            yield " ".join(above)
        for name, one in (below or {}).items():
            yield from names(one, *above, name)

    return set(names(typer.main.get_command(app)))
