"""The examples in the docstrings of the public names run and print what they say."""

from __future__ import annotations

import doctest
import sys
from typing import TYPE_CHECKING, Any

import pytest

import fastnn

if TYPE_CHECKING:
    from pathlib import Path

# A mapping has no docstring: the example of presets is in Recipe.
NAMES = [name for name in fastnn.__all__ if name not in ("__version__", "presets")] + ["EpochReport"]


def examples(name: str) -> list[doctest.Example]:
    value: Any = getattr(fastnn, name)
    return doctest.DocTestParser().get_examples(value.__doc__)


@pytest.mark.parametrize("name", NAMES)
def test_examples_print_the_output_they_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    value: Any = getattr(fastnn, name)
    test = doctest.DocTest(examples(name), {}, name, None, None, value.__doc__)
    assert test.examples
    assert any(f"fastnn.{name}" in example.source for example in test.examples) or name == "EpochReport"
    result = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(test, out=sys.stderr.write)
    assert result.failed == 0


def test_presets_are_in_an_example() -> None:
    assert any("fastnn.presets" in example.source for example in examples("Recipe"))
