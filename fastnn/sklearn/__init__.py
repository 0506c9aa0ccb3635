"""MLPClassifier and MLPRegressor, estimators for scikit-learn; only this package imports scikit-learn.

The names, parameters and attributes are those of :mod:`sklearn.neural_network` where they mean the same, so that
changing the import line is enough. Training is true stochastic gradient descent, one sample at a time.
"""

from fastnn.errors import MissingExtraError

try:
    from sklearn.utils.validation import validate_data  # noqa: F401 - new in scikit-learn 1.6
except ImportError:
    raise MissingExtraError("fastnn.sklearn", "sklearn") from None

from fastnn.sklearn.classifier import MLPClassifier
from fastnn.sklearn.network import from_sklearn, to_sklearn
from fastnn.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn", "to_sklearn"]
