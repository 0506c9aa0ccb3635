"""The first layer for a block of four samples: small dense products, grouped by sample mask.

An input's sample mask has bit t set if the input deviates from the baseline in sample t. The inputs of each mask are
listed by ``fastnn.kernels.inputs``. Each list is a small dense product: its rows of weights are read once for all
samples of the mask, without tests and without multiplications by zero. The outer loop takes four rows at a time and
holds the values of their inputs in registers, the inner loop runs along the columns. The other order was slower: it
holds the sums of a few columns in registers and reads the list again for the next columns. The loops are built here as
LLVM code, for each number of samples in a mask: Numba would need seconds to compile them.
"""

from numba import types
from numba.extending import intrinsic

from fastnn.kernels.vector import INT1, INT32, INT64, NATIVE, ArrayEmitter, emits
from fastnn.kernels.workspace import BLOCK, N_MASKS

ROWS_AT_ONCE = 4
"""Rows of weights in one loop along the columns. Three take as long, eight longer."""


class _MaskLoops(ArrayEmitter):
    """Emits loops over sample masks, their inputs and the columns of the inputs' rows of weights.

    `rows_of` names the field of the workspace with a row of n_vectors for each sample: what is read or written there.
    """

    def __init__(self, e, kinds, records, rows_of):
        (ws_kind, layer_kind), (ws, layer) = kinds, records
        super().__init__(e, ws_kind, NATIVE)
        self.samples, self.values = self.array(ws_kind, ws, rows_of), self.array(ws_kind, ws, "deviations")
        self.lists = self.array(ws_kind, ws, "active_inputs", INT32)
        self.slots = self.array(ws_kind, ws, "active_slots", INT32)
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
            number, slot = (builder.sext(self.number(each, place, INT32), INT64) for each in (self.lists, self.slots))
            rows.append(builder.mul(number, self.stride))
            numbers = [self.number(self.values, builder.add(start, slot), self.float) for start in value_rows]
            values.append([self.splat(number, self.vector) for number in numbers])
        with self.columns(self.n_columns) as column:
            emit([builder.add(place, column) for place in places], [builder.add(row, column) for row in rows], values)


@intrinsic
def first_layer_forward(typingctx, ws, layer):
    """Write V·d / factor of each sample of a block to `block_preactivations` of the workspace."""

    def emit(e, *records):
        loops = _MaskLoops(e, (ws, layer), records, "block_preactivations")
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


@intrinsic
def first_layer_update(typingctx, ws, layer):
    """Add each sample's `block_deltas` times its deviations to the first layer's weights."""

    def emit(e, *records):
        loops = _MaskLoops(e, (ws, layer), records, "block_deltas")

        def update(samples, rows, values):
            deltas = [loops.load(loops.samples, place) for place in samples]
            for row, numbers in zip(rows, values, strict=True):
                weights = loops.load(loops.weights, row)
                for value, delta in zip(numbers, deltas, strict=True):
                    weights = e.fma(value, delta, weights)
                loops.store(weights, loops.weights, row)

        loops.for_each_mask(update)

    return emits(types.void(ws, layer), emit)
