"""The first layer for a block of four samples: small dense products, grouped by sample mask.

An input's sample mask has bit t set if the input deviates from the baseline in sample t. The inputs of each mask are
listed by ``fastnn.kernels.inputs``. Each list is a small dense product: its rows of weights are read once for all
samples of the mask, without tests and without multiplications by zero. The outer loop takes four rows at a time and
holds the values of their inputs in registers, the inner loop runs along the columns. The other order was slower: it
holds the sums of a few columns in registers and reads the list again for the next columns. The loops are built here as
LLVM code, for each number of samples in a mask: Numba would need seconds to compile them.

If all inputs deviate, as those of most rows of floats do, no lists are needed. Then the sums of a few columns stay in
registers along all rows of weights, and in an update the deltas.
"""

import contextlib

from numba import types
from numba.extending import intrinsic

from fastnn.kernels.vector import HALF, INT1, INT32, INT64, NATIVE, ONE, ArrayEmitter, emits
from fastnn.kernels.workspace import BLOCK, N_MASKS

ROWS_AT_ONCE = 4
"""Rows of weights in one loop along the columns. Three take as long, eight longer."""

_COLUMNS_AT_ONCE = {ONE: 4, HALF: 2}
"""Vectors in a tile of columns, for each NATIVE width: with four samples as many registers as there are."""


class _MaskLoops(ArrayEmitter):
    """Emits loops over sample masks, their inputs and the columns of the inputs' rows of weights.

    `rows_of` names the field of the workspace with a row of n_vectors for each sample: what is read or written there.
    """

    def __init__(self, e, kinds, records, rows_of, *, has_slots):
        (ws_kind, layer_kind), (ws, layer) = kinds, records
        super().__init__(e, ws_kind, NATIVE)
        self.samples, self.values = self.array(ws_kind, ws, rows_of), self.array(ws_kind, ws, "deviations")
        self.lists = self.array(ws_kind, ws, "active_inputs", INT32)
        # Without slots an input's deviation is found by its number.
        self.slots = self.array(ws_kind, ws, "active_slots", INT32) if has_slots else None
        self.ends = self.array(ws_kind, ws, "list_ends", INT64)
        self.n_slots = self.field(ws_kind, ws, "input_stride")
        self.weights, self.stride = self.array(layer_kind, layer, "weights"), self.field(layer_kind, layer, "stride")
        n_vectors, n_outputs = self.field(layer_kind, layer, "n_vectors"), self.field(layer_kind, layer, "n_outputs")
        self.row_length = self.builder.mul(n_vectors, INT64(self.whole_lanes))
        lanes = INT64(self.vector.count)
        whole = self.builder.udiv(self.builder.add(n_outputs, INT64(self.vector.count - 1)), lanes)
        self.n_columns = self.builder.mul(whole, lanes)

    def columns(self, length):
        return self.range(INT64(0), length, INT64(self.vector.count))

    def for_each_mask(self, emit):
        """Emit the body ``emit(samples, rows, values)`` of the loops, for all inputs of all masks.

        `samples` are the positions of the mask's samples in their array, `rows` those of a few rows of weights, and
        ``values[i][t]`` is row i's deviation in sample t of the mask, in every lane of a vector.
        """
        builder = self.builder
        # Code for each number of samples (4), not for each mask (15): as fast, and compiles a second faster.
        with self.range(INT64(1), INT64(N_MASKS), INT64(1)) as mask:
            first, last = builder.mul(self.n_slots, mask), self.number(self.ends, mask, INT64)
            rest = builder.sub(last, builder.urem(builder.sub(last, first), INT64(ROWS_AT_ONCE)))
            done = builder.append_basic_block("done")
            sizes = builder.switch(builder.ctpop(mask), done)
            for size in range(1, BLOCK + 1):
                sizes.add_case(INT64(size), builder.append_basic_block(f"samples_{size}"))
            for size, block in sizes.cases:
                builder.position_at_end(block)
                samples = self._samples_in(mask, size.constant)
                for start, stop, n_rows in ((first, rest, ROWS_AT_ONCE), (rest, last, 1)):
                    with self.range(start, stop, INT64(n_rows)) as index:
                        self._emit_rows(samples, index, n_rows, emit)
                builder.branch(done)
            builder.position_at_end(done)

    def _samples_in(self, mask, size):
        """Return the numbers of the `size` samples of a mask."""
        builder, samples = self.builder, []
        for _ in range(size):
            samples.append(builder.cttz(mask, INT1(1)))
            mask = builder.and_(mask, builder.sub(mask, INT64(1)))
        return samples

    def _emit_rows(self, samples, index, n_rows, emit):
        builder = self.builder
        places = [builder.mul(self.row_length, t) for t in samples]
        value_rows = [builder.mul(self.n_slots, t) for t in samples]
        rows, values = [], []
        for i in range(n_rows):
            place = builder.add(index, INT64(i))
            number = builder.sext(self.number(self.lists, place, INT32), INT64)
            slot = number if self.slots is None else builder.sext(self.number(self.slots, place, INT32), INT64)
            rows.append(builder.mul(number, self.stride))
            numbers = [self.number(self.values, builder.add(start, slot), self.float) for start in value_rows]
            values.append([self.splat(number, self.vector) for number in numbers])
        with self.columns(self.n_columns) as column:
            emit([builder.add(place, column) for place in places], [builder.add(row, column) for row in rows], values)


def _make_forward(has_slots):
    @intrinsic
    def first_layer_forward(typingctx, ws, layer):
        """Write V·d / factor of each sample of a block to `block_preactivations` of the workspace."""

        def emit(e, *records):
            loops = _MaskLoops(e, (ws, layer), records, "block_preactivations", has_slots=has_slots)
            with loops.columns(e.builder.mul(loops.row_length, INT64(BLOCK))) as column:
                loops.store(loops.zero, loops.samples, column)

            def add_products(samples, rows, values):
                sums = [loops.load(loops.samples, place) for place in samples]
                for row, numbers in zip(rows, values, strict=True):
                    weights = loops.load(loops.weights, row)
                    sums = [e.fma(value, weights, total) for value, total in zip(numbers, sums, strict=True)]
                for place, total in zip(samples, sums, strict=True):
                    loops.store(total, loops.samples, place)

            loops.for_each_mask(add_products)

        return emits(types.void(ws, layer), emit)

    return first_layer_forward


def _make_update(has_slots):
    @intrinsic
    def first_layer_update(typingctx, ws, layer):
        """Add each sample's `block_deltas` times its deviations to the first layer's weights."""

        def emit(e, *records):
            loops = _MaskLoops(e, (ws, layer), records, "block_deltas", has_slots=has_slots)

            def update(samples, rows, values):
                deltas = [loops.load(loops.samples, place) for place in samples]
                for row, numbers in zip(rows, values, strict=True):
                    weights = loops.load(loops.weights, row)
                    for value, delta in zip(numbers, deltas, strict=True):
                        weights = e.fma(value, delta, weights)
                    loops.store(weights, loops.weights, row)

            loops.for_each_mask(update)

        return emits(types.void(ws, layer), emit)

    return first_layer_update


first_layer_forward, first_layer_update = _make_forward(has_slots=False), _make_update(has_slots=False)
slots_forward, slots_update = _make_forward(has_slots=True), _make_update(has_slots=True)


# ---- all inputs deviate ----


class _DenseLoops(ArrayEmitter):
    """Emits loops over tiles of columns, and along all rows of weights for each."""

    def __init__(self, e, kinds, records, rows_of):
        (ws_kind, layer_kind), (ws, layer) = kinds, records
        super().__init__(e, ws_kind, NATIVE)
        self.samples, self.values = self.array(ws_kind, ws, rows_of), self.array(ws_kind, ws, "deviations")
        self.n_slots = self.field(ws_kind, ws, "input_stride")
        self.weights, self.stride = self.array(layer_kind, layer, "weights"), self.field(layer_kind, layer, "stride")
        self.n_inputs, n_outputs = self.field(layer_kind, layer, "n_inputs"), self.field(layer_kind, layer, "n_outputs")
        self.row_length = self.builder.mul(self.field(layer_kind, layer, "n_vectors"), INT64(self.whole_lanes))
        lanes = INT64(self.vector.count)
        self.n_vectors = self.builder.udiv(self.builder.add(n_outputs, INT64(self.vector.count - 1)), lanes)

    def for_each_tile(self, size, emit):
        """Emit ``emit(samples, columns)`` for each tile of columns: positions of its vectors, and numbers of samples.

        A block that is not full is taken one sample at a time, so that there is less code.
        """
        with self.builder.if_else(self.builder.icmp_signed("==", size, INT64(BLOCK))) as (whole, part):
            with whole:
                self._tiles([INT64(t) for t in range(BLOCK)], emit)
            with part, self.range(INT64(0), size, INT64(1)) as t:
                self._tiles([t], emit)

    def _tiles(self, samples, emit):
        builder, wide, lanes = self.builder, _COLUMNS_AT_ONCE[NATIVE], INT64(self.vector.count)
        rest = builder.sub(self.n_vectors, builder.urem(self.n_vectors, INT64(wide)))
        for start, stop, width in ((INT64(0), rest, wide), (rest, self.n_vectors, 1)):
            with self.range(start, stop, INT64(width)) as first:
                emit(samples, [builder.mul(builder.add(first, INT64(c)), lanes) for c in range(width)])

    def places(self, samples, columns):
        """Return the positions of the columns in the row of each sample."""
        rows = [self.builder.mul(self.row_length, t) for t in samples]
        return [[self.builder.add(row, column) for column in columns] for row in rows]

    @contextlib.contextmanager
    def rows(self, samples, columns):
        """Emit a loop over all inputs; yields the positions of the row's weights and its deviations in each sample."""
        with self.range(INT64(0), self.n_inputs, INT64(1)) as j:
            start = self.builder.mul(j, self.stride)
            values = [self.builder.add(j, self.builder.mul(self.n_slots, t)) for t in samples]
            numbers = [self.splat(self.number(self.values, value, self.float), self.vector) for value in values]
            yield [self.builder.add(start, column) for column in columns], numbers


@intrinsic
def dense_forward(typingctx, ws, layer, size):
    """Write V·d of each sample of a block of `size` to `block_preactivations`, for inputs that all deviate."""

    def emit(e, ws_record, layer_record, size):
        loops = _DenseLoops(e, (ws, layer), (ws_record, layer_record), "block_preactivations")

        def add_products(samples, columns):
            sums = [[loops.variable(loops.vector, loops.zero) for _ in columns] for _ in samples]
            with loops.rows(samples, columns) as (weights, numbers):
                loaded = [loops.load(loops.weights, place) for place in weights]
                for row, number in zip(sums, numbers, strict=True):
                    for total, weight in zip(row, loaded, strict=True):
                        so_far = e.builder.load(total, typ=loops.vector)
                        e.builder.store(e.fma(number, weight, so_far), total)
            for row, totals in zip(loops.places(samples, columns), sums, strict=True):
                for place, total in zip(row, totals, strict=True):
                    loops.store(e.builder.load(total, typ=loops.vector), loops.samples, place)

        loops.for_each_tile(size, add_products)

    return emits(types.void(ws, layer, types.int64), emit)


@intrinsic
def dense_update(typingctx, ws, layer, size):
    """Add `block_deltas` times the deviations of a block of `size` samples to the weights; all inputs deviate."""

    def emit(e, ws_record, layer_record, size):
        loops = _DenseLoops(e, (ws, layer), (ws_record, layer_record), "block_deltas")

        def update(samples, columns):
            deltas = [[loops.load(loops.samples, place) for place in row] for row in loops.places(samples, columns)]
            with loops.rows(samples, columns) as (weights, numbers):
                for c, place in enumerate(weights):
                    weight = loops.load(loops.weights, place)
                    for row, number in zip(deltas, numbers, strict=True):
                        weight = e.fma(number, row[c], weight)
                    loops.store(weight, loops.weights, place)

        loops.for_each_tile(size, update)

    return emits(types.void(ws, layer, types.int64), emit)
