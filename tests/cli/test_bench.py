import json

import pytest

from fastnn.cli.bench import measure
from tests.helpers import invoke


def test_fastnn_is_much_faster_than_plain_python() -> None:
    speed = measure(0.1)
    assert speed.speed_up > 100
    assert speed.over_dense_bound > 0
    assert speed.speed_up == pytest.approx(speed.samples_per_second / speed.plain_python_samples_per_second)


def test_the_command_prints_one_object() -> None:
    result = invoke(["bench", "--seconds", "0.1", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["samples_per_second"] > 0


def test_the_bench_table_names_fastnn_the_bound_and_plain_python() -> None:
    result = invoke(["bench", "--seconds", "0.1"])
    assert result.exit_code == 0
    assert all(word in result.stdout for word in ("fastnn", "bound", "plain Python"))
