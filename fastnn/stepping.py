"""Stepper: trains a network on one row of numbers a call, as rows arrive, and predicts one row a call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.sparse import SparseRows
from fastnn.engine import Engine, StepOptions, check_decay
from fastnn.errors import DataError, ModelError
from fastnn.inputs import KernelInput, RowInput, SparseInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from fastnn.datasets.scaling import Scaling
    from fastnn.engine import SavedWeights
    from fastnn.kernels.workspace import ArgumentBlock
    from fastnn.network import Network

_ROWS_AT_ONCE = 1024
"""Rows that are looked at at once for a bad value."""

_EXACT_IN_FLOAT64 = "?bBhHiIefd"
"""NumPy's characters of types whose values float64 has all."""


class Stepper:
    """Trains a network on one row a call, one after the other, and predicts; the network stays in the kernels' memory.

    A step is the same as in :class:`fastnn.Trainer`: stochastic gradient descent on one sample. One of a network of
    10-50-2 units takes less than 1.3 microseconds, the call from Python included, if `x` is an array of float64.

    Not for several threads at the same time.

    Parameters
    ----------
    network : Network
        Its weights are copied; :meth:`store` writes them back.
    learning_rate : float
        May be set later: ``stepper.learning_rate = 0.001``.
    options : StepOptions, optional
        Weight decay, dropout, label smoothing, limits of errors. Dropout counts the samples of this stepper.
    scaling : Scaling, optional
        The network's input is (value - mean) * factor; see :meth:`rescale`.

    Attributes
    ----------
    network : Network
    totals : ndarray of float64, shape (2,)
        Sums over all samples trained on: of the losses, and of the right answers (for outputs without activation of
        the squared errors), each before the sample's own update. The caller may set them to 0.

    Raises
    ------
    ModelError
        If the network is frozen, since it belongs to a model.
    DataError
        If the scaling does not fit the network.
    RecipeError
        If the learning rate times alpha is 1 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.network import Network
    >>> from fastnn.stepping import Stepper
    >>> network = Network((2, 8, 2), rule="backprop", activation="tanh").initialise("xavier")
    >>> stepper = Stepper(network, learning_rate=0.1)
    >>> for x, label in 200 * [((0.0, 1.0), 0), ((1.0, 0.0), 1)]:
    ...     stepper.step(np.array(x), label)
    >>> int(stepper.outputs(np.array([1.0, 0.0])).argmax())
    1
    """

    def __init__(
        self,
        network: Network,
        *,
        learning_rate: float,
        options: StepOptions | None = None,
        scaling: Scaling | None = None,
    ) -> None:
        if network.frozen:
            raise ModelError("the network belongs to a model and is frozen; train a copy of it, network.copy()")
        self.network, self._options = network, options or StepOptions()
        self._n_inputs, self._n_outputs = network.sizes[0], network.sizes[-1]
        self._by_class = network.loss in ("original", "cross_entropy")
        self.totals = np.zeros(2)
        # What a step reads; views of their memory are set faster than the arrays.
        self._row = np.zeros((1, self._n_inputs))
        view: Any = memoryview
        self._x = view(self._row[0])
        self._label, self._target = np.zeros(1, dtype=np.int64), np.zeros((1, self._n_outputs), dtype=network.dtype)
        self._label_view, self._target_view = view(self._label), view(self._target[0])
        self._weight, self._last_weight = np.ones(1, dtype=network.dtype), 1.0
        self._output = np.zeros(self._n_outputs, dtype=network.dtype)
        # Dense, since an input that is not 0 in this row need not be so in the next one.
        self._rows = RowInput(self._row, network.dtype, first_layer="dense")
        self._scaling: Scaling | None = None
        self._sparse: SparseInput | None = None
        self._sparse_row: SparseInput | None = None
        self._largest: float | None = None
        if scaling is not None:
            self.rescale(scaling)
        self._engine = Engine(network, regularised=bool(self._options.alpha or self._options.dropout))
        self._saved: SavedWeights | None = None
        self._data: KernelInput | None = None  # of the last call; its kind is what the engine is ready for
        self._step_block: ArgumentBlock | None = None
        self._learning_rate = self._checked_rate(learning_rate)

    def _bind(self, data: KernelInput) -> None:
        """Make the argument blocks of single steps and predictions, which read the buffers of `data`."""
        self._kernel = self._engine.kernel
        targets = self._label if self._by_class else self._target
        # The engine checks the label, but the kernel shall: this may be that of a row to refuse, now or before.
        label, self._label[0] = self._label[0], 0
        self._step_block = self._engine.arguments_of_first(data, targets, self.totals, self._weight, self._options)
        self._label[0] = label
        self._output_block = self._step_block.copy()
        self._output_block.put(outputs=self._output)
        self._step_at, self._output_at = self._step_block.address, self._output_block.address
        self._step_refused = self._step_block.word("refused")
        self._output_refused = self._output_block.word("refused")
        self.learning_rate = self._learning_rate

    @property
    def learning_rate(self) -> float:
        """Factor of each step; finite and not negative."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._learning_rate = self._checked_rate(rate)
        if self._step_block is not None:
            record = self._step_block.record
            record["learning_rate"], record["decay"] = rate, rate * self._options.alpha

    def _checked_rate(self, rate: float) -> float:
        if not 0 <= rate < math.inf:
            raise ValueError(f"the learning rate must be finite and not negative, not {rate!r}")
        check_decay(rate, self._options)
        return float(rate)

    # ---- one row ----

    def step(self, x: ArrayLike, target: Any, weight: float = 1.0) -> None:
        """Train on one row.

        Parameters
        ----------
        x : array_like, shape (n_inputs,)
            Numbers; fastest as an array of float64.
        target : int, float or array_like, shape (n_outputs,)
            The class, from 0 to n_outputs - 1, for a softmax and for rule original. Else a number for each output, 0 to
            1 for sigmoids; or one number for a single output.
        weight : float
            Factor of the learning rate for this row; finite and not negative.

        Raises
        ------
        DataError
            If `x`, `target` or `weight` has another shape or is not finite. Then the network has not changed. Nor has
            it if the loss is not finite, which `totals` tell.
        """
        try:
            self._x[:] = x  # fails for all but arrays of float64 of this length
        except (TypeError, ValueError):
            self._set_row(x)
        if self._by_class:
            try:
                self._label_view[0] = target
            except (TypeError, ValueError):
                raise self._bad_target(target) from None
        elif self._n_outputs == 1 and isinstance(target, float):
            self._target_view[0] = target
        else:
            self._set_target(target)
        if weight != self._last_weight:
            self._set_weight(weight)
        if self._data is not self._rows:
            self._use(self._rows)
        self._kernel(self._step_at)
        refused = self._step_refused[0]
        if refused:
            self._step_refused[0] = 0
            if refused > 0:
                raise self._fault(target)

    def outputs(self, x: ArrayLike) -> NDArray[Any]:
        """Return the network's outputs for one row, shape (n_outputs,); DataError as for :meth:`step`."""
        try:
            self._x[:] = x
        except (TypeError, ValueError):
            self._set_row(x)
        if self._data is not self._rows:
            self._use(self._rows)
        self._kernel(self._output_at)
        if self._output_refused[0]:
            self._output_refused[0] = 0
            raise self._fault(None)
        return self._output.copy()

    def _set_row(self, x: Any) -> None:
        if not (isinstance(x, np.ndarray) and x.shape == (self._n_inputs,) and x.dtype.char in _EXACT_IN_FLOAT64):
            x = _numbers("x", x, self._n_inputs)
        self._row[0] = x

    def step_sparse(self, values: NDArray[Any], columns: NDArray[Any], target: Any, weight: float = 1.0) -> None:
        """Train on one row that is mostly 0, at a cost that depends on the other values alone.

        Parameters
        ----------
        values : ndarray, shape (m,)
            Numbers; those of the same column are added.
        columns : ndarray of int, shape (m,)
            Column of each value; fastest as int32.
        target, weight
            As for :meth:`step`.

        Raises
        ------
        DataError
            As for :meth:`step`.
        """
        row = self._set_sparse_row(values, columns)
        if self._by_class:
            if not (isinstance(target, (int, np.integer)) and 0 <= target < self._n_outputs):
                raise self._bad_target(target)
            self._label_view[0] = target
        else:
            self._set_target(target)
            if not np.isfinite(self._target).all():
                raise self._bad_target(target)
        if weight != self._last_weight:
            self._set_weight(weight)
        if self._data is not row:
            self._use(row)
        self._kernel(self._step_at)

    def outputs_sparse(self, values: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
        """Return the network's outputs for one row as in :meth:`step_sparse`, shape (n_outputs,)."""
        row = self._set_sparse_row(values, columns)
        if self._data is not row:
            self._use(row)
        self._kernel(self._output_at)
        return self._output.copy()

    def _set_sparse_row(self, values: NDArray[Any], columns: NDArray[Any]) -> SparseInput:
        n, row = len(values), self._sparse_row
        if len(columns) != n:
            raise DataError(f"values and columns must have the same length, not {n} and {len(columns)}")
        if row is None or n > len(row.arrays["data"]):
            memory = 2 * n + 1
            zeros = np.zeros(memory, self.network.dtype), np.zeros(memory, np.int32)
            rows = SparseRows(*zeros, np.array([0, memory]), self._n_inputs)
            row = self._sparse_row = self._sparse_template().like(rows)
        own, indices = row.arrays["data"][:n], row.arrays["indices"][:n]
        with np.errstate(over="ignore", invalid="ignore"):
            own[...] = values
            squares = float(own.dot(own))
        # Cheap, and enough for all but huge values; negative columns are large as unsigned numbers.
        good = columns.dtype == np.int32 and n * squares <= min(self._largest_value(), 1e150) ** 2
        if n and not (good and columns.view(np.uint32).max() < self._n_inputs):
            self._sparse_rows(SparseRows(values, columns, np.array([0, n]), self._n_inputs))
        indices[...] = columns
        row.arrays["row_starts"][1] = n
        return row

    def _set_target(self, target: Any) -> None:
        with np.errstate(over="ignore"):  # seen by the kernel
            self._target[0] = _numbers("target", target, self._n_outputs)

    def _set_weight(self, weight: float) -> None:
        try:
            with np.errstate(over="ignore"):
                factor = self._weight.dtype.type(weight)
        except (TypeError, ValueError):
            factor = math.nan
        if not 0 <= factor < math.inf:
            raise DataError(f"weight: must be finite and not negative, not {weight!r}")
        self._weight[0], self._last_weight = factor, weight

    def _fault(self, target: Any) -> DataError:
        """Return the error of a row that the kernel has refused."""
        fault = self._first_bad_value(self._row)
        if fault is not None:
            _, column, reason = fault
            return DataError(f"x[{column}] {reason}")
        return self._bad_target(target)

    def _bad_target(self, target: Any) -> DataError:
        if self._by_class:
            return DataError(f"target: must be a class from 0 to {self._n_outputs - 1}, not {target!r}")
        return DataError(f"target: must be finite, not {target!r}")

    # ---- many rows ----

    def train(
        self,
        X: Any,  # noqa: N803
        targets: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        undoable: bool = False,
    ) -> None:
        """Train on rows in their order, as :meth:`step` does within rounding errors, but faster.

        Parameters
        ----------
        X : array_like, SparseRows or SciPy sparse matrix, shape (n, n_inputs)
            Numbers. float64 in C order is read where it is, other arrays are converted a few at a time. Values of the
            same column in a sparse row are added.
        targets : array_like, shape (n,) or (n, n_outputs)
            As in :meth:`step`.
        weights : array_like, shape (n,), optional
            Factors of the learning rate.
        undoable : bool
            Whether :meth:`undo` can undo it, until :meth:`keep` is called. Of sparse rows without a scaling it costs
            as much as the values that are not 0; else as much as all weights.

        Raises
        ------
        DataError
            If an argument has another shape or is not finite, with the row and the column. Then the network has not
            changed. An exception such as KeyboardInterrupt may come between rows.
        """
        rows = self._checked_rows(X)
        n = rows.n if isinstance(rows, SparseInput) else len(rows)
        wanted, factors = self._checked_targets(targets, n), self._checked_weights(weights, n)
        self._saved = None
        if undoable:
            first = rows if isinstance(rows, SparseInput) else self._rows
            self._use(first)
            self._saved = self._engine.save_weights(first, n, self._learning_rate * self._options.alpha)
        for data, order, start in self._parts(rows):
            part = slice(start, start + len(order)) if data is not rows else slice(None)
            part_factors = None if factors is None else factors[part]
            self._engine.train(
                data,
                wanted[part],
                order,
                self._learning_rate,
                self.totals,
                weights=part_factors,
                options=self._options,
            )

    def undo(self) -> None:
        """Undo the last :meth:`train` if it was undoable, also if an exception ended it; `totals` stay."""
        if self._saved is not None:
            self._engine.restore_weights(self._saved)
            self._saved = None

    def is_finite(self) -> bool:
        """Return whether the totals are finite, and the weights that the last undoable :meth:`train` may have set."""
        weights = self._saved is None or self._engine.is_finite(self._saved)
        return weights and bool(np.isfinite(self.totals).all())

    def keep(self) -> None:
        """Free the memory that :meth:`undo` would need."""
        self._saved = None

    def outputs_of(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the network's outputs for rows, shape (n, n_outputs); DataError as for :meth:`train`."""
        rows = self._checked_rows(X)
        if isinstance(rows, SparseInput):
            self._use(rows)
            return self._engine.outputs(rows)
        parts = [self._engine.outputs(data) for data, _, _ in self._parts(rows)]
        return np.concatenate(parts) if parts else np.empty((0, self._n_outputs), self.network.dtype)

    def _parts(self, rows: SparseInput | NDArray[Any]) -> Iterator[tuple[KernelInput, NDArray[np.int64], int]]:
        """Yield rows in the form of the kernel, the order of those to take, and how many came before."""
        if isinstance(rows, SparseInput):
            self._use(rows)
            chunk = self._engine.chunk_size(rows)
            for start in range(0, rows.n, chunk):
                yield rows, np.arange(start, min(start + chunk, rows.n)), start
            return
        self._use(self._rows)
        chunk = self._engine.chunk_size(self._rows)
        for start in range(0, len(rows), chunk):
            part = np.ascontiguousarray(rows[start : start + chunk], dtype=np.float64)
            yield self._rows.with_rows(part), np.arange(len(part)), start

    def _checked_rows(self, X: Any) -> SparseInput | NDArray[Any]:  # noqa: N803
        if isinstance(X, SparseRows) or hasattr(X, "tocsr"):
            return self._sparse_rows(X if isinstance(X, SparseRows) else SparseRows.from_scipy(X))
        rows = _as_array("X", X)
        if rows.ndim != 2 or rows.shape[1] != self._n_inputs:
            raise DataError(f"X: must have the shape (n, {self._n_inputs}), not {rows.shape}")
        if rows.size and not _largest(rows) <= self._largest_value():
            fault = self._first_bad_value(rows)
            if fault is not None:
                row, column, reason = fault
                raise DataError(f"X[{row}, {column}] {reason}")
        return rows

    def _use(self, data: KernelInput) -> None:
        """Choose the kernel for the kind of data."""
        if self._data is None:
            self._engine.load_weights(data)
        elif data.reader != self._data.reader or data.baseline is not self._data.baseline:
            self._engine.change_kind(data)
        self._data = data
        if data is self._rows or data is self._sparse_row:
            self._bind(data)

    def _sparse_template(self) -> SparseInput:
        """Return sparse rows with this scaling, without any."""
        if self._sparse is None:
            scaling = {} if self._scaling is None else {"mean": self._scaling.mean, "scale": self._scaling.factor}
            none = SparseRows(np.zeros(0), np.zeros(0, np.int32), np.zeros(1, np.int64), self._n_inputs)
            self._sparse = SparseInput.from_rows(none, self.network.dtype, **scaling)
        return self._sparse

    def _sparse_rows(self, rows: SparseRows) -> SparseInput:
        """Return checked sparse rows for the kernel."""
        if rows.n_columns != self._n_inputs:
            raise DataError(f"X: must have the shape (n, {self._n_inputs}), not {rows.shape}")
        with np.errstate(over="ignore", invalid="ignore"):  # seen in the values
            data = self._sparse_template().like(rows)
            n_values = rows.row_starts[-1]
            values, columns = data.arrays["data"][:n_values], rows.indices[:n_values]
            longest = int(np.diff(rows.row_starts).max(initial=1))
            if values.size and not _largest(values) * longest <= self._largest_value():
                scaled = values * data.arrays["scales"][columns]
                bad = np.flatnonzero(~np.isfinite(scaled))
                place = int(bad[0]) if bad.size else _first_overflow(scaled, rows.row_starts)
                if place is not None:
                    row = int(np.searchsorted(rows.row_starts, place, side="right")) - 1
                    reason = _reason(rows.values[place], self.network.dtype)
                    raise DataError(f"X[{row}, {columns[place]}] {reason}")
        return data

    def _checked_targets(self, targets: ArrayLike, n: int) -> NDArray[Any]:
        wanted, classes = _as_array("targets", targets), self._n_outputs
        if self._by_class:
            if wanted.shape != (n,) or wanted.dtype.kind not in "biu":
                raise DataError(f"targets: must be {n} classes (whole numbers), not {wanted.dtype} {wanted.shape}")
            bad = np.flatnonzero((wanted < 0) | (wanted >= classes))
            if bad.size:
                raise DataError(f"targets[{bad[0]}]: must be a class from 0 to {classes - 1}, not {wanted[bad[0]]}")
            return np.ascontiguousarray(wanted, dtype=np.int64)
        if wanted.shape == (n,) and classes == 1:
            wanted = wanted[:, None]
        if wanted.shape != (n, classes):
            raise DataError(f"targets: must have the shape ({n}, {classes}), not {wanted.shape}")
        with np.errstate(over="ignore"):
            numbers = np.ascontiguousarray(wanted, dtype=self.network.dtype)
        places = np.argwhere(~np.isfinite(numbers))
        if len(places):
            row, column = places[0].tolist()
            raise DataError(f"targets[{row}, {column}] {_reason(wanted[row, column], self.network.dtype)}")
        return numbers

    def _checked_weights(self, weights: ArrayLike | None, n: int) -> NDArray[Any] | None:
        if weights is None:
            return None
        given = _as_array("weights", weights)
        if given.shape != (n,):
            raise DataError(f"weights: must have the shape ({n},), not {given.shape}")
        with np.errstate(over="ignore"):
            factors = np.ascontiguousarray(given, dtype=self.network.dtype)
        bad = np.flatnonzero(~((factors >= 0) & np.isfinite(factors)))
        if bad.size:
            raise DataError(f"weights[{bad[0]}] is {given[bad[0]]}; it must be finite and not negative")
        return factors

    # ---- scaling ----

    def rescale(self, scaling: Scaling) -> None:
        """Scale the inputs of all later calls by other means and factors; the weights stay as they are.

        So the network computes the same function of its scaled inputs, and another one of the values. For an online
        standardisation, whose scaling changes less and less.

        Raises
        ------
        DataError
            If it has not one mean and factor for each input. If one is not finite, the next row is refused.
        """
        mean, factor, shape = scaling.mean, scaling.factor, (self._n_inputs,)
        if mean.shape != shape or factor.shape != shape:
            raise DataError(f"scaling: must have means and factors of shape {shape}, not {mean.shape}, {factor.shape}")
        self._rows.arrays["levels"][...] = mean
        self._rows.arrays["scales"][...] = factor
        self._scaling, self._sparse, self._sparse_row, self._largest = scaling, None, None, None

    def _largest_value(self) -> float:
        """Return a bound: values whose size is at most this are finite when they are scaled."""
        if self._largest is None:
            mean, factor = (np.abs(self._rows.arrays[name]) for name in ("levels", "scales"))
            # Far from the limit of the type, so that rounding does not matter.
            limit = min(float(np.finfo(self.network.dtype).max), float(np.finfo(np.float64).max) / 4) / 2
            with np.errstate(divide="ignore", over="ignore"):
                self._largest = float((np.minimum(limit / np.maximum(factor, 1.0), limit) - mean).min())
        return self._largest

    def _first_bad_value(self, rows: NDArray[Any]) -> tuple[int, int, str] | None:
        """Return row, column and what is wrong with the first value that is not finite when it is scaled, or None."""
        levels, scales = (self._rows.arrays[name] for name in ("levels", "scales"))
        for part in large_arrays.parts(len(rows), rows.shape[1], _ROWS_AT_ONCE):
            some = rows[part]
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = ((some.astype(np.float64) - levels) * scales).astype(self.network.dtype)
            found = np.argwhere(~np.isfinite(scaled))
            if len(found):
                row, column = found[0].tolist()
                if not (math.isfinite(levels[column]) and math.isfinite(scales[column])):
                    return part.start + row, column, "has a scaling that is not finite"
                return part.start + row, column, _reason(some[row, column], self.network.dtype)
        return None

    # ---- weights ----

    def store(self) -> None:
        """Write the weights to the network, which has its old ones until then; training may go on."""
        if self._data is not None:
            self._engine.store_weights()


def _as_array(name: str, given: ArrayLike) -> NDArray[Any]:
    """Return an array of real numbers; DataError for anything else."""
    try:
        array = np.asarray(given)
    except ValueError as error:  # lists of several lengths
        raise DataError(f"{name}: must be numbers ({error})") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name}: must be numbers, not {array.dtype}")
    return array


def _numbers(name: str, given: ArrayLike, n: int) -> NDArray[np.float64]:
    """Return n numbers as float64; those that are too large become infinite."""
    array = _as_array(name, given)
    if array.shape != (n,) and not (array.shape == () and n == 1):
        raise DataError(f"{name}: must have the shape ({n},), not {array.shape}")
    with np.errstate(over="ignore"):
        return array.astype(np.float64)


def _largest(values: NDArray[Any]) -> float:
    """Return the largest size of the values; NaN if one is NaN."""
    return max(-float(values.min()), float(values.max()))


def _reason(value: Any, dtype: np.dtype[Any]) -> str:
    """Return what is wrong with a value that is not finite in a type."""
    if np.isfinite(value):
        return f"is {value:g}, too large for {dtype} when it is scaled"
    return f"is {value}; it must be a finite number"


def _first_overflow(scaled: NDArray[Any], starts: NDArray[np.int64]) -> int | None:
    """Return the place of the first value of a row whose values may have a sum that is not finite, or None."""
    sums = np.concatenate([[0.0], np.cumsum(np.abs(scaled), dtype=np.float64)])
    too_large = np.flatnonzero(np.diff(sums[starts]) > np.finfo(scaled.dtype).max / 2)
    return int(starts[too_large[0]]) if too_large.size else None
