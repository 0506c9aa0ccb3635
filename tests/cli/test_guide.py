from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fastnn.cli.guide import GUIDES
from tests.helpers import ROOT, environment, invoke, run_fastnn

if TYPE_CHECKING:
    from pathlib import Path


def source(name: str) -> str:
    return (ROOT / "fastnn" / "guides" / f"{name}.md").read_text(encoding="utf-8")


def test_without_a_name_the_guides_are_listed_with_their_titles() -> None:
    result = invoke(["guide"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(GUIDES)]] == list(GUIDES)
    for name, line in zip(GUIDES, lines, strict=False):
        assert line.split(maxsplit=1)[1].rstrip() == source(name).partition("\n")[0].partition(": ")[2]


@pytest.mark.parametrize("name", GUIDES)
def test_a_pipe_gets_the_markdown_of_a_guide(name: str, tmp_path: Path) -> None:
    result = run_fastnn("guide", name, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, source(name), "")


@pytest.mark.parametrize("name", GUIDES)
def test_a_terminal_gets_a_formatted_guide(name: str) -> None:
    shown = run_in_terminal("guide", name)
    assert "\x1b[" in shown
    assert "```" not in shown
    assert "|---" not in shown
    assert source(name).partition(": ")[0].removeprefix("# ") in shown


def test_an_unknown_guide_is_refused_with_the_names() -> None:
    result = invoke(["guide", "sped"])
    assert result.exit_code == 2
    assert f"sped: no such guide; choose one of {', '.join(GUIDES)}" in result.stderr


def run_in_terminal(*args: str) -> str:
    """Return the output of ``fastnn ARGS`` in a terminal of 80 columns."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fastnn", *args]
    env = environment(TERM="xterm", COLUMNS="80")
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        written = bytearray()
        # At the end Linux raises an error, and other systems return no bytes.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                written += part
        os.close(ours)
    assert process.returncode == 0
    return written.decode()
