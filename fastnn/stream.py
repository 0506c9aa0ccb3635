"""StreamNetwork: a network for rows of named features, one a call, that grows with the features of a stream."""

from __future__ import annotations

import math
import numbers
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.errors import DataError, RecipeError
from fastnn.feature_columns import FeatureColumns
from fastnn.kernels.records import LARGEST
from fastnn.network import MAX_PARAMETERS, Activation, Init, Network, Output
from fastnn.running_scaling import RunningScaling
from fastnn.stepping import Stepper

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from fastnn.datasets.sparse import SparseRows
    from fastnn.engine import StepOptions

_LAYOUTS = 64
"""Most sets of features whose columns are kept; a stream of texts has a new one in each row."""

_SPARSE_FROM, _SPARSE_SHARE = 128, 0.25
"""Rows are sparse if there are so many columns, and at most this share of them is in the row that added the last."""

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class StreamSettings:
    """What a :class:`StreamNetwork` is made of; see :class:`fastnn.river.MLPClassifier`."""

    hidden_layer_sizes: tuple[int, ...]
    activation: Activation
    output: Output
    learning_rate: float
    options: StepOptions
    standardise: bool
    max_features: int
    dtype: str
    seed: int


class _Layout(NamedTuple):
    """Where the values of rows with the same names go."""

    columns: NDArray[np.int32]
    pack: Callable[..., None]  # writes values to memory
    has_new: bool  # whether there are names without a column


class StreamNetwork:
    """A network that learns and predicts rows of named numbers, one at a time.

    :meth:`read` a row first, then :meth:`step` or :meth:`outputs`. Columns are added for new names, at least twice as
    many each time. If there are many and a row holds few of them, a step takes time only for these.

    Parameters
    ----------
    settings : StreamSettings
    n_outputs : int
        :meth:`add_output` adds more.
    """

    def __init__(self, settings: StreamSettings, n_outputs: int) -> None:
        self._settings, self._seed, self._n_outputs = settings, settings.seed, n_outputs
        _check_settings(settings)
        self._first_network(1, 1)  # checks the others
        self._learning_rate = settings.learning_rate
        self._columns = FeatureColumns(settings.max_features)
        self._fan_in = 0  # features in the first row
        self._is_sparse = False
        self._scaling = RunningScaling(0, settings.standardise)
        self._network: Network | None = None
        self._stepper: Stepper | None = None  # None as long as the network has other sizes than it should
        self._layouts: dict[tuple[Hashable, ...], _Layout] = {}
        self._layout: _Layout | None = None

    def __getstate__(self) -> dict[str, Any]:
        if self._stepper is not None:
            self._stepper.store()
        return {**vars(self), "_stepper": None, "_layouts": {}, "_layout": None}

    @property
    def feature_names(self) -> list[Hashable]:
        """The features that have a column of their own, in the order of their appearance."""
        return self._columns.names

    @property
    def network(self) -> Network | None:
        """A copy of the network as it is now; None before the first row."""
        if self._scaling.n_columns == 0 or self._n_outputs == 0:
            return None
        stepper = self._stepper or self._make_stepper()
        stepper.store()
        return stepper.network.copy()

    @property
    def learning_rate(self) -> float:
        """Factor of each step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        check_rate(rate)
        self._learning_rate = rate
        if self._stepper is not None:
            self._stepper.learning_rate = rate

    # ---- growth ----

    def _first_network(self, n_inputs: int, n_outputs: int) -> Network:
        chosen = self._settings
        network = Network(
            (n_inputs, *chosen.hidden_layer_sizes, n_outputs),
            rule="backprop",
            activation=chosen.activation,
            output=chosen.output,
            dtype=chosen.dtype,
        )
        return network.initialise(_init(chosen.activation), self._seed)

    def _make_stepper(self) -> Stepper:
        """Make the network as large as it should be, and its stepper."""
        network = self._network or self._first_network(self._fan_in, self._n_outputs)
        sizes = self._scaling.n_columns, self._n_outputs
        if sizes != (network.sizes[0], network.sizes[-1]):
            init = _init(network.activation)
            network = network.grown(*sizes, init=init, seed=self._seed, fan_in=self._fan_in)
        self._stepper = Stepper(network, learning_rate=self._learning_rate, options=self._settings.options)
        self._network = network
        return self._stepper

    def _drop_stepper(self) -> None:
        if self._stepper is not None:
            self._stepper.store()
            self._stepper = None

    def _add_features(self, names: Sequence[Hashable]) -> None:
        """Give new names columns."""
        self._columns.add(names)
        self._layouts.clear()
        self._layout = None
        needed, capacity = len(self._columns), self._scaling.n_columns
        if capacity == 0 or needed > capacity:
            self._fan_in = self._fan_in or max(1, needed)
            capacity = max(1, min(max(needed, 2 * capacity), self._columns.limit))
            self._drop_stepper()
            self._scaling.grow(capacity)
            self._is_sparse = capacity >= _SPARSE_FROM and len(names) <= _SPARSE_SHARE * capacity

    def add_output(self) -> None:
        """Add an output; the others stay as they are."""
        self._n_outputs += 1
        self._drop_stepper()

    def reset(self) -> None:
        """Draw new weights and forget all means and deviations; features and outputs stay."""
        self._seed += 1
        self._network = self._stepper = self._layout = None
        self._scaling = RunningScaling(self._scaling.n_columns, self._settings.standardise)

    # ---- one row ----

    def read(self, x: dict[Hashable, Any], learns: bool) -> None:
        """Take a row for the next :meth:`step` or :meth:`outputs`.

        Parameters
        ----------
        x : dict of hashable to number
            Features that are not in it are 0 as inputs of the network.
        learns : bool
            Whether new features get a column and the row changes means and deviations.

        Raises
        ------
        DataError
            If a value is not a finite number below 1e30. Then nothing has changed.
        """
        names = tuple(x)
        layout = self._layouts.get(names)
        if layout is None or (learns and layout.has_new):
            layout = self._new_layout(x, names, learns)
        if layout is not self._layout:
            self._scaling.select(layout.columns, self._is_sparse)
            self._layout = layout
        try:
            layout.pack(self._scaling.values, 0, *x.values())
        except (struct.error, TypeError, ValueError, OverflowError):
            check_values(x)
            raise
        if self._scaling.read(learns):
            check_values(x)

    def _new_layout(self, x: dict[Hashable, Any], names: tuple[Hashable, ...], learns: bool) -> _Layout:
        columns = self._columns.find(names)
        if learns and (-1 in columns or self._scaling.n_columns == 0):
            check_values(x)
            self._add_features(names)
            columns = self._columns.find(names)
        if len(self._layouts) >= _LAYOUTS:
            self._layouts.clear()
        pack = struct.Struct(f"{len(columns)}d").pack_into
        layout = self._layouts[names] = _Layout(np.array(columns, dtype=np.int32), pack, -1 in columns)
        return layout

    def step(self, target: Any, weight: float = 1.0) -> None:
        """Train on the row that was read last, with its class or number."""
        stepper = self._stepper or self._make_stepper()
        if self._is_sparse:
            stepper.step_sparse(*self._scaling.sparse_row, target, weight)
        else:
            stepper.step(self._scaling.row, target, weight)

    def outputs(self) -> NDArray[Any]:
        """Return the network's outputs for the row that was read last."""
        stepper = self._stepper or self._make_stepper()
        if self._is_sparse:
            return stepper.outputs_sparse(*self._scaling.sparse_row)
        return stepper.outputs(self._scaling.row)

    # ---- many rows ----

    def add_names(self, names: Sequence[Hashable]) -> None:
        """Give new names columns, as :meth:`learn_many` does.

        Raises
        ------
        DataError
            If a name cannot get one, see :class:`fastnn.feature_columns.FeatureColumns`; then nothing has changed.
        """
        if self._scaling.n_columns == 0 or -1 in self._columns.find(names):
            self._add_features(names)

    def learn_many(
        self,
        names: Sequence[Hashable],
        rows: NDArray[np.float64],
        targets: Any,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        """Train on rows in their order, as :meth:`read` and :meth:`step` do, but faster.

        Parameters
        ----------
        names : sequence of hashable, length k
        rows : ndarray of float64, shape (n, k)
            Checked by :func:`check_rows`.
        targets : ndarray, shape (n,) or (n, 1)
        weights : ndarray, shape (n,), optional
        """
        self.add_names(names)
        stepper = self._stepper or self._make_stepper()
        for part, inputs in self._parts(names, rows, learns=True):
            stepper.train(inputs, targets[part], None if weights is None else weights[part])

    def outputs_many(self, names: Sequence[Hashable], rows: NDArray[np.float64]) -> NDArray[Any]:
        """Return the outputs for rows that :func:`check_rows` has checked, shape (n, n_outputs)."""
        stepper = self._stepper or self._make_stepper()
        parts = [stepper.outputs_of(inputs) for _, inputs in self._parts(names, rows, learns=False)]
        return np.concatenate([np.zeros((0, self._n_outputs)), *parts])

    def _parts(
        self, names: Sequence[Hashable], rows: NDArray[np.float64], *, learns: bool
    ) -> Iterator[tuple[slice, NDArray[np.float64] | SparseRows]]:
        """Yield the inputs of a few rows at a time."""
        columns = np.array(self._columns.find(names), dtype=np.int32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            yield part, self._scaling.read_many(rows[part], columns, learns=learns, sparse=self._is_sparse)


def _init(activation: Activation) -> Init:
    return "he" if activation == "relu" else "xavier"


def _check_settings(settings: StreamSettings) -> None:
    for size in settings.hidden_layer_sizes:
        if not isinstance(size, numbers.Integral):
            raise RecipeError(f"hidden_layer_sizes must be whole numbers, not {size!r}")
    if settings.max_features < 1:
        raise RecipeError(f"max_features must be at least 1, not {settings.max_features!r}")
    n_weights = settings.max_features * max(settings.hidden_layer_sizes[:1], default=1)
    if n_weights > MAX_PARAMETERS // 2:  # the rest is for padding and other layers
        raise RecipeError(f"max_features {settings.max_features:,} gives {n_weights:,} weights, which is too many")
    if not 0 <= settings.options.alpha < math.inf:
        raise RecipeError(f"alpha must be finite and not negative, not {settings.options.alpha!r}")
    if not settings.options.error_limit > 0:
        raise RecipeError(f"clip_gradient must be positive, not {settings.options.error_limit!r}")
    if settings.seed < 0:
        raise RecipeError(f"seed must not be negative, but is {settings.seed!r}")
    check_rate(settings.learning_rate)


def check_rate(rate: float) -> None:
    """Raise a RecipeError unless a learning rate is positive and finite."""
    if not 0 < rate < math.inf:
        raise RecipeError(f"learning_rate must be positive and finite, not {rate!r}")


def check_values(x: Mapping[Any, Any]) -> None:
    """Raise a DataError that names the first feature whose value is not a finite number below 1e30."""
    for name, value in x.items():
        check_value(f"feature {name!r}", value)


def check_value(name: str, value: Any) -> None:
    """Raise a DataError with this name if a value is not a finite number below 1e30."""
    try:
        number = math.nan if isinstance(value, (str, bytes)) else float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        number = math.nan
    if -LARGEST < number < LARGEST:
        return
    if isinstance(value, (str, bytes)):
        fix = "; encode texts with preprocessing.OneHotEncoder first" if "feature" in name else ", but must be a number"
        raise DataError(f"{name} is the text {value!r}{fix}")
    limit = f"a number below {LARGEST:g} in size" if math.isfinite(number) else "a finite number"
    raise DataError(f"{name} is {value!r}; it must be {limit}")


def check_rows(names: Sequence[Hashable], rows: NDArray[np.float64]) -> None:
    """Raise a DataError that names row and feature of the first value that is not finite, or not below 1e30."""
    bad = np.argwhere(~(np.abs(rows) < LARGEST))
    if len(bad):
        row, column = bad[0].tolist()
        check_value(f"row {row + 1}: feature {names[column]!r}", float(rows[row, column]))
