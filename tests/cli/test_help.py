"""Every command has help with all its options."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

from fastnn.cli import app
from tests.helpers import invoke


def commands(command: Any, *names: str) -> dict[tuple[str, ...], Any]:
    """Return a command and all its subcommands, by their names."""
    found = {names: command}
    for name, below in getattr(command, "commands", {}).items():
        found |= commands(below, *names, name)
    return found


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_help_is_shown_with_each_option(names: tuple[str, ...]) -> None:
    result = invoke([*names, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert " ".join(("fastnn", *names)) in result.stdout or not names
    for parameter in COMMANDS[names].params:
        assert parameter.help, (names, parameter.name)
        assert max(parameter.opts, key=len) in result.stdout or parameter.param_type_name == "argument"


def test_defaults_that_depend_on_the_model_or_the_data_are_said() -> None:
    def shown(*arguments: str) -> str:
        return invoke([*arguments, "--help"], env={"COLUMNS": "200"}).stdout

    assert "images and tables" in shown()
    assert "table for a table, else original" in shown("train")
    assert "table for a table, else original" in shown("cv")
    for command in ("evaluate", "compare"):
        assert "that of the training data" in shown(command)
        assert "the column named target" not in shown(command)


def test_the_commands_are_found() -> None:
    assert {" ".join(names) for names in COMMANDS} >= {"train", "evaluate", "guide", "serve", "data clean"}


def test_no_path_is_checked_before_the_command_runs() -> None:
    """Whether it can be read matters only for an input, and would be said in a box of several lines."""
    checked = {}
    for names, command in COMMANDS.items():
        hints = get_type_hints(inspect.unwrap(command.callback), include_extras=True) if command.callback else {}
        for name, hint in hints.items():
            kind, *information = get_args(hint) or [hint]
            if Path in (kind, *get_args(kind)):
                checked[*names, name] = information[0].readable
    assert ("data", "convert", "to") in checked
    assert not any(checked.values()), checked
