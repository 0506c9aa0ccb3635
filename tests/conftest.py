"""Fixtures and settings for all tests."""

import contextlib
import gc
import importlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Variables that a terminal, a CI service or a user may set; tests expect the defaults. Some are read at import.
_PREFIXES = ("FASTNN_", "NUMBA_")
_KEPT = ("FASTNN_CACHE_DIR", "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")
_DISPLAY = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES")
# Without it, a hundred child processes compile every module that they import; each would take 0.15 s longer.
_SLOW = ("PYTHONDONTWRITEBYTECODE",)
for _name in list(os.environ):
    if _name in (*_DISPLAY, *_SLOW) or (_name.startswith(_PREFIXES) and _name not in _KEPT):
        del os.environ[_name]

# onnxruntime sends events to its makers, and writes to the user's cache.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# A process in the background of a script ignores Ctrl-C, and one under nohup a hang-up. So do its children, to which
# some tests send these signals.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots", action="store_true", help="write the pictures of the web app in data/screenshots anew"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` starts: one more than cores, since tests of pages wait."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Let processes of `-n` take over each other's tests at the end; each begins with one part of them.

    Tests of one folder so share its browser and its servers, and no process waits long for another one.
    """
    if config.getoption("numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Collect the tests without the garbage collector, and let it leave out later what they and their modules hold.

    It would take a fifth of the time of the collection and a twentieth of that of the tests, to look again and again
    at half a million objects that live to the end.
    """
    gc.disable()
    try:
        _import_own_share(session.config)
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def _import_own_share(config: pytest.Config) -> None:
    """In a process of `-n`, import some test modules before the others, in each process other ones.

    All processes collect all tests. Without bytecode, pytest takes 6 s to rewrite the assertions of all modules; in the
    same order, all processes would do so at the same time.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None:
        return
    paths = [Path(argument.partition("::")[0]) for argument in config.args]
    files = sorted({file for path in paths for file in ([path] if path.is_file() else path.rglob("test_*.py"))})
    for file in files[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        # What cannot be imported is reported, or skipped, when it is collected.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(file.resolve().relative_to(ROOT).with_suffix("").parts))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real data beside the project, or skip the test."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data beside the project) is not here")
    return SHARED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the user's data and cache from every test."""
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "fastnn-cache"))
    monkeypatch.delenv("FASTNN_DATA", raising=False)
