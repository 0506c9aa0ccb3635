"""Reads a block of four samples into the workspace, as deviations from the baseline grouped by sample mask.

A reader writes each sample's deviations d to slots, lists the inputs that deviate by the samples in which they do
(``fastnn.kernels.first_layer`` says what for), and computes the dot products d_s·d_t and mu·d. The kinds of data differ
in nothing else:

images
    uint8, padded rows. d = (grey level - white) * factor; the factor is left out of what is written.
rows
    float32 or float64. d = (value - level) * scale, with a level and a scale for each input.
sparse rows
    Values, their inputs and where each row begins, as in a CSR matrix. d = value * scale, 0 for all other inputs. Only
    the inputs that the block's rows hold get a slot, so that the cost does not depend on the number of inputs. Values
    of the same input in a row are added.
"""

from functools import cache

import numpy as np
from numba import float32, float64, int32, int64, uint8, uint64

from fastnn.kernels import vector as simd
from fastnn.kernels.masks import gram_block, mask_block, read_block
from fastnn.kernels.vector import ONE, advance, device, float_pointer, pointer, record_at
from fastnn.kernels.workspace import BLOCK, LAYER, N_MASKS, PAIRS

_N_PAIRS = len(PAIRS)
_LAYER_BYTES = LAYER.itemsize

_LINE = 64
"""Bytes of a cache line: prefetching takes one at a time."""


@device
def layer_at(ws, depth):
    """Return the record of a layer."""
    return record_at(ws.layers + depth * _LAYER_BYTES, LAYER)


@cache
def reader(kind, dtype):
    """Return the function ``read(ws, args, first, size)`` that reads the block of samples from ``order[first]`` on.

    Parameters
    ----------
    kind : {"images", "float32", "float64", "sparse"}
        Kind of the data; for rows the type of their values.
    dtype : {"float32", "float64"}
        Type of the network's parameters.
    """
    if kind == "images":
        return _read_images
    if kind == "sparse":
        return _read_sparse
    wide = float64 if "float64" in (kind, dtype) else float32
    return _make_read_rows(float32 if kind == "float32" else float64, wide)


@device
def locate_rows(ws, args, first, size):
    """Write where the rows of a block begin; a block that is not full repeats its last row."""
    simd.small_code()
    offsets, order = pointer(ws.sample_offsets, int64), pointer(args.order, int64)
    i = order[first]
    for t in range(BLOCK):
        if t < size:
            i = order[first + t]
        offsets[t] = i * args.row_stride


@device
def list_inputs(ws, args, size):
    """List the inputs of a block by sample mask; all in the list of all samples if the first layer is dense."""
    simd.small_code()
    all_samples, stride = (1 << size) - 1, ws.input_stride
    lists, ends = pointer(ws.active_inputs, int32), pointer(ws.list_ends, int64)
    masks, any_mask = pointer(ws.sample_masks, uint8), pointer(ws.any_mask, uint64)
    for mask in range(N_MASKS):
        ends[mask] = mask * stride
    if args.dense:
        n_inputs = layer_at(ws, 0).n_inputs
        for p in range(n_inputs):
            lists[all_samples * stride + p] = p
        ends[all_samples] += n_inputs
        return
    for word in range(-(-stride // 64)):
        bits = any_mask[word]
        while bits != 0:
            p = 64 * word + simd.lowest_bit(bits)
            bits &= bits - np.uint64(1)
            mask = int64(masks[p])
            lists[ends[mask]] = p
            ends[mask] += 1


# ---- images ----


@device
def sum_of_levels(images, begin, n):
    """Return the sum of n grey levels."""
    # A function of its own without `small_code`, so that LLVM vectorises the loop; the sum of whole numbers is exact.
    grey = 0
    for k in range(begin, begin + n):
        grey += images[k]
    return grey


@device
def _read_images(ws, args, first, size):
    """Read uint8 images."""
    simd.small_code()
    order, images = pointer(args.order, int64), pointer(args.data, uint8)
    locate_rows(ws, args, first, size)
    for t in range(min(BLOCK, args.n - first - BLOCK)):
        # The next block's images, which are in random order.
        start = order[first + BLOCK + t] * args.row_stride
        for k in range(start, start + args.row_stride, _LINE):
            simd.prefetch(images, k)
    read_block(ws, args.data, args.white, (1 << size) - 1)
    list_inputs(ws, args, size)
    n_inputs, products = layer_at(ws, 0).n_inputs, float_pointer(ws, ws.baseline_products)
    is_zero = pointer(ws.is_zero, int64)
    for t in range(size):
        grey = sum_of_levels(images, order[first + t] * args.row_stride, n_inputs)
        # A sum of whole numbers, so that neither order nor dtype matters. The factor is negative if pixels are
        # inverted. The sum of all deviations is mu·d, since mu is 1 everywhere or not used.
        fed = 255 * n_inputs - grey if args.factor < 0 else grey
        is_zero[t] = fed == 0
        products[t] = fed / 255 - args.baseline_share * n_inputs  # in float64, then rounded to the network's type


# ---- rows of floats ----


@cache
def _make_read_rows(source, wide):
    """Return the reader of rows of `source`, whose levels and scales, and all arithmetic, are `wide`."""
    size_of_value = source.bitwidth // 8

    @device
    def read_row(ws, args, begin, target):
        """Write (value - level) * scale of one row."""
        simd.noinline()
        row, levels, scales = pointer(args.data, source), pointer(args.levels, wide), pointer(args.scales, wide)
        for j in range(layer_at(ws, 0).n_inputs):
            target[j] = (row[begin + j] - levels[j]) * scales[j]

    @device
    def read_rows(ws, args, first, size):
        """Read rows of floats."""
        simd.small_code()
        order, data = pointer(args.order, int64), pointer(args.data, source)
        deviations, stride = float_pointer(ws, ws.deviations), ws.input_stride
        if args.dense and args.outputs == 0:
            # The update of the weights fetches them; those after the last are any rows.
            next_rows, ws.value_bytes = pointer(ws.next_rows, int64), size_of_value
            for t in range(BLOCK):
                i = order[min(first + BLOCK + t, args.n - 1)]
                next_rows[t] = args.data + i * args.row_stride * size_of_value
        else:
            for t in range(min(BLOCK, args.n - first - BLOCK)):
                start = order[first + BLOCK + t] * args.row_stride
                for k in range(start, start + args.row_stride, _LINE // size_of_value):
                    simd.prefetch(data, k)
        is_zero, products = pointer(ws.is_zero, int64), float_pointer(ws, ws.baseline_products)
        for t in range(size):
            read_row(ws, args, order[first + t] * args.row_stride, advance(deviations, t * stride))
            is_zero[t], products[t] = 0, 0
        if args.dense:
            gram_block(ws, size)
            return
        mask_block(ws, (1 << size) - 1)
        list_inputs(ws, args, size)
        if args.baseline != 0:
            baseline = float_pointer(ws, args.baseline)
            lanes = simd.floats_per_vector(baseline)
            for t in range(size):
                total, n_nonzero, none = simd.zeros(baseline, ONE), 0, simd.zeros(baseline, ONE)
                for k in range(0, stride, lanes):
                    mu, d = simd.load(baseline, k, ONE), simd.load(deviations, t * stride + k, ONE)
                    x = simd.add(mu, d)
                    # Not of the square, which is 0 for small numbers too.
                    n_nonzero += simd.count_greater(x, none) + simd.count_greater(none, x)
                    total = simd.fma(mu, d, total)
                product = simd.sum_lanes(total)
                # NaN is not greater, but no zero either.
                products[t], is_zero[t] = product, n_nonzero == 0 and product == product

    return read_rows


@device
def is_finite_row(ws, t):
    """Return whether all deviations of sample t of a block are finite."""
    simd.small_code()
    deviations, stride = float_pointer(ws, ws.deviations), ws.input_stride
    lanes, none = simd.floats_per_vector(deviations), simd.zeros(deviations, ONE)
    total = none
    for k in range(t * stride, (t + 1) * stride, lanes):
        # NaN if the deviation is infinite or NaN, else 0.
        total = simd.fma(none, simd.load(deviations, k, ONE), total)
    return simd.sum_lanes(total) == 0


# ---- sparse rows ----


@device
def _read_sparse(ws, args, first, size):
    """Read sparse rows; inputs get slots in the order in which the block's rows hold them."""
    simd.small_code()
    order, starts, indices = pointer(args.order, int64), pointer(args.row_starts, int64), pointer(args.indices, int32)
    values, scales = float_pointer(ws, args.data), float_pointer(ws, args.scales)
    deviations, stride = float_pointer(ws, ws.deviations), ws.input_stride
    slots, masks = pointer(ws.slot_of_input, int32), pointer(ws.sample_masks, uint8)
    gram, products = float_pointer(ws, ws.gram), float_pointer(ws, ws.baseline_products)
    lanes, n_slots = simd.floats_per_vector(gram), 0
    inputs_of_slots = pointer(ws.active_inputs, int32)  # mask 0 has no list: its place is free
    for t in range(min(BLOCK, args.n - first - BLOCK)):
        begin, end = starts[order[first + BLOCK + t]], starts[order[first + BLOCK + t] + 1]
        for k in range(begin, end, _LINE // 4):
            simd.prefetch(indices, k)
            simd.prefetch(values, k)
    is_zero = pointer(ws.is_zero, int64)
    for t in range(size):
        i, is_zero[t] = order[first + t], 0
        for k in range(starts[i], starts[i + 1]):
            j = indices[k]
            slot = slots[j]
            if slot < 0:
                slot = n_slots
                n_slots += 1
                slots[j], inputs_of_slots[slot], masks[slot] = slot, j, 0
                for s in range(BLOCK):
                    deviations[s * stride + slot] = 0
            deviations[t * stride + slot] += values[k] * scales[j]
            masks[slot] |= 1 << t
    _group_slots(ws, n_slots)
    for pair in range(_N_PAIRS):
        simd.store(gram, pair * lanes, simd.zeros(gram, ONE))
    for t in range(size):
        values_of_t = advance(deviations, t * stride)
        for s in range(t):
            pair, total = t * (t - 1) // 2 + s, gram[0] * 0
            for slot in range(n_slots):
                total += deviations[s * stride + slot] * values_of_t[slot]
            gram[pair * lanes] = total
        if args.baseline != 0:
            baseline, total = float_pointer(ws, args.baseline), gram[0] * 0
            for slot in range(n_slots):
                total += baseline[inputs_of_slots[slot]] * values_of_t[slot]
            products[t] = total


@device
def _group_slots(ws, n_slots):
    """List the slots by sample mask, and free them for the next block."""
    simd.small_code()
    stride, masks, ends = ws.input_stride, pointer(ws.sample_masks, uint8), pointer(ws.list_ends, int64)
    inputs, slots = pointer(ws.active_inputs, int32), pointer(ws.active_slots, int32)
    slot_of_input = pointer(ws.slot_of_input, int32)
    for mask in range(N_MASKS):
        ends[mask] = mask * stride
    for slot in range(n_slots):
        mask = int64(masks[slot])
        j, place = inputs[slot], ends[mask]
        inputs[place], slots[place] = j, slot
        ends[mask] = place + 1
        slot_of_input[j] = -1
