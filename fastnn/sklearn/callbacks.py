"""scikit-learn's own callbacks, such as a progress bar, which estimators have from version 1.9 on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # an older scikit-learn

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Base of estimators without `set_callbacks`."""

    def with_callbacks(method: Any) -> Any:
        """Return the method as it is."""
        return method


if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CallbackSupportMixin", "FitTasks", "with_callbacks"]


class FitTasks:
    """Tells the callbacks of scikit-learn when a fit and its epochs begin and end.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext or None
        The fit's; None if this scikit-learn has no callbacks.
    estimator : object
        The estimator to fit.
    X, y, sample_weight : object
        What it is fitted with.
    """

    def __init__(self, context: Any, estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        self._given = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._context, self._epoch = context, None
        if context is not None:
            context.call_on_fit_task_begin(**self._given)

    def begin_epoch(self) -> None:
        """Call the callbacks before an epoch."""
        if self._context is not None:
            self._epoch = self._context.subcontext(task_name="epoch").call_on_fit_task_begin(**self._given)

    def end_epoch(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Call the callbacks after an epoch; return whether one of them ends training.

        Parameters
        ----------
        attributes : callable
            Returns the attributes that make a copy of the estimator a fitted one; called if a callback needs it.
        """
        return self._epoch is not None and bool(
            self._epoch.call_on_fit_task_end(**self._given, reconstruction_attributes=attributes)
        )

    def end(self) -> None:
        """Call the callbacks after the last epoch, when the estimator is fitted."""
        if self._context is not None:
            self._context.call_on_fit_task_end(**self._given, reconstruction_attributes={})
