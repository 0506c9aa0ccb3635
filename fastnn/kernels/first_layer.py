"""The first layer for a block of four samples: small dense products, grouped by sample mask.

An input's sample mask has bit t set if the input deviates from the baseline in sample t. The inputs of each mask are
listed by ``fastnn.kernels.inputs``. Each list is a small dense product: its rows of weights are read once for all
samples of the mask, without tests and without multiplications by zero. The outer loop takes four rows at a time and
holds the values of their inputs in registers, the inner loop runs along the columns. The other order was slower: it
holds the sums of a few columns in registers and reads the list again for the next columns. The loops are built here as
LLVM code, for each number of samples in a mask: Numba would need seconds to compile them.

If all inputs deviate, as those of most rows of floats do, no lists are needed. Then the sums of a few columns stay in
registers along all rows of weights. An update takes four whole rows at a time, and fetches the next block's rows of
data meanwhile: what is fetched earlier has left the second-level cache when it is read (784-400-100-10: 2 % each).
"""

from numba import types
from numba.extending import intrinsic

from fastnn.kernels.vector import HALF, INT1, INT8, INT32, INT64, NATIVE, ONE, ArrayEmitter, emits
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
    """Emits loops over the rows of weights of all inputs, and over their columns, for the samples of a block."""

    def __init__(self, e, kinds, records, rows_of):
        (ws_kind, layer_kind), (ws, layer) = kinds, records
        super().__init__(e, ws_kind, NATIVE)
        self.samples, self.values = self.array(ws_kind, ws, rows_of), self.array(ws_kind, ws, "deviations")
        self.next_rows = self.array(ws_kind, ws, "next_rows", INT64)
        self.value_bytes = self.field(ws_kind, ws, "value_bytes")
        self.n_slots = self.field(ws_kind, ws, "input_stride")
        self.weights, self.stride = self.array(layer_kind, layer, "weights"), self.field(layer_kind, layer, "stride")
        self.n_inputs, n_outputs = self.field(layer_kind, layer, "n_inputs"), self.field(layer_kind, layer, "n_outputs")
        self.row_length = self.builder.mul(self.field(layer_kind, layer, "n_vectors"), INT64(self.whole_lanes))
        self.lanes = INT64(self.vector.count)
        self.n_vectors = self.builder.udiv(self.builder.add(n_outputs, INT64(self.vector.count - 1)), self.lanes)

    def for_samples(self, size, emit):
        """Emit ``emit(samples)`` for the numbers of the samples of a block of `size`.

        A block that is not full is taken one sample at a time, so that there is less code.
        """
        with self.builder.if_else(self.builder.icmp_signed("==", size, INT64(BLOCK))) as (whole, part):
            with whole:
                emit([INT64(t) for t in range(BLOCK)])
            with part, self.range(INT64(0), size, INT64(1)) as t:
                emit([t])

    def for_each(self, n, at_once, emit):
        """Emit ``emit(first, count)`` for 0 to n - 1: `at_once` of them at a time, then one at a time."""
        rest = self.builder.sub(n, self.builder.urem(n, INT64(at_once)))
        for start, stop, count in ((INT64(0), rest, at_once), (rest, n, 1)):
            with self.range(start, stop, INT64(count)) as first:
                emit(first, count)

    def rows_of_samples(self, samples):
        """Return a pointer to the row of each sample."""
        return [self.place(self.samples, self.builder.mul(self.row_length, t), self.float) for t in samples]

    def numbers(self, samples, j):
        """Return the deviation of input j in each sample, in every lane of a vector."""
        places = [self.builder.add(j, self.builder.mul(self.n_slots, t)) for t in samples]
        return [self.splat(self.number(self.values, place, self.float), self.vector) for place in places]

    def fetch(self, j):
        """Prefetch the value of input j in each sample of the next block."""
        offset = self.builder.mul(j, self.value_bytes)
        for t in range(BLOCK):
            row = self.builder.inttoptr(self.number(self.next_rows, INT64(t), INT64), INT8.as_pointer())
            self.prefetch(self.place(row, offset, INT8))


@intrinsic
def dense_forward(typingctx, ws, layer, size):
    """Write V·d of each sample of a block of `size` to `block_preactivations`, for inputs that all deviate."""

    def emit(e, ws_record, layer_record, size):
        loops = _DenseLoops(e, (ws, layer), (ws_record, layer_record), "block_preactivations")

        def add_products(samples):
            def add_tile(first, width):
                columns = [e.builder.mul(e.builder.add(first, INT64(c)), loops.lanes) for c in range(width)]
                sums = [[loops.variable(loops.vector, loops.zero) for _ in columns] for _ in samples]
                with loops.range(INT64(0), loops.n_inputs, INT64(1)) as j:
                    start, numbers = e.builder.mul(j, loops.stride), loops.numbers(samples, j)
                    loaded = [loops.load(loops.weights, e.builder.add(start, column)) for column in columns]
                    for row, number in zip(sums, numbers, strict=True):
                        for total, weight in zip(row, loaded, strict=True):
                            so_far = e.builder.load(total, typ=loops.vector)
                            e.builder.store(e.fma(number, weight, so_far), total)
                for row, totals in zip(loops.rows_of_samples(samples), sums, strict=True):
                    for column, total in zip(columns, totals, strict=True):
                        loops.store(e.builder.load(total, typ=loops.vector), row, column)

            loops.for_each(loops.n_vectors, _COLUMNS_AT_ONCE[NATIVE], add_tile)

        loops.for_samples(size, add_products)

    return emits(types.void(ws, layer, types.int64), emit)


@intrinsic
def dense_update(typingctx, ws, layer, size):
    """Add `block_deltas` times the deviations of a block of `size` samples to the weights; all inputs deviate."""

    def emit(e, ws_record, layer_record, size):
        loops = _DenseLoops(e, (ws, layer), (ws_record, layer_record), "block_deltas")

        def update(samples):
            def update_rows(first, n_rows):
                if len(samples) == BLOCK:
                    loops.fetch(first)
                inputs = [e.builder.add(first, INT64(k)) for k in range(n_rows)]
                rows = [loops.place(loops.weights, e.builder.mul(j, loops.stride), loops.float) for j in inputs]
                factors, deltas = [loops.numbers(samples, j) for j in inputs], loops.rows_of_samples(samples)
                with loops.range(INT64(0), e.builder.mul(loops.n_vectors, loops.lanes), loops.lanes) as column:
                    loaded = [loops.load(delta, column) for delta in deltas]
                    for row, numbers in zip(rows, factors, strict=True):
                        weight = loops.load(row, column)
                        for number, delta in zip(numbers, loaded, strict=True):
                            weight = e.fma(number, delta, weight)
                        loops.store(weight, row, column)

            loops.for_each(loops.n_inputs, ROWS_AT_ONCE, update_rows)

        loops.for_samples(size, update)

    return emits(types.void(ws, layer, types.int64), emit)
