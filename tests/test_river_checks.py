"""River's own checks of estimators, all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from river import checks

from fastnn.river import MLPClassifier, MLPRegressor

if TYPE_CHECKING:
    from collections.abc import Iterator

ESTIMATORS = (MLPClassifier, MLPRegressor)


def parameters() -> Iterator[Any]:
    for estimator in ESTIMATORS:
        for number, check in enumerate(checks.yield_checks(estimator())):
            yield pytest.param(estimator, check, id=f"{estimator.__name__}-{check.__name__}-{number}")


@pytest.mark.parametrize(("estimator", "check"), list(parameters()))
def test_check_of_river(estimator: Any, check: Any) -> None:
    check(estimator())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_check_is_skipped(estimator: Any) -> None:
    assert estimator()._unit_test_skips() == set()  # this is how River asks
