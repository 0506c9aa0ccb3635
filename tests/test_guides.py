"""The code blocks of the guides and of the README work.

Each page is run from top to bottom in a new folder, where `digits` and `mnist` are small data sets. In ``sh``
blocks the lines that begin with ``fastnn`` are run. In blocks marked ``no-run`` their options only have to exist.
``python`` blocks share their variables. ``toml`` blocks are written to the file that their first line names.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import typer
from markdown_it import MarkdownIt

from fastnn.cli import app
from fastnn.cli.guide import GUIDES
from fastnn.datasets import digits, mnist
from fastnn.datasets.drawn import drawn
from fastnn.datasets.writers import write_dataset
from tests.helpers import ROOT, invoke

FOLDER = ROOT / "fastnn" / "guides"
PAGES = [*(FOLDER / f"{name}.md" for name in GUIDES), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
OTHER_PAGES = [
    *(ROOT / f"{name}.md" for name in ("CHANGELOG", "LICENSES", "SECURITY", "data/README", "benchmarks/README"))
]
KINDS = {"sh", "sh no-run", "python", "python no-run", "toml", "text"}


@dataclass(frozen=True)
class Block:
    """A fenced block of code: the words after its opening fence, its text and its first line."""

    kind: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return [
        Block(token.info.strip(), token.content, (token.map or [0])[0] + 2) for token in tokens if token.type == "fence"
    ]


def command_lines(code: str) -> list[list[str]]:
    """Return the words of each line of a shell block, without variables, comments and redirections."""
    lines = []
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and "=" in words[0]:
            del words[0]
        end = next((i for i, word in enumerate(words) if word in {">", "|", ";", "&&"}), len(words))
        if words[:end]:
            lines.append(words[:end])
    return lines


@functools.cache
def whole_command() -> Any:
    """Return all commands as typer's parser has them; building them takes 0.1 s."""
    return typer.main.get_command(app)


def parse(words: list[str]) -> None:
    """Parse ``fastnn ...`` without running it; wrong commands and options raise."""
    command = whole_command()
    context = command.make_context("fastnn", words[1:2], resilient_parsing=True)
    rest = words[1:]
    while hasattr(command, "get_command") and not (rest and rest[0].startswith("-")):
        command = command.get_command(context, rest[0])
        assert command is not None, f"no command {rest[0]}"
        rest = rest[1:]
        is_group = hasattr(command, "get_command")
        context = command.make_context(rest[0] if rest else "", list(rest), resilient_parsing=is_group)


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install small data sets as `digits` and `mnist`, and change to an empty folder."""
    data = tmp_path / "data"
    (data / "digits").mkdir(parents=True)
    write_dataset(drawn(200), data / "digits" / digits.FILE)
    monkeypatch.setattr(digits, "BLOB", digits.blob_id((data / "digits" / digits.FILE).read_bytes()))
    write_dataset(replace(drawn(200, 1), test=drawn(60, 2)), data / "mnist")
    sums = {name: hashlib.md5((data / "mnist" / name).read_bytes(), usedforsecurity=False) for name in mnist.MD5}
    monkeypatch.setattr(mnist, "MD5", {name: found.hexdigest() for name, found in sums.items()})
    monkeypatch.setenv("FASTNN_DATA", str(data))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_in_order(page: Path) -> None:
    variables: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        place = f"{page.name}:{block.line}"
        if block.kind == "sh":
            for words in command_lines(block.code):
                if words[0] == "fastnn":
                    result = invoke(words[1:])
                    assert result.exit_code == 0, (place, words, result.output, result.exception)
        elif block.kind == "python":
            # Empty lines before the code, so that a traceback shows the line of the page.
            code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
            exec(code, variables)  # noqa: S102 - our own pages
        elif block.kind == "toml":
            Path(block.code.partition("\n")[0].removeprefix("# ")).write_text(block.code, encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_that_are_not_run_name_existing_commands(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in KINDS, f"{page.name}:{block.line}"
        if block.kind.startswith("python"):
            compile(block.code, str(page), "exec")
        if not block.kind.startswith("sh"):
            continue
        for words in command_lines(block.code):
            if words[0] == "fastnn":
                parse(words)
            elif words[:2] == ["python", "-m"]:
                assert words[2] in {"build", "venv"} or importlib.util.find_spec(words[2]), words
            elif words[0] == "pytest":
                assert all((ROOT / word).exists() for word in words[1:] if "/" in word), words


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES], ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_lead_to_files(page: Path) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    parts = [part for token in tokens for part in token.children or []]
    targets = [str(part.attrs.get("href") or part.attrs.get("src") or "") for part in parts]
    for target in targets:
        if target and not target.startswith(("http:", "https:", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_guide_is_listed_and_begins_with_a_title() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(GUIDES)
    for name in GUIDES:
        first = (FOLDER / f"{name}.md").read_text(encoding="utf-8").partition("\n")[0]
        assert first.startswith(f"# {name.capitalize()}: ")


@pytest.mark.parametrize("name", GUIDES)
def test_the_code_of_a_guide_fits_a_terminal(name: str) -> None:
    assert max(len(line) for block in blocks(FOLDER / f"{name}.md") for line in block.code.splitlines()) <= 78


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
