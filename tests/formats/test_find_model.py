"""Finding the file of a model."""

from pathlib import Path
from typing import Never

import pytest

import fastnn
from fastnn.errors import ModelError


def test_a_name_that_is_too_long_is_an_error_of_the_model() -> None:
    with pytest.raises(ModelError, match=r"x: cannot be read \(File name too long\)"):
        fastnn.load_model("x" * 300)


def test_a_folder_that_may_not_be_entered_is_an_error_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Never:
        raise PermissionError(13, "Permission denied")

    # The superuser may enter every folder.
    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(ModelError, match=r"^shut/run: cannot be read \(Permission denied\)"):
        fastnn.load_model("shut/run")
