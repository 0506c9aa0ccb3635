"""Three hosts with their own networks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("distributed")
pytest.importorskip("optuna")

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sweep.conftest import Starter


def test_a_sweep_on_three_hosts_of_which_one_is_cut_off_equals_a_serial_one(
    start_workers: Starter, tmp_path: Path
) -> None:
    """A worker of one host is killed, and another host's cable is pulled and put back."""
    answer = json.loads(start_workers.ask(str(tmp_path)))
    if "fault" in answer:
        pytest.skip(answer["fault"])
    assert answer["names"] == ["2", "3", "4"]
    assert answer["hosts"] == answer["serial"]
    assert len(answer["hosts"]) == 16
    assert all(weights for *_, weights in answer["hosts"])
    # Data were sent to each host.
    assert all(list((tmp_path / f"host{number}" / "cache").rglob("*.data")) for number in (1, 2, 3))
