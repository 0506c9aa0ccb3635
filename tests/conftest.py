"""What many tests need: the real data where it stands beside the project."""

from pathlib import Path

import pytest

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
