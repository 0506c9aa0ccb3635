"""The first layer for a block of four samples: small dense products, grouped by sample mask.

A pixel's sample mask says in which of the four samples it deviates from the baseline: bit t stands for sample t. The
pixels of each mask are listed. Each list is a small dense product: its rows of weights are read once for all samples of
the mask, without tests and without multiplications by zero. A few rows are taken at once, with their pixels' values in
registers while a loop goes along the columns. That took less time than loops along the lists for a few columns at once,
which must keep their sums in registers and start again for the next columns. The loops for each number of samples in a
mask are built here as LLVM code: written in Python they would take Numba's compiler seconds.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.vector import (
    NATIVE,
    ONE,
    emit_field,
    emit_fma,
    emit_range,
    emit_splat,
    lanes_of,
)
from fastnn.kernels.workspace import BLOCK, N_MASKS, PAIRS

WHITE = 255

ROWS_AT_ONCE = 4
"""Rows of weights in one loop along the columns. Three took as long, eight longer."""

_I1, _I8, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))


class _Emitter:
    """Emits loads and stores of numbers and vectors in the arrays whose addresses a record holds."""

    def __init__(self, context, builder, record_type, width):
        self.builder = builder
        self.dtype = record_type.typeof("one")
        self.float = context.get_value_type(self.dtype)
        self.vector = ir.VectorType(self.float, lanes_of(self.dtype, width))
        self.align = self.dtype.bitwidth // 8

    def place(self, base, index, kind, result=None):
        """Return where number `index` of an array of `kind` stands, as a pointer to `result`."""
        place = self.builder.gep(base, [index], source_etype=kind)
        return self.builder.bitcast(place, (result or kind).as_pointer())

    def array(self, kind, record, name, element=None):
        """Return the address in a record's field as a pointer to numbers; floats unless `element` is given."""
        address = emit_field(self.builder, kind, record, name)
        return self.builder.inttoptr(address, (element or self.float).as_pointer())

    def number(self, base, index, kind):
        return self.builder.load(self.place(base, index, kind), typ=kind)

    def load(self, base, index):
        return self.builder.load(self.place(base, index, self.float, self.vector), align=self.align, typ=self.vector)

    def store(self, value, base, index):
        self.builder.store(value, self.place(base, index, self.float, value.type), align=self.align)


class _MaskLoops(_Emitter):
    """Emits the loops over the columns of the weights' rows, for the pixels of each sample mask.

    `rows_of` names the field of the workspace that holds a row of n_vectors for each sample.
    """

    def __init__(self, context, builder, signature, args, rows_of):
        ws_type, layer_type = signature.args
        super().__init__(context, builder, ws_type, NATIVE)
        ws, layer = args
        self.samples, self.values = (self.array(ws_type, ws, name) for name in (rows_of, "pixel_values"))
        self.lists, self.ends = (
            self.array(ws_type, ws, "active_pixels", _I32),
            self.array(ws_type, ws, "list_ends", _I64),
        )
        self.n_pixels = emit_field(builder, ws_type, ws, "pixel_stride")
        self.weights = self.array(layer_type, layer, "weights")
        n_vectors, self.stride, n_outputs = (
            emit_field(builder, layer_type, layer, name) for name in ("n_vectors", "stride", "n_outputs")
        )
        self.row_length = builder.mul(n_vectors, _I64(lanes_of(self.dtype, ONE)))
        lanes = self.vector.count
        whole = builder.udiv(builder.add(n_outputs, _I64(lanes - 1)), _I64(lanes))
        self.n_columns = builder.mul(whole, _I64(lanes))

    def columns(self, length):
        return emit_range(self.builder, _I64(0), length, _I64(self.vector.count))

    def for_each_mask(self, emit):
        """Emit ``emit(samples, rows, values)`` in a loop over the columns, for all pixels of all masks.

        `samples` are the positions of the mask's samples in their array, `rows` those of a few rows of weights, and
        ``values[i][t]`` is row i's pixel in sample t of the mask, in every lane of a vector.
        """
        builder = self.builder
        # Code for each number of samples (4), not for each of 15 masks: as fast, and compiled a second sooner.
        with emit_range(builder, _I64(1), _I64(N_MASKS), _I64(1)) as mask:
            first = builder.mul(self.n_pixels, mask)
            last = self.number(self.ends, mask, _I64)
            rest = builder.sub(last, builder.urem(builder.sub(last, first), _I64(ROWS_AT_ONCE)))
            done = builder.append_basic_block("done")
            sizes = builder.switch(builder.ctpop(mask), done)
            for size in range(1, BLOCK + 1):
                sizes.add_case(_I64(size), builder.append_basic_block(f"samples_{size}"))
            for size, block in sizes.cases:
                builder.position_at_end(block)
                samples = self._samples_in(mask, size.constant)
                for start, stop, rows in ((first, rest, ROWS_AT_ONCE), (rest, last, 1)):
                    with emit_range(builder, start, stop, _I64(rows)) as index:
                        self._emit_rows(samples, index, rows, emit)
                builder.branch(done)
            builder.position_at_end(done)

    def _samples_in(self, mask, size):
        """Return the numbers of a mask's samples, of which there are `size`."""
        builder, samples = self.builder, []
        for _ in range(size):
            samples.append(builder.cttz(mask, _I1(1)))
            mask = builder.and_(mask, builder.sub(mask, _I64(1)))
        return samples

    def _emit_rows(self, samples, index, n_rows, emit):
        builder = self.builder
        places = [builder.mul(self.row_length, t) for t in samples]
        pixel_rows = [builder.mul(self.n_pixels, t) for t in samples]
        rows, values = [], []
        for i in range(n_rows):
            pixel = builder.sext(self.number(self.lists, builder.add(index, _I64(i)), _I32), _I64)
            rows.append(builder.mul(pixel, self.stride))
            numbers = [self.number(self.values, builder.add(start, pixel), self.float) for start in pixel_rows]
            values.append([emit_splat(builder, number, self.vector) for number in numbers])
        with self.columns(self.n_columns) as column:
            emit([builder.add(place, column) for place in places], [builder.add(row, column) for row in rows], values)


@intrinsic
def first_layer_forward(typingctx, ws, layer):
    """Write V·d / factor of each sample of a block to the workspace's `block_preactivations`."""

    def codegen(context, builder, signature, args):
        loops = _MaskLoops(context, builder, signature, args, "block_preactivations")
        zero = ir.Constant(loops.vector, [0.0] * loops.vector.count)
        with loops.columns(builder.mul(loops.row_length, _I64(BLOCK))) as column:
            loops.store(zero, loops.samples, column)

        def emit(samples, rows, values):
            sums = [loops.load(loops.samples, place) for place in samples]
            for row, numbers in zip(rows, values, strict=True):
                weights = loops.load(loops.weights, row)
                sums = [emit_fma(builder, value, weights, total) for value, total in zip(numbers, sums, strict=True)]
            for place, total in zip(samples, sums, strict=True):
                loops.store(total, loops.samples, place)

        loops.for_each_mask(emit)
        return context.get_dummy_value()

    return types.void(ws, layer), codegen


@intrinsic
def first_layer_update(typingctx, ws, layer):
    """Add each sample's `block_deltas` times its pixels' values to the first layer's weights."""

    def codegen(context, builder, signature, args):
        loops = _MaskLoops(context, builder, signature, args, "block_deltas")

        def emit(samples, rows, values):
            deltas = [loops.load(loops.samples, place) for place in samples]
            for row, numbers in zip(rows, values, strict=True):
                weights = loops.load(loops.weights, row)
                for value, delta in zip(numbers, deltas, strict=True):
                    weights = emit_fma(builder, value, delta, weights)
                loops.store(weights, loops.weights, row)

        loops.for_each_mask(emit)
        return context.get_dummy_value()

    return types.void(ws, layer), codegen


@intrinsic
def read_block(typingctx, ws, images, white, valid_mask):
    """Read the pixels of a block into the workspace: values, sample masks and the samples' dot products (`gram`).

    Parameters
    ----------
    ws : record
        Its `image_offsets` say where each sample's image begins.
    images : int
        Address of the grey levels.
    white : int
        A value is the grey level minus this.
    valid_mask : int
        Sample mask of the samples that exist: the last block may be short.
    """

    def codegen(context, builder, signature, args):
        with builder.if_else(builder.icmp_signed("==", args[3], _I64(1))) as (single, several):
            with single:  # saves a fifth of the time of a sample by itself
                _emit_read(context, builder, signature, args, 1)
            with several:
                _emit_read(context, builder, signature, args, BLOCK)
        return context.get_dummy_value()

    return types.void(ws, types.int64, types.int64, types.int64), codegen


def _emit_read(context, builder, signature, args, n_samples):
    ws, images, white, valid = args
    emitter, kind = _Emitter(context, builder, signature.args[0], ONE), signature.args[0]
    n = emitter.vector.count
    pairs = [(s, t) for s, t in PAIRS if t < n_samples]
    values, gram = (emitter.array(kind, ws, name) for name in ("pixel_values", "gram"))
    masks, any_mask = (emitter.array(kind, ws, name, _I8) for name in ("sample_masks", "any_mask"))
    offsets = emitter.array(kind, ws, "image_offsets", _I64)
    n_pixels = emit_field(builder, kind, ws, "pixel_stride")
    bytes_, wholes = ir.VectorType(_I8, n), ir.VectorType(_I32, n)
    shift = emit_splat(builder, builder.trunc(white, _I32), wholes)
    valid = emit_splat(builder, builder.trunc(valid, _I8), bytes_)
    white_bytes, none = ir.Constant(bytes_, [WHITE] * n), ir.Constant(bytes_, [0] * n)
    with builder.goto_entry_block():
        sums = [builder.alloca(emitter.vector) for _ in pairs]
    for total in sums:
        builder.store(ir.Constant(emitter.vector, [0.0] * n), total)
    images = builder.inttoptr(images, _I8.as_pointer())
    starts = [emitter.place(images, emitter.number(offsets, _I64(t), _I64), _I8) for t in range(n_samples)]
    with emit_range(builder, _I64(0), n_pixels, _I64(n)) as pixel:
        mask, deviations = none, []
        for t in range(n_samples):
            grey = builder.load(emitter.place(starts[t], pixel, _I8, bytes_), align=1, typ=bytes_)
            inked = builder.icmp_unsigned("!=", grey, white_bytes)
            mask = builder.or_(mask, builder.select(inked, ir.Constant(bytes_, [1 << t] * n), none))
            value = builder.sitofp(builder.sub(builder.zext(grey, wholes), shift), emitter.vector)
            emitter.store(value, values, builder.add(builder.mul(n_pixels, _I64(t)), pixel))
            deviations.append(value)
        for (s, t), total in zip(pairs, sums, strict=True):
            product = emit_fma(builder, deviations[s], deviations[t], builder.load(total, typ=emitter.vector))
            builder.store(product, total)
        mask = builder.and_(mask, valid)
        builder.store(mask, emitter.place(masks, pixel, _I8, bytes_), align=1)
        any_bits = builder.bitcast(builder.icmp_unsigned("!=", mask, none), ir.IntType(n))
        place = emitter.place(any_mask, builder.lshr(pixel, _I64(3)), _I8, any_bits.type)
        builder.store(any_bits, place, align=1)
    for index, total in enumerate(sums):
        emitter.store(builder.load(total, typ=emitter.vector), gram, _I64(index * n))
