"""All checks that scikit-learn has for estimators of others; none is expected to fail."""

from __future__ import annotations

from functools import partial

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import estimator_checks_generator

from fastnn.sklearn import MLPClassifier, MLPRegressor
from tests.helpers import run_python

# Scikit-learn's parametrize_with_checks does the same, but in versions before 1.8 pytest 9 warns of it.
CHECKS = [pair for kind in (MLPClassifier, MLPRegressor) for pair in estimator_checks_generator(kind())]


def name_of(check):
    while isinstance(check, partial):
        check = check.func
    return check.__name__


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=[f"{one}-{name_of(check)}" for one, check in CHECKS])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_checks_of_array_api():
    # SciPy reads the variable when it is imported.
    done = run_python(
        "from sklearn.utils.estimator_checks import estimator_checks_generator\n"
        "from fastnn.sklearn import MLPClassifier, MLPRegressor\n"
        "for kind in (MLPClassifier, MLPRegressor):\n"
        "    for estimator, check in estimator_checks_generator(kind(max_iter=2)):\n"
        "        if 'array_api' in repr(check):\n"
        "            check(estimator)\n"
        "            print('checked')\n",
        SCIPY_ARRAY_API="1",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) <= {"checked"}
