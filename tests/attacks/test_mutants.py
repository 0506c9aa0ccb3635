"""The attack with mutants: what tests notice is killed, what they cannot notice survives."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.attacks.mutants import SUITES, equivalent_mutants
from tests.helpers import run_python

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("mutmut", reason="mutmut is not installed")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes")

SUMS = """
def largest(numbers):
    best = numbers[0]
    for number in numbers:
        if number > best:
            best = number
    return best

def countdown(n):
    while n > 0:
        n -= 1
    return n

def unused(n):
    return n * 2
"""

TESTS = """
import os
from fastnn.sums import countdown, largest

def test_largest():
    assert largest([1, 3, 2]) == 3
    assert os.environ["COLOUR"] == "blue"

def test_countdown():
    assert countdown(3) == 0
"""

# In a process without threads, which can be forked safely. The one endless mutant has a second.
ATTACK = """
import sys
from pathlib import Path
from tests.attacks import mutants
from tests.attacks.mutations import mutants_of

mutants.SECONDS = 0.5
root = Path(sys.argv[1])
suite = mutants.Suite(("fastnn/sums.py",), ("tests/test_sums.py",), {"COLOUR": "blue"}, libraries=())
every = mutants_of("fastnn/sums.py", (root / "fastnn/sums.py").read_text())
found = [one for one in every if one.diff()[1].strip("+ ") in sys.argv[2:]]
survived = mutants.attack(root, suite, found)
print(len(found), "mutants,", sum(survived), "survived")
"""


def project(root: Path) -> Path:
    """Write a small project; return its folder."""
    for name, text in (("fastnn/__init__.py", ""), ("fastnn/sums.py", SUMS), ("tests/test_sums.py", TESTS)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_bad_mutant_is_killed_and_a_harmless_one_survives(tmp_path: Path) -> None:
    root = project(tmp_path / "copy")
    wrong, harmless = "if not (number > best):", "if number >= best:"
    endless, untested = "n += 1", "return n / 2"
    done = run_python(ATTACK, str(root), wrong, endless, harmless, untested)
    assert done.returncode == 0, done.stderr
    survivors = re.findall(r"survived: (.*), line \d+\n-.*\n\+ *(.*)", done.stdout)
    assert survivors == [("fastnn/sums.py", harmless), ("fastnn/sums.py", untested)]
    assert "4 mutants, 2 survived" in done.stdout
    assert (root / "fastnn" / "sums.py").read_text() == SUMS


def test_tests_that_fail_on_the_original_are_an_error(tmp_path: Path) -> None:
    root = project(tmp_path / "copy")
    (root / "fastnn" / "sums.py").write_text(SUMS.replace("number > best", "number < best"))
    done = run_python(ATTACK, str(root))
    assert done.returncode == 1
    assert "the tests do not pass on the original" in done.stderr
    assert "assert 1 == 3" in done.stderr


def test_a_short_attack_on_the_recipes() -> None:
    code = "import sys; from tests.attacks.mutants import main; sys.exit(main())"
    done = run_python(code, "--n", "3", "--seed", "0", "--modules", "fastnn/recipe.py")
    assert done.stdout.startswith("3 of "), done.stderr
    total = re.search(r"^all: (\d+) killed, (\d+) survived, (\d+) equivalent, score", done.stdout, re.MULTILINE)
    assert total is not None, done.stdout + done.stderr
    counts = list(map(int, total.groups()))
    assert sum(counts) == 3
    assert counts[0] > 0


def test_equivalent_mutants_are_explained_and_belong_to_the_code() -> None:
    from tests.attacks.mutants import EQUIVALENT, ROOT

    reasons = equivalent_mutants(EQUIVALENT.read_text(encoding="utf-8"))
    assert reasons
    for (path, *changes), reason in reasons.items():
        assert any(path in suite.modules for suite in SUITES)
        assert len(reason) > 20
        lines = {line.strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines()}
        removed = [line.removeprefix("- ") for line in changes if line.startswith("-")]
        assert removed, path
        assert lines.issuperset(removed), f"{path}: the code has changed; is it still equivalent? {removed}"
