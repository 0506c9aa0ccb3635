"""Standard streams that are closed, full or broken: the exit code is right, and no traceback is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import TIMEOUT, blobs, environment, run_fastnn, save_npz

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a shell")

TRAIN = "train --data data.npz --hidden 4 --epochs 2 --out run"
needs_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_npz(blobs(40), tmp_path / "data.npz")
    return tmp_path


def shell(command: str, output: int = subprocess.DEVNULL) -> tuple[int, str]:
    """Run ``fastnn COMMAND`` by a shell; return its exit code and its errors."""
    line = f"{sys.executable} -m fastnn {command}"
    environ = environment(PYTHONUNBUFFERED=None)
    done = subprocess.run(
        ["sh", "-c", line], env=environ, stdout=output, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False
    )
    return done.returncode, done.stderr


def test_training_needs_no_standard_streams() -> None:
    code, _ = shell(f"{TRAIN} <&- >&- 2>&-")
    assert code == 0
    # A file that got the number of a closed stream would hold the output as well.
    assert sorted(path.name for path in Path("run").iterdir()) == ["history.csv", "model.safetensors", "recipe.toml"]
    assert len(Path("run/history.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("command", ["guide start", "data info data.npz"])
def test_commands_need_no_standard_output(command: str) -> None:
    assert shell(f"{command} >&-") == (0, "")


@needs_full_disk
@pytest.mark.parametrize("command", ["--help", "data info data.npz"])
def test_full_output_is_one_line(command: str) -> None:
    full = "fastnn: standard output: cannot be used (No space left on device); free some space, and try again\n"
    assert shell(f"{command} >/dev/full") == (1, full)


@needs_full_disk
@pytest.mark.parametrize("command", ["train --no", "data info no.npz"])
def test_messages_that_cannot_be_written_do_not_change_the_exit_code(command: str) -> None:
    assert shell(f"{command} 2>/dev/full") == (2, "")


@pytest.mark.parametrize("command", ["--help", "data info data.npz"])
def test_output_that_nobody_reads_is_no_traceback(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert shell(command, writer) == (1, "")
    finally:
        os.close(writer)


def test_full_output_that_is_no_file_is_named() -> None:
    program = """
import io, sys
class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")
sys.stdout, sys.argv = Full(), ["fastnn", "--version"]
from fastnn.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    full = "fastnn: standard output: cannot be used (No space left on device); free some space, and try again\n"
    assert (done.returncode, done.stderr) == (1, full)


@pytest.mark.parametrize("value", ["9" * 5000, "²", "80"], ids=["5,000 digits", "superscript", "80"])
def test_an_impossible_size_of_the_terminal_is_ignored(value: str, tmp_path: Path) -> None:
    result = run_fastnn("data", "info", "gone.csv", cwd=tmp_path, COLUMNS=value, LINES=value)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "gone.csv: no such file" in result.stderr
