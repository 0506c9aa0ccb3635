"""What many tests need: the real data where it stands beside the project."""

import os
import signal
from pathlib import Path

import pytest

# What a terminal, a CI service or a user sets, and what tests expect to be as it is for most; read at import.
_OURS = ("FASTNN_", "NUMBA_")
_LEFT = ("FASTNN_CACHE_DIR", "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")
_LOOKS = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES")
for _name in list(os.environ):
    if _name in _LOOKS or (_name.startswith(_OURS) and _name not in _LEFT):
        del os.environ[_name]

# Who is started in the background of a script is deaf to Ctrl-C, and so are its children, of which some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots", action="store_true", help="write the pictures of the web app in data/screenshots anew"
    )


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project, or a skip that says what is missing."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data beside the project) is not here")
    return SHARED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's data and cache."""
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "fastnn-cache"))
    monkeypatch.delenv("FASTNN_DATA", raising=False)
