"""Sample masks and dot products of a block of samples: intrinsics for ``fastnn.kernels.inputs``.

Bit t of a slot's sample mask is set if the slot deviates from the baseline in sample t.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.vector import INT8, INT32, INT64, ONE, ArrayEmitter, emits
from fastnn.kernels.workspace import BLOCK, PAIRS

WHITE = 255


@intrinsic
def read_block(typingctx, ws, images, white, valid_mask):
    """Read a block's pixels into the workspace: values (grey level - white), sample masks, dot products (`gram`).

    `images` is the address to which `sample_offsets` are added. `valid_mask` has a bit for each sample that exists: the
    last block may be short.
    """

    def emit(e, record, images, white, valid):
        arrays = ArrayEmitter(e, ws, ONE)
        lanes = arrays.vector.count
        bytes_, wholes = ir.VectorType(INT8, lanes), ir.VectorType(INT32, lanes)
        blank, white = ir.Constant(bytes_, [WHITE] * lanes), arrays.splat(e.builder.trunc(white, INT32), wholes)
        images, values = e.builder.inttoptr(images, INT8.as_pointer()), arrays.array(ws, record, "deviations")
        offsets, stride = arrays.array(ws, record, "sample_offsets", INT64), arrays.field(ws, record, "input_stride")

        def read(t, start, pixel):
            """Store sample t's deviations of a vector of pixels; return them, and where they are not white."""
            grey = e.builder.load(arrays.place(start, pixel, INT8, bytes_), align=1, typ=bytes_)
            value = e.builder.sitofp(e.builder.sub(e.builder.zext(grey, wholes), white), arrays.vector)
            arrays.store(value, values, e.builder.add(e.builder.mul(stride, INT64(t)), pixel))
            return value, e.builder.icmp_unsigned("!=", grey, blank)

        def start_of(t):
            return arrays.place(images, arrays.number(offsets, INT64(t), INT64), INT8)

        _emit_for_block(arrays, (ws, record), valid, start_of, read)

    return emits(types.void(ws, types.int64, types.int64, types.int64), emit)


@intrinsic
def mask_block(typingctx, ws, valid_mask):
    """Write the sample masks of a block's deviations and their dot products (`gram`).

    Of samples that `valid_mask` has no bit for, the deviations of earlier blocks are read, and left out of the masks.
    """

    def emit(e, record, valid):
        arrays = ArrayEmitter(e, ws, ONE)
        values, stride = arrays.array(ws, record, "deviations"), arrays.field(ws, record, "input_stride")

        def read(_, start, slot):
            value = arrays.load(start, slot)
            # "Unordered": NaN deviates too.
            return value, e.builder.fcmp_unordered("!=", value, arrays.zero)

        def start_of(t):
            return arrays.place(values, e.builder.mul(stride, INT64(t)), arrays.float)

        _emit_for_block(arrays, (ws, record), valid, start_of, read)

    return emits(types.void(ws, types.int64), emit)


@intrinsic
def gram_block(typingctx, ws, size):
    """Write the dot products of a block's deviations (`gram`); the deviations of samples from `size` on are any."""

    def emit(e, record, size):
        arrays, builder = ArrayEmitter(e, ws, ONE), e.builder
        values, stride = arrays.array(ws, record, "deviations"), arrays.field(ws, record, "input_stride")
        gram, starts = arrays.array(ws, record, "gram"), [builder.mul(stride, INT64(t)) for t in range(BLOCK)]
        with builder.if_then(builder.icmp_signed(">", size, INT64(1))):
            sums = [arrays.variable(arrays.vector, arrays.zero) for _ in PAIRS]
            with arrays.range(INT64(0), stride, INT64(arrays.vector.count)) as slot:
                deviations = [arrays.load(values, builder.add(start, slot)) for start in starts]
                for (s, t), total in zip(PAIRS, sums, strict=True):
                    so_far = builder.load(total, typ=arrays.vector)
                    builder.store(arrays.fma(deviations[s], deviations[t], so_far), total)
            for index, total in enumerate(sums):
                arrays.store(builder.load(total, typ=arrays.vector), gram, INT64(index * arrays.vector.count))

    return emits(types.void(ws, types.int64), emit)


def _emit_for_block(arrays, workspace, valid, start_of, read):
    """Emit the loop over vectors of slots, once for blocks of one sample and once for others.

    ``start_of(t)`` returns where sample t begins, and ``read(t, start, slot)`` a vector of its deviations and where
    they count.
    """
    builder = arrays.builder
    with builder.if_else(builder.icmp_signed("==", valid, INT64(1))) as (single, several):
        for branch, n_samples in ((single, 1), (several, BLOCK)):
            with branch:
                _emit_masks(arrays, workspace, valid, [start_of(t) for t in range(n_samples)], read)


def _emit_masks(arrays, workspace, valid, starts, read):
    builder, lanes = arrays.builder, arrays.vector.count
    pairs = [(s, t) for s, t in PAIRS if t < len(starts)]
    gram = arrays.array(*workspace, "gram")
    masks, any_mask = (arrays.array(*workspace, name, INT8) for name in ("sample_masks", "any_mask"))
    bytes_ = ir.VectorType(INT8, lanes)
    valid, none = arrays.splat(builder.trunc(valid, INT8), bytes_), ir.Constant(bytes_, [0] * lanes)
    sums = [arrays.variable(arrays.vector, arrays.zero) for _ in pairs]
    with arrays.range(INT64(0), arrays.field(*workspace, "input_stride"), INT64(lanes)) as slot:
        mask, deviations = none, []
        for t, start in enumerate(starts):
            bit = ir.Constant(bytes_, [1 << t] * lanes)
            value, deviates = read(t, start, slot)
            mask = builder.or_(mask, builder.select(deviates, bit, none))
            deviations.append(value)
        for (s, t), total in zip(pairs, sums, strict=True):
            so_far = builder.load(total, typ=arrays.vector)
            builder.store(arrays.fma(deviations[s], deviations[t], so_far), total)
        mask = builder.and_(mask, valid)
        builder.store(mask, arrays.place(masks, slot, INT8, bytes_), align=1)
        any_bits = builder.bitcast(builder.icmp_unsigned("!=", mask, none), ir.IntType(lanes))
        place = arrays.place(any_mask, builder.lshr(slot, INT64(3)), INT8, any_bits.type)
        builder.store(any_bits, place, align=1)
    for index, total in enumerate(sums):
        arrays.store(builder.load(total, typ=arrays.vector), gram, INT64(index * lanes))
