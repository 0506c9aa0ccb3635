"""The first layer for a block of four samples: small dense products, grouped by sample mask.

A pixel's sample mask has bit t set if the pixel deviates from the baseline in sample t. The pixels of each mask are
listed. Each list is a small dense product: its rows of weights are read once for all samples of the mask, without tests
and without multiplications by zero. The outer loop takes four rows at a time and holds their pixels' values in
registers, the inner loop runs along the columns. The other order was slower: it holds the sums of a few columns in
registers and reads the list again for the next columns. The loops are built here as LLVM code, for each number of
samples in a mask: Numba would need seconds to compile them.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.vector import INT1, INT8, INT32, INT64, NATIVE, ONE, Emitter, emits, lanes_of
from fastnn.kernels.workspace import BLOCK, N_MASKS, PAIRS

WHITE = 255

ROWS_AT_ONCE = 4
"""Rows of weights in one loop along the columns. Three take as long, eight longer."""


class _Arrays(Emitter):
    """Emits loads and stores of numbers and vectors in the arrays whose addresses a record holds."""

    def __init__(self, e, ws_type, width):
        super().__init__(e.context, e.builder)
        dtype = ws_type.typeof("one")
        self.float, self.align = self.kind(dtype), dtype.bitwidth // 8
        self.vector = ir.VectorType(self.float, lanes_of(dtype, width))
        self.zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        self.whole_lanes = lanes_of(dtype, ONE)

    def array(self, kind, record, name, element=None):
        """Return the address in a record's field as a pointer to floats, or to `element`s if given."""
        return self.builder.inttoptr(self.field(kind, record, name), (element or self.float).as_pointer())

    def load(self, base, index):
        place = self.place(base, index, self.float, self.vector)
        return self.builder.load(place, align=self.align, typ=self.vector)

    def store(self, value, base, index):
        self.builder.store(value, self.place(base, index, self.float, value.type), align=self.align)


class _MaskLoops(_Arrays):
    """Emits loops over sample masks, their pixels and the columns of the pixels' rows of weights.

    `rows_of` names the field of the workspace with a row of n_vectors for each sample: what is read or written there.
    """

    def __init__(self, e, kinds, records, rows_of):
        (ws_kind, layer_kind), (ws, layer) = kinds, records
        super().__init__(e, ws_kind, NATIVE)
        self.samples, self.values = self.array(ws_kind, ws, rows_of), self.array(ws_kind, ws, "pixel_values")
        self.lists = self.array(ws_kind, ws, "active_pixels", INT32)
        self.ends = self.array(ws_kind, ws, "list_ends", INT64)
        self.n_pixels = self.field(ws_kind, ws, "pixel_stride")
        self.weights, self.stride = self.array(layer_kind, layer, "weights"), self.field(layer_kind, layer, "stride")
        n_vectors, n_outputs = self.field(layer_kind, layer, "n_vectors"), self.field(layer_kind, layer, "n_outputs")
        self.row_length = self.builder.mul(n_vectors, INT64(self.whole_lanes))
        lanes = INT64(self.vector.count)
        whole = self.builder.udiv(self.builder.add(n_outputs, INT64(self.vector.count - 1)), lanes)
        self.n_columns = self.builder.mul(whole, lanes)

    def columns(self, length):
        return self.range(INT64(0), length, INT64(self.vector.count))

    def for_each_mask(self, emit):
        """Emit the body ``emit(samples, rows, values)`` of the loops, for all pixels of all masks.

        `samples` are the positions of the mask's samples in their array, `rows` those of a few rows of weights, and
        ``values[i][t]`` is row i's pixel in sample t of the mask, in every lane of a vector.
        """
        builder = self.builder
        # Code for each number of samples (4), not for each mask (15): as fast, and compiles a second faster.
        with self.range(INT64(1), INT64(N_MASKS), INT64(1)) as mask:
            first, last = builder.mul(self.n_pixels, mask), self.number(self.ends, mask, INT64)
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
        pixel_rows = [builder.mul(self.n_pixels, t) for t in samples]
        rows, values = [], []
        for i in range(n_rows):
            pixel = builder.sext(self.number(self.lists, builder.add(index, INT64(i)), INT32), INT64)
            rows.append(builder.mul(pixel, self.stride))
            numbers = [self.number(self.values, builder.add(start, pixel), self.float) for start in pixel_rows]
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
    """Add each sample's `block_deltas` times its pixel values to the first layer's weights."""

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


@intrinsic
def read_block(typingctx, ws, images, white, valid_mask):
    """Read a block's pixels into the workspace: values (grey level - white), sample masks, dot products (`gram`).

    `images` is the address to which `image_offsets` are added. `valid_mask` has a bit for each sample that exists: the
    last block may be short.
    """

    def emit(e, record, images, white, valid):
        arrays = _Arrays(e, ws, ONE)
        with e.builder.if_else(e.builder.icmp_signed("==", valid, INT64(1))) as (single, several):
            for branch, n_samples in ((single, 1), (several, BLOCK)):
                with branch:
                    _emit_read(arrays, (ws, record), images, (white, valid), n_samples)

    return emits(types.void(ws, types.int64, types.int64, types.int64), emit)


def _emit_read(arrays, workspace, images, levels, n_samples):
    builder, lanes = arrays.builder, arrays.vector.count
    pairs = [(s, t) for s, t in PAIRS if t < n_samples]
    values, gram = (arrays.array(*workspace, name) for name in ("pixel_values", "gram"))
    masks, any_mask = (arrays.array(*workspace, name, INT8) for name in ("sample_masks", "any_mask"))
    offsets, n_pixels = arrays.array(*workspace, "image_offsets", INT64), arrays.field(*workspace, "pixel_stride")
    bytes_, wholes = ir.VectorType(INT8, lanes), ir.VectorType(INT32, lanes)
    white = arrays.splat(builder.trunc(levels[0], INT32), wholes)
    valid = arrays.splat(builder.trunc(levels[1], INT8), bytes_)
    blank, none = ir.Constant(bytes_, [WHITE] * lanes), ir.Constant(bytes_, [0] * lanes)
    sums = [arrays.variable(arrays.vector, arrays.zero) for _ in pairs]
    images = builder.inttoptr(images, INT8.as_pointer())
    starts = [arrays.place(images, arrays.number(offsets, INT64(t), INT64), INT8) for t in range(n_samples)]
    with arrays.range(INT64(0), n_pixels, INT64(lanes)) as pixel:
        mask, deviations = none, []
        for t in range(n_samples):
            grey = builder.load(arrays.place(starts[t], pixel, INT8, bytes_), align=1, typ=bytes_)
            bit = ir.Constant(bytes_, [1 << t] * lanes)
            mask = builder.or_(mask, builder.select(builder.icmp_unsigned("!=", grey, blank), bit, none))
            value = builder.sitofp(builder.sub(builder.zext(grey, wholes), white), arrays.vector)
            arrays.store(value, values, builder.add(builder.mul(n_pixels, INT64(t)), pixel))
            deviations.append(value)
        for (s, t), total in zip(pairs, sums, strict=True):
            so_far = builder.load(total, typ=arrays.vector)
            builder.store(arrays.fma(deviations[s], deviations[t], so_far), total)
        mask = builder.and_(mask, valid)
        builder.store(mask, arrays.place(masks, pixel, INT8, bytes_), align=1)
        any_bits = builder.bitcast(builder.icmp_unsigned("!=", mask, none), ir.IntType(lanes))
        place = arrays.place(any_mask, builder.lshr(pixel, INT64(3)), INT8, any_bits.type)
        builder.store(any_bits, place, align=1)
    for index, total in enumerate(sums):
        arrays.store(builder.load(total, typ=arrays.vector), gram, INT64(index * lanes))
