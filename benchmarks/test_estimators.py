"""Every estimator fits, and the table has the scores, intervals and times of the folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import estimators


def entry(scores: list[float], seconds: float, most: int | None = None) -> dict[str, Any]:
    return {"scores": scores, "seconds": [seconds] * len(scores), "epochs": [most or 9] * len(scores), "most": most}


@pytest.fixture
def results() -> dict[str, Any]:
    machine = {"cpu": "a CPU", "python": "3.13.0", "versions": {"numpy": "2.4"}}
    wine = {
        "fastnn": entry([0.98, 1.0, 0.96], 0.1),
        "sklearn": entry([0.97, 0.98, 0.96], 0.5),
        "sklearn-sgd": entry([0.9, 0.9, 0.9], 60.0, 12),
    }
    prices = {"fastnn": entry([0.7, 0.72, 0.71], 1.0), "sklearn": entry([0.69, 0.72, 0.7], 2.0)}
    return {
        "date": "2026-01-31",
        "machine": machine,
        "skipped": [],
        "folds": 3,
        "data": {"wine": wine, "prices": prices},
    }


def test_every_estimator_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """A few rows of one data set and few epochs; writes nothing."""
    estimators.main(["--quick", "--only", "wine,prices"])
    table = capsys.readouterr().out
    for each in estimators.ESTIMATORS:
        assert estimators.missing(each.name, each.needs) or each.name in table


def test_the_table_has_the_mean_its_interval_and_the_time(results: dict[str, Any]) -> None:
    lines = estimators.as_markdown(results).splitlines()
    wine = next(line for line in lines if line.startswith("| wine"))
    # Student's t of two degrees of freedom is 4.303.
    assert f"**98.00% ± {4.303 * 2 / np.sqrt(3):.2f}, 0.10 s**" in wine
    assert "90.00% ± 0.00, 60.00 s (12 epochs)" in wine
    assert wine.endswith(f"| +1.00 ± {4.303 * np.sqrt(1 / 3 + 1 / 2):.2f} |")
    prices = next(line for line in lines if line.startswith("| like California"))
    assert prices.count("|") == wine.count("|")
    assert "**0.710 ± 0.025, 1.00 s**" in prices


def test_what_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        estimators.main(["--only", "wine", "--estimators", "oracle"])
    assert "there is no oracle" in capsys.readouterr().err
