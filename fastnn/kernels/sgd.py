"""Per-sample stochastic gradient descent: the loop over samples and the layers' forward and backward passes.

The first layer is sparse. An input is x = mu + d: a baseline mu, and a deviation d that is 0 in most places. Only
inputs with d != 0 are visited. The baseline is 1 in every pixel for images of white paper that is fed as 1, and 0 for
ink and for most sparse matrices. With W = V + mu·c' (c: an offset for each hidden unit) and a = b + W'·mu, the first
layer's pre-activations are W'·x + b = a + V'·d + c (mu·d), and the update of W by x·g' is c += g, V += d·g',
a += g (1 + mu·x): the same SGD in exact arithmetic, at a cost proportional to the non-zero d. The caller computes a and
sets c to 0 before, and adds mu·c' to V after. If mu is 0, c stays 0 and a is the bias.

If mu is not 0, the rounding errors of a + V'·d are those of a sum over all inputs, even where W'·x + b has few terms
that are not 0. So a sample with x = 0 gets the biases as pre-activations. In training on images with ReLU, whose slope
jumps at 0, pre-activations become 0 where W'·x + b is (:func:`set_zero_sums`).

Samples are taken in blocks of four (``fastnn.kernels.first_layer``). V'·d is computed for all four with the weights
before the block, then corrected for the updates by the block's earlier samples:
V_t'·d_t = V_0'·d_t + the sum over s < t of g_s (d_s·d_t). After the block V takes all four updates at once. This too is
the same SGD in exact arithmetic, and reads and writes each row of V, in the second-level cache, once a block. Pixels
are whole numbers s with d = factor·s: V'·d is factor·(V'·s), and V is updated by s·(factor·g)'. For other data the
factor is 1.

The other layers see the activations below. With ReLU a row of weights belongs to an input, as in ``Network``, and rows
of inactive inputs are skipped ("sparse"). With the other activations the weights are transposed ("dense"): a row
belongs to an output, the deltas of the layer below are sums of whole rows, and only outputs need sums over lanes. So
they are in layers of at most four outputs with ReLU ("narrow"): all of their weights are a few vectors.

The rules differ in what a layer passes down: "original" (see ``fastnn.reference``) the raw error through the weights
after their update, "backprop" the delta through the weights before it.
"""

import math
from collections import namedtuple
from functools import cache

import numpy as np
from numba import float64, int32, int64, uint8

from fastnn.kernels import regularise
from fastnn.kernels import vector as simd
from fastnn.kernels import workspace as plan
from fastnn.kernels.active_rows import list_nonzero, update_rows
from fastnn.kernels.first_layer import (
    dense_forward,
    dense_update,
    first_layer_forward,
    first_layer_update,
    slots_forward,
    slots_update,
)
from fastnn.kernels.inputs import is_finite_row, layer_at, reader
from fastnn.kernels.vector import FOUR, NATIVE, ONE, THREE, advance, device, float_pointer, pointer, record_at
from fastnn.kernels.workspace import BLOCK

_TINY = 1e-30
"""Lower bound of the probability in the loss, so that its logarithm is finite."""

ActiveRows = namedtuple("ActiveRows", "numbers values count stride")
"""The non-zero inputs of a layer: their numbers, their values, how many there are; numbers from one row to the next."""

Tile = namedtuple("Tile", "weights source target")
"""A few adjacent columns of a layer: pointers to the first of them."""


# ---- narrow layers: a row of weights for each of at most four outputs ----


@device
def forward_narrow(ws, layer):
    """Compute a narrow layer's pre-activations as :func:`forward_dense` does."""
    simd.small_code()
    x, weights, stride = float_pointer(ws, layer.inputs), float_pointer(ws, layer.weights), layer.stride
    sums, lanes = simd.zeros(x, FOUR), simd.floats_per_vector(x)
    for r in range(0, layer.n_input_vectors * lanes, lanes):
        sums = simd.fma(simd.load_rows(advance(weights, r), stride, ONE), simd.load(x, r, ONE), sums)
    out, biases = float_pointer(ws, layer.activations), float_pointer(ws, layer.biases)
    simd.store(out, 0, simd.add(simd.load(biases, 0, ONE), simd.sum_rows(sums)))


@device
def update_narrow(ws, layer, below, weights_used):
    """Update a narrow layer's weights, and compute the deltas of the layer below, as :func:`update_dense` does."""
    simd.small_code()
    x, target = float_pointer(ws, layer.inputs), float_pointer(ws, below.deltas)
    weights, stride, lanes = float_pointer(ws, layer.weights), layer.stride, simd.floats_per_vector(x)
    deltas, scaled_deltas = float_pointer(ws, layer.deltas), float_pointer(ws, layer.scaled_deltas)
    for r in range(0, layer.n_input_vectors * lanes, lanes):
        total, h = simd.zeros(x, ONE), simd.load(x, r, ONE)
        for k in range(layer.n_outputs):
            old = simd.load(weights, k * stride + r, ONE)
            new = simd.fma(simd.splat(scaled_deltas[k], ONE), h, old)
            simd.store(weights, k * stride + r, new)
            total = simd.fma(weights_used(old, new), simd.splat(deltas[k], ONE), total)
        simd.store(target, r, total)


# ---- sparse layers: a row of weights for each input ----


def _make_add_rows(width):
    @device
    def add_rows(tile, rows):
        """Compute ``target = source + sum over k of values[k] * row numbers[k] of the weights``."""
        simd.small_code()
        x, weights, k = simd.load(tile.source, 0, width), tile.weights, 0
        numbers, values, stride = rows.numbers, rows.values, rows.stride
        if width < 4:
            # Few sums at once do not hide the latency of an addition: take two rows at a time.
            y = simd.zeros(weights, width)
            while k + 1 < rows.count:
                even, odd = advance(weights, numbers[k] * stride), advance(weights, numbers[k + 1] * stride)
                x = simd.fma(simd.splat(values[k], width), simd.load(even, 0, width), x)
                y = simd.fma(simd.splat(values[k + 1], width), simd.load(odd, 0, width), y)
                k += 2
            x = simd.add(x, y)
        while k < rows.count:
            x = simd.fma(simd.splat(values[k], width), simd.load(weights, numbers[k] * stride, width), x)
            k += 1
        simd.store(tile.target, 0, x)

    return add_rows


_add_one, _add_three, _add_four = map(_make_add_rows, (ONE, THREE, FOUR))


@device
def forward_sparse(ws, layer):
    """Compute a layer's pre-activations from its non-zero inputs: the transposed matrix-vector product.

    The columns are split into tiles of one, three or four vectors. 13 vectors are 4 + 3 + 3 + 3, so that few tiles are
    narrow.
    """
    simd.noinline()
    if layer.n_outputs <= plan.NARROW:
        forward_narrow(ws, layer)
        return
    layer.n_active = list_nonzero(ws, layer)
    values = float_pointer(ws, layer.active_values)
    rows = ActiveRows(pointer(layer.active_rows, int32), values, layer.n_active, layer.stride)
    weights, biases = float_pointer(ws, layer.weights), float_pointer(ws, layer.biases)
    tile, n_vectors = Tile(weights, biases, float_pointer(ws, layer.activations)), layer.n_vectors
    while n_vectors > 0:
        width = -(-n_vectors // -(-n_vectors // 4))
        if width == 4:
            _add_four(tile, rows)
        elif width == 3:
            _add_three(tile, rows)
        else:
            width = 1
            _add_one(tile, rows)
        step = width * simd.floats_per_vector(weights)
        tile = Tile(advance(tile.weights, step), advance(tile.source, step), advance(tile.target, step))
        n_vectors -= width


def _make_update_sparse(update_rows):
    @device
    def update_sparse(ws, layer, below, weights_used):
        """Update the weights of a layer's non-zero inputs, and compute the deltas of the layer below."""
        simd.noinline()
        simd.small_code()
        if layer.n_outputs <= plan.NARROW:
            update_narrow(ws, layer, below, weights_used)
            return
        # Inactive units get 0.
        deltas = float_pointer(ws, below.deltas)
        lanes = simd.floats_per_vector(deltas)
        for j in range(0, layer.n_input_vectors * lanes, lanes):
            simd.store(deltas, j, simd.zeros(deltas, ONE))
        update_rows(ws, layer, below)

    return update_sparse


_update_sparse = {after: _make_update_sparse(update_rows[after]) for after in (False, True)}


# ---- dense layers: a row of weights for each output ----


@device
def forward_dense(ws, layer):
    """Compute a layer's pre-activations: products of four rows at a time with the inputs, then sums over the lanes."""
    simd.small_code()
    x, lane_sums = float_pointer(ws, layer.inputs), float_pointer(ws, ws.lane_sums)
    weights, stride, lanes = float_pointer(ws, layer.weights), layer.stride, simd.floats_per_vector(x)
    length, k = layer.n_input_vectors * lanes, 0
    while k < layer.n_outputs:
        sums, row = simd.zeros(x, FOUR), advance(weights, k * stride)
        r = 0
        while r < length:  # a range would divide by its step
            sums = simd.fma(simd.load_rows(advance(row, r), stride, ONE), simd.load(x, r, ONE), sums)
            r += lanes
        simd.store(lane_sums, k * lanes, sums)
        k += 4
    while k % lanes != 0:
        simd.store(lane_sums, k * lanes, simd.zeros(x, ONE))
        k += 1
    out, biases = float_pointer(ws, layer.activations), float_pointer(ws, layer.biases)
    for r in range(0, layer.n_vectors * lanes, lanes):
        simd.store(out, r, simd.add(simd.load(biases, r, ONE), simd.sum_each(lane_sums, r * lanes)))


@device
def sum_products_of_block(ws, layer, inputs):
    """Write the products of a layer's rows with the inputs of a whole block, lanes not summed yet, to the workspace.

    The sums are those of :func:`forward_dense`, but a row of weights is read once for four samples, whose `inputs` are
    a row each.
    """
    simd.noinline()
    simd.small_code()
    weights, stride = float_pointer(ws, layer.weights), layer.stride
    lane_sums, lanes = float_pointer(ws, ws.block_lane_sums), simd.floats_per_vector(weights)
    length, between = layer.n_input_vectors * lanes, layer.n_vectors * lanes * lanes
    none = simd.zeros(weights, FOUR)
    k = 0
    while k < layer.n_outputs:
        row, first, second, third, fourth = advance(weights, k * stride), none, none, none, none
        r = 0
        while r < length:  # a range would divide by its step
            x = simd.load_rows(advance(inputs, r), length, ONE)
            first = simd.fma(x, simd.load(row, r, ONE), first)
            second = simd.fma(x, simd.load(row, stride + r, ONE), second)
            third = simd.fma(x, simd.load(row, 2 * stride + r, ONE), third)
            fourth = simd.fma(x, simd.load(row, 3 * stride + r, ONE), fourth)
            r += lanes
        target = advance(lane_sums, k * lanes)
        simd.store_rows(target, between, first)
        simd.store_rows(advance(target, lanes), between, second)
        simd.store_rows(advance(target, 2 * lanes), between, third)
        simd.store_rows(advance(target, 3 * lanes), between, fourth)
        k += 4
    while k % lanes != 0:
        simd.store_rows(advance(lane_sums, k * lanes), between, none)
        k += 1


@device
def update_dense(ws, layer, below, weights_used):
    """Update a layer's weights, and compute the deltas of the layer below.

    Four rows at a time, from the last to the first: the last are still in the first-level cache after
    :func:`forward_dense`, and the first are in it when the next sample begins.
    """
    simd.noinline()
    simd.small_code()
    x, target = float_pointer(ws, layer.inputs), float_pointer(ws, below.deltas)
    weights, stride = float_pointer(ws, layer.weights), layer.stride
    deltas, scaled_deltas = float_pointer(ws, layer.deltas), float_pointer(ws, layer.scaled_deltas)
    lanes = simd.floats_per_vector(x)
    length, step = layer.n_input_vectors * lanes, lanes // simd.NATIVE_PER_VECTOR
    for r in range(0, length, lanes):
        simd.store(target, r, simd.zeros(target, ONE))
    k = -(-layer.n_outputs // 4) * 4
    while k > 0:
        k -= 4
        row_deltas, row_steps = simd.splat_rows(deltas, k, NATIVE), simd.splat_rows(scaled_deltas, k, NATIVE)
        r = 0
        while r < length:  # a range would divide by its step
            row = advance(weights, k * stride + r)
            old = simd.load_rows(row, stride, NATIVE)
            new = simd.fma(row_steps, simd.load(x, r, NATIVE), old)
            simd.store_rows(row, stride, new)
            simd.store(target, r, simd.dot(weights_used(old, new), row_deltas, simd.load(target, r, NATIVE)))
            r += step


@device
def weights_before(old, _new):
    """Return the weights before their update, which backprop passes deltas through."""
    return old


@device
def weights_after(_old, new):
    """Return the weights after their update, which the original rule passes errors through."""
    return new


# ---- activations, loss and deltas ----


@device
def activate(ws, layer, kind):
    """Turn a layer's pre-activations into activations in place; the padding becomes 0."""
    simd.small_code()
    units, mask = float_pointer(ws, layer.activations), float_pointer(ws, layer.unit_mask)
    lanes, ones = simd.floats_per_vector(units), simd.splat(ws.one, ONE)
    twos, none = simd.add(ones, ones), simd.zeros(units, ONE)
    for r in range(0, layer.n_vectors * lanes, lanes):
        z = simd.load(units, r, ONE)
        if kind == plan.RELU:
            z = simd.relu(z)
        elif kind == plan.TANH:
            # tanh(z) = 2 / (1 + exp(-2 z)) - 1
            z = simd.sub(simd.div(twos, simd.add(ones, simd.exp(simd.mul(simd.sub(none, twos), z)))), ones)
        else:
            z = simd.div(simd.load(mask, r, ONE), simd.add(ones, simd.exp(simd.sub(none, z))))
        simd.store(units, r, z)


@device
def softmax(ws, layer):
    """Turn the outputs' pre-activations into their softmax in place; the padding becomes 0."""
    simd.small_code()
    units, mask = float_pointer(ws, layer.activations), float_pointer(ws, layer.unit_mask)
    lanes, none = simd.floats_per_vector(units), simd.zeros(units, ONE)
    stop = layer.n_vectors * lanes
    if layer.n_outputs <= plan.NARROW:
        # The same bits as below: the other lanes would add zeros.
        x, is_unit = simd.load(units, 0, ONE), simd.load(mask, 0, ONE)
        shift = simd.max_four(simd.where_positive(is_unit, x, simd.splat(units[0], ONE)))
        e = simd.where_positive(is_unit, simd.exp(simd.sub(x, simd.splat(shift, ONE))), none)
        simd.store(units, 0, simd.div(e, simd.splat(simd.sum_four(e), ONE)))
        return
    # Padding must not be the maximum: the first output takes its place.
    first = simd.splat(units[0], ONE)
    top = first
    for r in range(0, stop, lanes):
        top = simd.maximum(simd.where_positive(simd.load(mask, r, ONE), simd.load(units, r, ONE), first), top)
    shift, totals = simd.splat(simd.max_lanes(top), ONE), none
    for r in range(0, stop, lanes):
        powers = simd.exp(simd.sub(simd.load(units, r, ONE), shift))
        e = simd.where_positive(simd.load(mask, r, ONE), powers, none)
        totals = simd.add(totals, e)
        simd.store(units, r, e)
    scale = simd.splat(simd.sum_lanes(totals), ONE)
    for r in range(0, stop, lanes):
        simd.store(units, r, simd.div(simd.load(units, r, ONE), scale))


@device
def class_delta_and_loss(ws, layer, args, i):
    """Write target - output to the outputs' deltas; add the loss, and 1 if the answer is right, to the totals."""
    simd.small_code()
    label = pointer(args.labels, int64)[i]
    units, deltas = float_pointer(ws, layer.activations), float_pointer(ws, layer.deltas)
    mask, numbers = float_pointer(ws, layer.unit_mask), float_pointer(ws, layer.unit_numbers)
    lanes, label_output = simd.floats_per_vector(units), units[label]
    label_outputs, label_number = simd.splat(label_output, ONE), simd.splat(numbers[label], ONE)
    low, high, none = simd.splat(args.low, ONE), simd.splat(args.high, ONE), simd.zeros(units, ONE)
    squares, n_greater = none, 0
    for r in range(0, layer.n_vectors * lanes, lanes):
        output, distance = simd.load(units, r, ONE), simd.sub(simd.load(numbers, r, ONE), label_number)
        target = simd.where_positive(simd.mul(distance, distance), low, high)
        error = simd.where_positive(simd.load(mask, r, ONE), simd.sub(target, output), none)
        n_greater += simd.count_greater(output, label_outputs)
        squares = simd.fma(error, error, squares)
        simd.store(deltas, r, error)
    for k in range(label):
        # The answer is the first of equal outputs, as argmax has it.
        n_greater += units[k] == label_output
    loss = float(simd.sum_lanes(squares))
    if not args.original_rule:
        # If training has diverged the probability is NaN, and so must be the loss.
        probability = np.float64(label_output)
        loss = -math.log(_TINY if probability <= _TINY else probability)  # noqa: FURB136 - NaN
    totals = pointer(args.totals, float64)
    totals[0] += loss
    totals[1] += n_greater == 0


@device
def binary_delta_and_loss(ws, layer, args, i):
    """Write target - output to the outputs' deltas; add the loss, and 1 if all answers are right, to the totals.

    The outputs are independent sigmoids, the loss is the sum of their cross-entropies.
    """
    simd.small_code()
    units, deltas, totals = float_pointer(ws, layer.activations), float_pointer(ws, layer.deltas), args.totals
    targets = advance(float_pointer(ws, args.targets), i * layer.n_outputs)
    loss, n_wrong = 0.0, 0
    for k in range(layer.n_outputs):
        target, output = targets[k], np.float64(units[k])
        deltas[k] = target - units[k]
        rest = 1.0 - output
        loss -= target * math.log(_TINY if output <= _TINY else output)  # noqa: FURB136 - NaN
        loss -= (1.0 - target) * math.log(_TINY if rest <= _TINY else rest)  # noqa: FURB136
        n_wrong += (output > 0.5) != (target > 0.5)
    pointer(totals, float64)[0] += loss
    pointer(totals, float64)[1] += n_wrong == 0


@device
def squared_delta_and_loss(ws, layer, args, i):
    """Write target - output, limited to `error_limit`, to the outputs' deltas; add the loss and squares to the totals.

    The loss of an error e is e**2 / 2; beyond the limit l it is l (|e| - l / 2) if `huber` is set (Huber 1964).
    """
    simd.small_code()
    units, deltas, totals = float_pointer(ws, layer.activations), float_pointer(ws, layer.deltas), args.totals
    targets = advance(float_pointer(ws, args.targets), i * layer.n_outputs)
    loss, squares, limit = 0.0, 0.0, args.error_limit
    for k in range(layer.n_outputs):
        error = targets[k] - units[k]
        wide, size = np.float64(error), abs(np.float64(error))
        squares += wide * wide
        loss += limit * (size - 0.5 * limit) if args.huber and size > limit else 0.5 * wide * wide
        if error > limit:
            error = limit
        elif error < -limit:
            error = -limit
        deltas[k] = error
    pointer(totals, float64)[0] += loss
    pointer(totals, float64)[1] += squares


@device
def scale_deltas(ws, layer, kind, args, learning_rate):
    """Write ``learning_rate * error * slope of the activation`` to the scaled deltas.

    `deltas` hold the errors; they become error * slope, but stay as they are with the original rule, which passes the
    error down. The slope is 1 for softmax with cross-entropy.
    """
    simd.small_code()
    units, deltas = float_pointer(ws, layer.activations), float_pointer(ws, layer.deltas)
    scaled_deltas, lanes = float_pointer(ws, layer.scaled_deltas), simd.floats_per_vector(units)
    ones, rate, none = simd.splat(ws.one, ONE), simd.splat(learning_rate, ONE), simd.zeros(units, ONE)
    for r in range(0, layer.n_vectors * lanes, lanes):
        h, delta = simd.load(units, r, ONE), simd.load(deltas, r, ONE)
        if args.original_rule or kind == plan.SIGMOID:
            delta = simd.mul(simd.mul(delta, h), simd.sub(ones, h))
        elif kind == plan.TANH:
            delta = simd.mul(delta, simd.mul(simd.sub(ones, h), simd.add(ones, h)))
        elif kind == plan.RELU:
            delta = simd.where_positive(h, delta, none)
        if not args.original_rule:
            simd.store(deltas, r, delta)
        simd.store(scaled_deltas, r, simd.mul(rate, delta))


# ---- the first layer ----


@device
def first_preactivations(ws, layer, args, t, n_learned, scale):
    """Write the first layer's pre-activations of sample t of a block: a + s (c (mu·d) + V_0'·d + sum of g_s (d_s·d_t)).

    s is the layer's `scale`, 1 without weight decay. The sum is over the first `n_learned` samples, which the block has
    already trained on.
    """
    simd.small_code()
    units, folded_bias = float_pointer(ws, layer.activations), float_pointer(ws, ws.folded_bias)
    column_offset, lanes = float_pointer(ws, ws.column_offset), simd.floats_per_vector(units)
    width = layer.n_vectors * lanes
    before = advance(float_pointer(ws, ws.block_preactivations), t * width)
    block_deltas, gram = float_pointer(ws, ws.block_deltas), float_pointer(ws, ws.gram)
    product = simd.splat(scale * float_pointer(ws, ws.baseline_products)[t], ONE)
    scaled_factor = scale * args.factor
    factor = simd.splat(scaled_factor, ONE)
    for r in range(0, width, lanes):
        z = simd.fma(simd.load(column_offset, r, ONE), product, simd.load(folded_bias, r, ONE))
        simd.store(units, r, simd.fma(simd.load(before, r, ONE), factor, z))
    for s in range(n_learned):
        pair = t * (t - 1) // 2 + s
        product = simd.splat(scaled_factor * simd.sum_lanes(simd.load(gram, pair * lanes, ONE)), ONE)
        for r in range(0, width, lanes):
            delta = simd.load(block_deltas, s * width + r, ONE)
            simd.store(units, r, simd.fma(product, delta, simd.load(units, r, ONE)))


@device
def copy_biases(ws, layer):
    """Write the first layer's pre-activations of a sample whose inputs are all 0: the biases."""
    simd.small_code()
    units, biases = float_pointer(ws, layer.activations), float_pointer(ws, layer.biases)
    lanes = simd.floats_per_vector(units)
    for r in range(0, layer.n_vectors * lanes, lanes):
        simd.store(units, r, simd.load(biases, r, ONE))


@device
def set_zero_sums(ws, layer, args, i):
    """Set the first layer's pre-activations of image i to 0 where W·x + b is 0, but a + V·d is a rounding error.

    Otherwise inactive ReLU units would learn. This matters only for units that have learned nothing since the weights
    were loaded, whose c is 0 and whose V is W: in others a sum is 0 only by chance. If such a pre-activation is
    positive, but below `zero_bounds`, the greatest rounding error, W·x + b is computed as in ``fastnn.reference``: in
    float64, one input after the other. Baseline 0 does not need this, since terms of 0 are not summed.
    """
    simd.noinline()
    simd.small_code()
    units, bounds = float_pointer(ws, layer.activations), float_pointer(ws, ws.zero_bounds)
    column_offset, lanes, n_small = float_pointer(ws, ws.column_offset), simd.floats_per_vector(units), 0
    none = simd.zeros(units, ONE)
    for r in range(0, layer.n_vectors * lanes, lanes):
        c, z = simd.load(column_offset, r, ONE), simd.load(units, r, ONE)
        bound = simd.where_positive(simd.mul(c, c), none, simd.load(bounds, r, ONE))
        n_small += simd.count_greater(simd.where_positive(z, simd.sub(bound, z), none), none)
    if n_small == 0:  # as for nearly all samples
        return
    images, weights = pointer(args.data, uint8), float_pointer(ws, layer.weights)
    biases = float_pointer(ws, layer.biases)
    for j in range(layer.n_outputs):
        if column_offset[j] == 0 and 0 < units[j] < bounds[j]:
            total = 0.0
            for k in range(layer.n_inputs):
                total += np.float64(weights[k * layer.stride + j]) * (images[i * args.row_stride + k] / 255)
            if total + np.float64(biases[j]) == 0:
                units[j] = 0


@device
def keep_first_deltas(ws, layer, args, t, inverse_scale):
    """Save sample t's scaled deltas / s for the update of V after the block; update a and c."""
    simd.small_code()
    scaled_deltas, lanes = float_pointer(ws, layer.scaled_deltas), simd.floats_per_vector(float_pointer(ws, ws.gram))
    folded_bias, column_offset = float_pointer(ws, ws.folded_bias), float_pointer(ws, ws.column_offset)
    width = layer.n_vectors * lanes
    kept = advance(float_pointer(ws, ws.block_deltas), t * width)
    product = float_pointer(ws, ws.baseline_products)[t]
    bias_gain = simd.splat(args.bias_gain + args.baseline_share * product, ONE)
    share = simd.splat(args.baseline_share * inverse_scale, ONE)
    factor = simd.splat(args.factor * inverse_scale, ONE)
    for r in range(0, width, lanes):
        g = simd.load(scaled_deltas, r, ONE)
        simd.store(kept, r, simd.mul(factor, g))
        simd.store(folded_bias, r, simd.fma(bias_gain, g, simd.load(folded_bias, r, ONE)))
        if args.baseline_share != 0:  # else c stays 0
            simd.store(column_offset, r, simd.fma(share, g, simd.load(column_offset, r, ONE)))


# ---- a sample, and the loop over samples ----


def _make_first_bad(by_class):
    @device
    def first_bad(ws, args, first, size):
        """Return the first sample of a block that has an input or a target that is not finite, or no such class.

        It is a number in `order`, or -1. The block has been read.
        """
        simd.noinline()
        simd.small_code()
        order, labels, targets = (
            pointer(args.order, int64),
            pointer(args.labels, int64),
            float_pointer(ws, args.targets),
        )
        n_outputs = layer_at(ws, ws.n_layers - 1).n_outputs
        for t in range(size):
            i, good = order[first + t], is_finite_row(ws, t)
            if args.outputs == 0:
                if by_class:
                    good = good and 0 <= labels[i] < n_outputs
                else:
                    for k in range(i * n_outputs, (i + 1) * n_outputs):
                        good = good and targets[k] * 0 == 0
            if not good:
                return first + t
        return -1

    return first_bad


def _make_forward(forward_layer, activate_outputs, scale_inputs):
    @device
    def forward(ws, args, position, learns):
        """Compute all activations from the first layer's pre-activations."""
        simd.small_code()
        last = ws.n_layers - 1
        for depth in range(last + 1):
            layer = layer_at(ws, depth)
            if depth > 0:
                scale_inputs(ws, args, depth, position, learns)
                forward_layer(ws, layer)
            if depth < last:
                activate(ws, layer, ws.hidden_activation)
            else:
                activate_outputs(ws, layer)

    return forward


def _make_backward(update_layer, weights_used, before_update, scale_update, after_update):
    @device
    def backward(ws, args, learning_rate):
        """Update all biases and the weights of all layers but the first, of which it computes the scaled deltas."""
        simd.small_code()
        last = ws.n_layers - 1
        for depth in range(last, -1, -1):
            layer = layer_at(ws, depth)
            scale_deltas(ws, layer, plan.SOFTMAX if depth == last else ws.hidden_activation, args, learning_rate)
            before_update(ws, args, depth)
            biases, scaled_deltas = float_pointer(ws, layer.biases), float_pointer(ws, layer.scaled_deltas)
            lanes = simd.floats_per_vector(biases)
            for r in range(0, layer.n_vectors * lanes, lanes):
                simd.store(biases, r, simd.add(simd.load(biases, r, ONE), simd.load(scaled_deltas, r, ONE)))
            if depth > 0:
                scale_update(ws, args, depth)
                update_layer(ws, layer, layer_at(ws, depth - 1), weights_used)
                after_update(ws, args, depth)

    return backward


def _make_predict_block(activate_outputs):
    @device
    def predict_block(ws, args, first):
        """Write the outputs for a whole block of samples, whose sums of the first layer have been computed.

        They are the bits that one sample after the other gives, 9 % sooner for 784-200-40-10.
        """
        simd.noinline()
        simd.small_code()
        last, first_layer, second = ws.n_layers - 1, layer_at(ws, 0), layer_at(ws, 1)
        units, is_zero = float_pointer(ws, first_layer.activations), pointer(ws.is_zero, int64)
        # A sample's activations take the place of its sums, which are read before.
        inputs, lanes = float_pointer(ws, ws.block_preactivations), simd.floats_per_vector(units)
        width = first_layer.n_vectors * lanes
        for t in range(BLOCK):
            if is_zero[t]:
                copy_biases(ws, first_layer)
            else:
                first_preactivations(ws, first_layer, args, t, 0, ws.one)
            activate(ws, first_layer, ws.hidden_activation)
            for r in range(0, width, lanes):
                simd.store(inputs, t * width + r, simd.load(units, r, ONE))
        sum_products_of_block(ws, second, inputs)
        lane_sums, biases = float_pointer(ws, ws.block_lane_sums), float_pointer(ws, second.biases)
        out, answers = float_pointer(ws, args.outputs), float_pointer(ws, layer_at(ws, last).activations)
        n_outputs, above = layer_at(ws, last).n_outputs, float_pointer(ws, second.activations)
        length = second.n_vectors * lanes
        for t in range(BLOCK):
            sums = advance(lane_sums, t * length * lanes)
            for r in range(0, length, lanes):
                simd.store(above, r, simd.add(simd.load(biases, r, ONE), simd.sum_each(sums, r * lanes)))
            for depth in range(1, last + 1):
                layer = layer_at(ws, depth)
                if depth > 1:
                    forward_dense(ws, layer)
                if depth < last:
                    activate(ws, layer, ws.hidden_activation)
                else:
                    activate_outputs(ws, layer)
            for k in range(n_outputs):
                out[(first + t) * n_outputs + k] = answers[k]

    return predict_block


@device
def no_block(_ws, _args, _first):
    """Do nothing: samples are predicted one after the other."""


@device
def no_scale(ws):
    """Return 1, the scale of weights without decay."""
    return ws.one


@device
def no_rescaling(_ws):
    """Do nothing: weights without decay have no scale."""


@device
def unscaled_inputs(_ws, _args, _depth, _position, _learns):
    """Do nothing: without regularisation a layer reads the activations below."""


@device
def no_hook(_ws, _args, _depth):
    """Do nothing."""


@device
def sigmoid_outputs(ws, layer):
    """Turn the outputs' pre-activations into sigmoids in place."""
    activate(ws, layer, plan.SIGMOID)


@device
def linear_outputs(_ws, _layer):
    """Leave the outputs' pre-activations as they are."""


_OUTPUTS = {
    "original": (sigmoid_outputs, class_delta_and_loss),
    "cross_entropy": (softmax, class_delta_and_loss),
    "binary_cross_entropy": (sigmoid_outputs, binary_delta_and_loss),
    "squared_error": (linear_outputs, squared_delta_and_loss),
}
"""For each loss the outputs' activation, and the function that computes loss and deltas."""


@cache
def run_samples(dtype, loss, activation, data="images", variant="plain"):
    """Return the kernel that trains a network on samples one after the other, or predicts them.

    It is one function, since the parts that training and prediction share would be compiled twice in two.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    loss : {"original", "cross_entropy", "binary_cross_entropy", "squared_error"}
        Also decides the activation of the outputs; "original" is the original's learning rule.
    activation : {"relu", "sigmoid"}
        Of the hidden layers; tanh shares the kernel of sigmoid.
    data : str
        Kind of the data, see :func:`fastnn.kernels.inputs.reader`.
    variant : {"plain", "regularised"}
        Whether it can do weight decay and dropout.

    Returns
    -------
    callable
        Takes the address of an argument block (``workspace.arguments_dtype``). If the block's `outputs` is 0, it
        trains on the samples of `order`, and adds the sum of the losses and the number of right answers (for squared
        errors: their sum) before each sample's update to `totals` (two float64); the loss is NaN if training diverges.
        Else it writes the network's outputs there, in the order of `order`, and changes no weight. If `is_checked` is
        set, it stops before a block of rows with a bad sample, and before the update by a block of one row whose loss
        is not finite; `refused` says which sample it is.
    """
    arguments, workspace = plan.arguments_dtype(np.dtype(dtype)), plan.workspace_dtype(np.dtype(dtype))
    forward_layer = forward_sparse if activation == "relu" else forward_dense
    update_layer = _update_sparse[loss == "original"] if activation == "relu" else update_dense
    weights_used = weights_after if loss == "original" else weights_before
    read_block, (activate_outputs, delta_and_loss) = reader(data, dtype), _OUTPUTS[loss]
    rescale, scale_inputs = no_rescaling, unscaled_inputs
    first_scale = inverse_first_scale = no_scale
    hooks = (no_hook,) * 3
    if variant == "regularised":
        rescale, scale_inputs = regularise.rescale, regularise.scale_inputs
        first_scale, inverse_first_scale = regularise.first_scale, regularise.inverse_first_scale
        hooks = regularise.before_update, regularise.scale_update, regularise.after_update
    forward = _make_forward(forward_layer, activate_outputs, scale_inputs)
    backward = _make_backward(update_layer, weights_used, *hooks)
    forward_first, update_first = first_layer_forward, first_layer_update
    if data == "sparse":
        forward_first, update_first = slots_forward, slots_update
    is_image, is_rows, has_relu = data == "images", data in ("float32", "float64"), activation == "relu"
    by_class = loss in ("original", "cross_entropy")
    first_bad = _make_first_bad(by_class)
    # Where vectors are halves, four samples need more registers than there are.
    by_block = NATIVE == ONE and not has_relu and variant == "plain"
    predict_block = _make_predict_block(activate_outputs) if by_block else no_block

    def run(address):
        simd.small_code()
        args = record_at(address, arguments)
        ws = record_at(args.workspace, workspace)
        first_layer, last_layer = layer_at(ws, 0), layer_at(ws, ws.n_layers - 1)
        order, labels, is_zero = pointer(args.order, int64), pointer(args.labels, int64), pointer(ws.is_zero, int64)
        answers, outputs = float_pointer(ws, last_layer.activations), float_pointer(ws, args.outputs)
        sample_weights, learns = float_pointer(ws, args.sample_weights), args.outputs == 0
        totals = pointer(args.totals, float64)
        for first in range(0, args.n, BLOCK):
            size = min(BLOCK, args.n - first)
            read_block(ws, args, first, size)
            if is_rows and args.is_checked:
                bad = first_bad(ws, args, first, size)
                if bad >= 0:
                    args.refused = bad + 1
                    if learns:
                        ws.position += first
                    return
            rescale(ws)
            if is_rows and args.dense:
                dense_forward(ws, first_layer, size)
            else:
                forward_first(ws, first_layer)
            if by_block and not learns and size == BLOCK and ws.n_layers > 1:
                predict_block(ws, args, first)
                continue
            for t in range(size):
                i, position = order[first + t], ws.position + first + t
                if by_class and learns:  # in random order: waiting for it takes 0.1 us
                    simd.prefetch(labels, i)
                if is_zero[t]:
                    copy_biases(ws, first_layer)
                else:
                    first_preactivations(ws, first_layer, args, t, t if learns else 0, first_scale(ws))
                    if is_image and has_relu and learns and args.baseline_share == 1:
                        set_zero_sums(ws, first_layer, args, i)
                forward(ws, args, position, learns)
                if learns:
                    delta_and_loss(ws, last_layer, args, i)
                    if is_rows and args.is_checked and size == 1 and totals[0] * 0 != 0:
                        # Nothing has changed yet, and nothing will.
                        args.refused = -(first + 1)
                        return
                    rate = args.learning_rate
                    if args.sample_weights != 0:
                        rate = rate * sample_weights[i]
                    backward(ws, args, rate)
                    keep_first_deltas(ws, first_layer, args, t, inverse_first_scale(ws))
                else:
                    for k in range(last_layer.n_outputs):
                        outputs[(first + t) * last_layer.n_outputs + k] = answers[k]
            if learns:
                if is_rows and args.dense:
                    dense_update(ws, first_layer, size)
                else:
                    update_first(ws, first_layer)
        if learns:
            ws.position += args.n

    return run
