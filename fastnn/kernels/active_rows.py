"""The rows of weights of a layer's non-zero inputs: intrinsics for the layers above ReLU units.

About half of the inputs are 0; their rows are neither read nor written. An update takes four rows at a time, column by
column, and keeps their sums in registers. Its stores are the weights alone, one vector in two cycles on Zen 4; with the
sums in memory, between tiles of columns, 400-100-10 took 0.3 us longer for a sample.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.vector import INT32, INT64, NATIVE, ONE, ArrayEmitter, emit_sums, emits

ROWS_AT_ONCE = 4
"""Rows that are updated together. Eight take as long."""


class _Rows(ArrayEmitter):
    """Emits the loops over a layer's list of non-zero inputs."""

    def __init__(self, e, kinds, records):
        (ws_kind, self.layer_kind), (_, self.layer) = kinds, records
        super().__init__(e, ws_kind, ONE)
        self.numbers, self.values = self.of_layer("active_rows", INT32), self.of_layer("active_values")
        self.lanes = INT64(self.vector.count)

    def of_layer(self, name, element=None):
        """Return an array of the layer."""
        return self.array(self.layer_kind, self.layer, name, element)

    def count_of(self, name):
        """Return an int64 field of the layer."""
        return self.field(self.layer_kind, self.layer, name)

    def list_vectors(self, inputs, n_inputs, count):
        """Emit the loop over whole vectors of inputs; ``count`` is the variable with the number of those listed."""
        builder, lanes = self.builder, self.vector.count
        whole, bits = ir.VectorType(INT32, lanes), ir.IntType(lanes)
        numbers = self.variable(whole, ir.Constant(whole, list(range(lanes))))
        end = self.splat(builder.trunc(n_inputs, INT32), whole)
        with self.range(INT64(0), n_inputs, self.lanes) as j:
            value, number = self.load(inputs, j), builder.load(numbers, typ=whole)
            # "Unordered": NaN counts too. But not in the padding, which a diverged training may fill with it.
            is_nonzero = builder.fcmp_unordered("!=", value, self.zero)
            is_nonzero = builder.and_(is_nonzero, builder.icmp_signed("<", number, end))
            n_nonzero = builder.zext(builder.ctpop(builder.bitcast(is_nonzero, bits)), INT64)
            self.append(count, self.compress(number, is_nonzero), self.compress(value, is_nonzero), n_nonzero)
            builder.store(builder.add(number, ir.Constant(whole, [lanes] * lanes)), numbers)

    def list_numbers(self, inputs, n_inputs, count):
        """Emit the loop over the inputs one after the other, for processors that cannot compress a vector."""
        builder = self.builder
        with self.range(INT64(0), n_inputs, INT64(1)) as j:
            value = self.number(inputs, j, self.float)
            is_nonzero = builder.fcmp_unordered("!=", value, ir.Constant(self.float, 0.0))
            self.append(count, builder.trunc(j, INT32), value, builder.zext(is_nonzero, INT64))

    def append(self, count, numbers, values, n_nonzero):
        """Append to the list; what is stored beyond `n_nonzero` is overwritten by the next, or not read."""
        end = self.builder.load(count, typ=INT64)
        self.builder.store(numbers, self.place(self.numbers, end, INT32, numbers.type), align=4)
        self.store(values, self.values, end)
        self.builder.store(self.builder.add(end, n_nonzero), count)

    def update(self, first, n_rows, target, after):
        """Emit the update of a few rows of the list; the sums of their products with the deltas go to `target`."""
        builder = self.builder
        places = [builder.add(first, INT64(k)) for k in range(n_rows)]
        inputs = [builder.sext(self.number(self.numbers, place, INT32), INT64) for place in places]
        factors = [self.splat(self.number(self.values, place, self.float), self.vector) for place in places]
        weights, stride = self.of_layer("weights"), self.count_of("stride")
        rows = [self.place(weights, builder.mul(j, stride), self.float) for j in inputs]
        sums = [self.variable(self.vector, self.zero) for _ in rows]
        deltas, scaled_deltas = self.of_layer("deltas"), self.of_layer("scaled_deltas")
        with self.range(INT64(0), builder.mul(self.count_of("n_vectors"), self.lanes), self.lanes) as column:
            step, delta = self.load(scaled_deltas, column), self.load(deltas, column)
            for row, factor, total in zip(rows, factors, sums, strict=True):
                old = self.load(row, column)
                new = self.fma(factor, step, old)
                self.store(new, row, column)
                so_far = builder.load(total, typ=self.vector)
                builder.store(self.fma(new if after else old, delta, so_far), total)
        totals, lanes = emit_sums(self, [builder.load(total, typ=self.vector) for total in sums])
        for j, lane in zip(inputs, lanes, strict=True):
            builder.store(builder.extract_element(totals, INT32(lane)), self.place(target, j, self.float))


@intrinsic
def list_nonzero(typingctx, ws, layer):
    """List the numbers and values of a layer's non-zero inputs, and return how many there are."""

    def emit(e, *records):
        rows, count = _Rows(e, (ws, layer), records), e.variable(INT64, INT64(0))
        make_list = rows.list_vectors if NATIVE == ONE else rows.list_numbers
        make_list(rows.of_layer("inputs"), rows.count_of("n_inputs"), count)
        return e.builder.load(count, typ=INT64)

    return emits(types.int64(ws, layer), emit)


def _make_update(after):
    @intrinsic
    def update_rows(typingctx, ws, layer, below):
        """Add each listed input times the scaled deltas to its row; write the deltas of the listed inputs.

        These are the products of rows and deltas, with the weights before or after the update.
        """

        def emit(e, ws_record, layer_record, below_record):
            rows = _Rows(e, (ws, layer), (ws_record, layer_record))
            target, n_active = rows.array(below, below_record, "deltas"), rows.count_of("n_active")
            whole = e.builder.and_(n_active, INT64(-ROWS_AT_ONCE))
            # From the last row to the first: the last are still in the first-level cache after the forward pass.
            with rows.range(whole, n_active, INT64(1)) as k:
                rows.update(k, 1, target, after)
            with rows.range(INT64(0), whole, INT64(ROWS_AT_ONCE)) as k:
                rows.update(e.builder.sub(whole, e.builder.add(k, INT64(ROWS_AT_ONCE))), ROWS_AT_ONCE, target, after)

        return emits(types.void(ws, layer, below), emit)

    return update_rows


update_rows = {after: _make_update(after) for after in (False, True)}
"""For whether deltas pass through the weights after their update: the function."""
