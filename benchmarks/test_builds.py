"""Do the edits of ablation and variants still fit the source? To measure with them takes minutes."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks.ablation import PARTS, without
from benchmarks.steps import STEPS
from benchmarks.variants import DROPPED, ROOT, SIZES, edited

VARIANTS = {**SIZES, **DROPPED}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_places_of_a_variant_are_in_the_source(name: str) -> None:
    for path, text in edited(VARIANTS[name]).items():
        compile(text, str(path), "exec")


@pytest.mark.parametrize("commit", [commit for commit in STEPS if commit])
def test_the_commits_of_the_steps_are_in_the_history(commit: str) -> None:
    git = ["git", "-C", str(ROOT)]
    try:
        shallow = subprocess.run(
            [*git, "rev-parse", "--is-shallow-repository"], check=False, capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no git here")
    if shallow.stdout.strip() != "false":
        pytest.skip("not a clone with its history")
    assert subprocess.run([*git, "cat-file", "-e", f"{commit}:fastnn"], check=False).returncode == 0


@pytest.mark.parametrize("part", PARTS)
def test_the_line_of_a_part_is_in_the_source(part: str) -> None:
    source = (ROOT / "fastnn" / "kernels" / "sgd.py").read_text()
    compile(without(source, PARTS[part]), part, "exec")
