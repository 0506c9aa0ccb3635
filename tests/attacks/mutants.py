"""Attack on the tests: change one thing in the code, and see whether a test fails.

A random sample of mutants (see ``mutations.py``) of the training loop, sessions, runs, recipes, splits and the plain
twins of the kernels. The tests run in a copy of the project, each mutant in a process of its own, forked from one that
has loaded the libraries. Only tests that execute the changed lines are run, the fastest first, up to the first failure.

A mutant that no test kills survives. Survivors that behave exactly like the original are listed in ``equivalent.txt``
with the reason; they do not count. The score is the share of the others that are killed. The exit code is 1 if it is
below 90 %.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.attacks import make_parser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.attacks.mutations import Mutant

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
GOAL = 0.9

SECONDS = 10.0
"""Time for the tests of a mutant, in CPU seconds, in addition to five times what they take on the original."""
WAIT = 8
"""A process that waits for ever is ended after this many times its CPU seconds."""
MEMORY = 4 << 30
"""Most bytes of data of a mutant's process."""

_PYTEST = ["-q", "-x", "-p", "no:cacheprovider"]
_COPIED = ("fastnn", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Suite:
    """Modules, and the test files that test them.

    Attributes
    ----------
    modules, tests : tuple of str
        Paths below the root.
    environment : mapping of str to str
        Environment variables of the tests.
    libraries : tuple of str
        Modules that are imported once, before the processes of the mutants are forked.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    libraries: tuple[str, ...] = ("numba", "msgspec", "safetensors.numpy", "PIL.Image", "pooch", "pytest")


SUITES = (
    Suite(
        ("fastnn/training.py", "fastnn/training_data.py", "fastnn/session.py", "fastnn/runs.py"),
        ("tests/test_training.py", "tests/test_session.py", "tests/test_runs.py"),
    ),
    Suite(("fastnn/datasets/split.py",), ("tests/datasets/test_split.py", "tests/test_crossval.py")),
    Suite(("fastnn/recipe.py",), ("tests/test_recipe.py",)),
    Suite(("tests/kernels/plain.py",), ("tests/kernels",), {"NUMBA_DISABLE_JIT": "1"}),
)


@dataclass(frozen=True)
class Baseline:
    """What the tests do on the original.

    Attributes
    ----------
    seconds : dict of str to float
        CPU time of each test that ran, by its pytest id.
    tests_of : dict of str to dict of int to list of str
        The tests that execute a line, by the module's path and the number of the line.
    """

    seconds: dict[str, float]
    tests_of: dict[str, dict[int, list[str]]]

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Return the tests that execute the changed lines, the fastest first."""
        lines = self.tests_of.get(mutant.path, {})
        changed = {test for line in mutant.lines for test in lines.get(line, [])} if mutant.in_function else set()
        # Code that an import runs, also the default values of parameters, belongs to no test: all tests.
        return sorted(changed or self.seconds, key=lambda test: (self.seconds[test], test))


class _Measuring:
    """pytest plugin that measures the time of each test and the lines that it executes."""

    def __init__(self, coverage: Any) -> None:
        self._coverage = coverage
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)
        start = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - start
        return result


class _Selecting:
    """pytest plugin that runs some tests in a given order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._place = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._place), key=lambda item: self._place[item.nodeid]
        )


def in_child(work: Callable[[], Any], cpu_seconds: float | None = None, log: Path | None = None) -> Any:
    """Return what a function returns in a forked process; None if the process is killed or runs out of time.

    Parameters
    ----------
    work : callable
    cpu_seconds : float, optional
        The process is killed after this much CPU time, or :data:`WAIT` times as much time.
    log : Path, optional
        A file for what the process prints.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            code = 1
            try:
                os.setsid()
                _limit(cpu_seconds)
                if log is not None:
                    for number in (1, 2):
                        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
                answer.write_bytes(pickle.dumps(work()))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _wait(process, cpu_seconds)
        return pickle.loads(answer.read_bytes()) if answer.exists() else None  # noqa: S301 - written by the fork


def _limit(cpu_seconds: float | None) -> None:
    if cpu_seconds is None:
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds) + 1, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _wait(process: int, cpu_seconds: float | None) -> None:
    """Wait for a process, and kill all that it has started."""
    deadline = None if cpu_seconds is None else time.monotonic() + WAIT * cpu_seconds
    try:
        pause = 0.001
        while os.waitpid(process, os.WNOHANG if deadline else 0)[0] == 0:
            if deadline is not None and time.monotonic() > deadline:
                os.killpg(process, signal.SIGKILL)
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)


def _enter(root: Path) -> None:
    """Import the project from `root` from now on."""
    os.chdir(root)
    sys.path.insert(0, str(root))
    for name in list(sys.modules):
        if name.partition(".")[0] in ("fastnn", "tests"):
            del sys.modules[name]


def measure(root: Path, suite: Suite) -> tuple[int, dict[str, float], dict[str, dict[int, list[str]]]]:
    """Run all tests of a suite; return pytest's exit code, and the arguments of :class:`Baseline`."""
    import coverage

    _enter(root)
    paths = [str(root / path) for path in suite.modules]
    measured = coverage.Coverage(data_file=None, config_file=False, include=paths)
    plugin = _Measuring(measured)
    with measured.collect():
        code = pytest.main([*_PYTEST, f"--basetemp={root.parent / 'tmp'}", *suite.tests], [plugin])
    data = measured.get_data()
    lines = {path: data.contexts_by_lineno(str(root / path)) for path in suite.modules}
    tests = {path: {line: [*filter(None, found)] for line, found in each.items()} for path, each in lines.items()}
    return int(code), plugin.seconds, tests


def run_tests(root: Path, tests: Sequence[str]) -> int:
    """Run some tests up to the first failure; return pytest's exit code."""
    _enter(root)
    # The bytecode of the other modules is there from the run on the original.
    sys.dont_write_bytecode = True
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    return int(pytest.main([*_PYTEST, f"--basetemp={root.parent / 'tmp'}", *files], [_Selecting(tests)]))


def survives(root: Path, mutant: Mutant, baseline: Baseline) -> bool:
    """Return whether no test notices a mutant; the module is as before afterwards."""
    tests = baseline.tests_for(mutant)
    if not tests:
        return True
    path = root / mutant.path
    original = path.read_text(encoding="utf-8")
    try:
        path.write_text(mutant.source, encoding="utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()
        seconds = SECONDS + 5 * sum(baseline.seconds[test] for test in tests)
        return bool(in_child(lambda: run_tests(root, tests), seconds, Path(os.devnull)) == 0)
    finally:
        path.write_text(original, encoding="utf-8")


def attack(root: Path, suite: Suite, mutants: Sequence[Mutant]) -> list[bool]:
    """Run the tests of a suite on mutants of its modules; return which of them survive.

    Parameters
    ----------
    root : Path
        A copy of the project; its parent folder is used for temporary files.
    suite : Suite
    mutants : sequence of Mutant

    Raises
    ------
    RuntimeError
        If a test fails on the original.
    """
    # Plugins of other libraries take longer to load than most tests.
    own = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    os.environ.update(own, OPENBLAS_NUM_THREADS="1", **suite.environment)
    for name in suite.libraries:
        importlib.import_module(name)
    log = root.parent / "baseline.log"
    code, seconds, tests_of = in_child(lambda: measure(root, suite), log=log) or (-1, {}, {})
    if code:
        raise RuntimeError(f"the tests do not pass on the original:\n{log.read_text(encoding='utf-8')[-5000:]}")
    baseline, survived = Baseline(seconds, tests_of), []
    for mutant in mutants:
        survived.append(survives(root, mutant, baseline))
        if survived[-1]:
            print(f"survived: {mutant.path}, line {mutant.lines.start}", *mutant.diff(), sep="\n", flush=True)
    return survived


def equivalent_mutants(text: str) -> dict[tuple[str, ...], str]:
    """Return the reasons why mutants are equivalent, by path and changed lines.

    Parameters
    ----------
    text : str
        Entries that empty lines separate: the module's path, the removed lines after "-", the added lines after "+",
        and the reason, which may have several lines.
    """
    found = {}
    for entry in text.split("\n\n"):
        lines = [line.strip() for line in entry.strip().splitlines() if not line.startswith("#")]
        if lines:
            changed = [line for line in lines[1:] if line[:1] in ("-", "+")]
            found[(lines[0], *_stripped(changed))] = " ".join(line for line in lines[1:] if line[:1] not in ("-", "+"))
    return found


def key_of(mutant: Mutant) -> tuple[str, ...]:
    """Return a mutant's key in :func:`equivalent_mutants`, which does not change when lines move."""
    return (mutant.path, *_stripped(mutant.diff()))


def _stripped(lines: Any) -> list[str]:
    return [f"{line[0]} {line[1:].strip()}" for line in lines]


def main() -> int:
    """Run the attack; return the exit code."""
    parser = make_parser("mutants", __doc__, n=200)
    modules = [path for suite in SUITES for path in suite.modules]
    parser.add_argument(
        "--modules", nargs="+", choices=modules, default=modules, metavar="PATH", help=", ".join(modules)
    )
    options = parser.parse_args()
    if not hasattr(os, "fork"):
        print("skipped: this system cannot fork processes")
        return 0
    if importlib.util.find_spec("mutmut") is None:
        print("skipped: mutmut is not installed (pip install mutmut)")
        return 0
    from tests.attacks.mutations import mutants_of

    every = [mutant for path in options.modules for mutant in mutants_of(path, (ROOT / path).read_text("utf-8"))]
    chosen = random.Random(options.seed).sample(every, min(options.n, len(every)))
    print(f"{len(chosen)} of {len(every)} mutants, seed {options.seed}", flush=True)
    survived: dict[Mutant, bool] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        _copy(root)
        for suite in SUITES:
            mutants = [mutant for mutant in chosen if mutant.path in suite.modules]
            # In a process of its own, since each suite has its own environment.
            found = in_child(partial(attack, root, suite, mutants)) if mutants else []
            if found is None:
                return 1
            survived.update(zip(mutants, found, strict=True))
    return _report(survived)


def _report(survived: Mapping[Mutant, bool]) -> int:
    """Print the score of each module; return the exit code."""
    reasons = equivalent_mutants(EQUIVALENT.read_text(encoding="utf-8"))
    counts: dict[str, Counter[str]] = {}
    for mutant, alive in survived.items():
        fate = "killed" if not alive else "equivalent" if key_of(mutant) in reasons else "survived"
        for name in (mutant.path, "all"):
            counts.setdefault(name, Counter())[fate] += 1
    score = 1.0
    for name in sorted(counts, key=lambda name: (name == "all", name)):
        killed, alive = counts[name]["killed"], counts[name]["survived"]
        score = killed / (killed + alive) if killed + alive else 1.0
        print(f"{name}: {killed} killed, {alive} survived, {counts[name]['equivalent']} equivalent, score {score:.1%}")
    return 0 if score >= GOAL else 1


def _copy(root: Path) -> None:
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)


if __name__ == "__main__":
    sys.exit(main())
