"""Per-sample stochastic gradient descent: the loop over samples and the layers' forward and backward passes.

The first layer is sparse. An input is x = baseline + d, and only pixels with d != 0 are visited. The baseline is 1
everywhere where white is fed as 1, else 0. With W = V + c·1' (c: one offset a hidden unit) and a = b + W·baseline the
pre-activations of the first layer are

    W·x + b = a + V·d + c·sum(d)

and the update of W by g·x' is c += baseline·g, V += g·d', a += g·(1 + baseline·sum(x)): the same SGD in exact
arithmetic, at a cost proportional to the non-zero d. The caller computes a and sets c to 0, and adds c to the weights at
the end; between, the first layer's weights lack c. With baseline 0, c stays 0 and a is the bias itself.

Samples are taken in blocks of four (``fastnn.kernels.first_layer``). V·d is computed for all four with the weights
before the block, then corrected by what the earlier samples of the block change:
V_t·d_t = V_0·d_t + the sum over s < t of g_s (d_s·d_t). After the block V takes all four updates at once. This too is
the same SGD in exact arithmetic, and rows of V in the second-level cache are read and written once a block.

The kernels read pixels as whole numbers s with d = factor·s: V·d is factor·(V·s), and V is updated by (factor·g)·s'.

Layers above the first are dense. With ReLU they keep the network's order, a row of weights an input, and rows of inactive
inputs are skipped ("sparse"). With the other activations they are transposed, a row an output ("dense"): then the
deltas for the layer below are sums of whole rows, and only the few outputs are sums over lanes.

Rules "original" (see ``fastnn.reference``) and "backprop" differ in what a layer passes down. The original rule passes
the raw error through the weights after their update, backprop passes the delta through the weights before it.
"""

import math
from collections import namedtuple
from functools import cache

import numpy as np
from numba import float64, int32, int64, uint8, uint64

from fastnn.kernels.first_layer import first_layer_forward, first_layer_update, read_block
from fastnn.kernels.vector import (
    FOUR,
    NATIVE,
    NATIVE_PER_VECTOR,
    ONE,
    THREE,
    add,
    advance,
    count_greater,
    device,
    div,
    dot,
    exp,
    float_pointer,
    floats_per_vector,
    fma,
    load,
    load_rows,
    lowest_bit,
    max_lanes,
    maximum,
    mul,
    no_unroll,
    noinline,
    pointer,
    prefetch,
    record_at,
    relu,
    splat,
    splat_rows,
    store,
    store_rows,
    sub,
    sum_each,
    sum_lanes,
    where_positive,
    zeros,
)
from fastnn.kernels.workspace import (
    BLOCK,
    LAYER,
    N_MASKS,
    RELU,
    SIGMOID,
    SOFTMAX,
    TANH,
    arguments_dtype,
    workspace_dtype,
)

_TINY = 1e-30
"""Smaller probabilities count as this in the loss."""

_LAYER_BYTES = LAYER.itemsize

ActiveRows = namedtuple("ActiveRows", "offsets values count")
"""The non-zero inputs of a layer: where their rows of weights begin, their values, how many there are."""

Tile = namedtuple("Tile", "weights scaled_deltas deltas")
"""The columns of a layer that one pass updates, as pointers to the first."""


@device
def layer_at(ws, depth):
    """Return the record of a layer."""
    return record_at(ws.layers + depth * _LAYER_BYTES, LAYER)


@device
def active_rows_of(ws, layer):
    """Return the non-zero inputs of a layer, as :func:`compact_nonzero` has listed them."""
    return ActiveRows(pointer(layer.active_offsets, int64), float_pointer(ws, layer.active_values), layer.n_active)


@device
def tile_width(n_vectors):
    """Return the width of the next tile: 4, 3 or 1 vectors. 13 vectors are 4 + 3 + 3 + 3, so that few are narrow."""
    width = -(-n_vectors // -(-n_vectors // 4))
    return width if width != 2 else 1


# ---- sparse layers: a row of weights an input ----


def _make_add_rows_tile(width):
    @device
    def add_rows_tile(out, start, weights, rows):
        x = load(start, 0, width)
        k = 0
        if width < 4:
            # Few vectors are too few sums at once to hide the latency of an addition: take two rows at a time.
            y = zeros(start, width)
            while k + 1 < rows.count:
                no_unroll()
                x = fma(splat(rows.values[k], width), load(weights, rows.offsets[k], width), x)
                y = fma(splat(rows.values[k + 1], width), load(weights, rows.offsets[k + 1], width), y)
                k += 2
            x = add(x, y)
        while k < rows.count:
            no_unroll()
            x = fma(splat(rows.values[k], width), load(weights, rows.offsets[k], width), x)
            k += 1
        store(out, 0, x)

    return add_rows_tile


_add_rows_tile_1, _add_rows_tile_3, _add_rows_tile_4 = map(_make_add_rows_tile, (ONE, THREE, FOUR))


@device
def add_rows(out, start, n_vectors, weights, rows):
    """Compute ``out = start + sum over k of values[k] * weights row k``: the transposed matrix-vector product."""
    noinline()
    lanes = floats_per_vector(out)
    while n_vectors > 0:
        no_unroll()
        width = tile_width(n_vectors)
        if width == 4:
            _add_rows_tile_4(out, start, weights, rows)
        elif width == 3:
            _add_rows_tile_3(out, start, weights, rows)
        else:
            _add_rows_tile_1(out, start, weights, rows)
        step = width * lanes
        out, start, weights = advance(out, step), advance(start, step), advance(weights, step)
        n_vectors -= width


def _make_update_tile(width):
    @device
    def update_tile(tile, rows, lane_sums, first, weights_used):
        scaled, deltas = load(tile.scaled_deltas, 0, width), load(tile.deltas, 0, width)
        lanes = floats_per_vector(lane_sums)
        for k in range(rows.count):
            no_unroll()
            old = load(tile.weights, rows.offsets[k], width)
            new = fma(splat(rows.values[k], width), scaled, old)
            store(tile.weights, rows.offsets[k], new)
            so_far = zeros(lane_sums, ONE)
            if not first:
                so_far = load(lane_sums, k * lanes, ONE)
            store(lane_sums, k * lanes, dot(weights_used(old, new), deltas, so_far))

    return update_tile


_update_tile_1, _update_tile_3, _update_tile_4 = map(_make_update_tile, (ONE, THREE, FOUR))


@device
def update_rows_and_backpropagate(ws, layer, rows, weights_used):
    """Add values[k] times the scaled deltas to row k, and take each row's product with the deltas.

    The products, a vector a row, go to `lane_sums` and are still to be summed over their lanes. ``weights_used(old,
    new)`` says which weights they are taken with.
    """
    noinline()
    lane_sums = float_pointer(ws, ws.lane_sums)
    lanes = floats_per_vector(lane_sums)
    weights = float_pointer(ws, layer.weights)
    scaled_deltas, deltas = float_pointer(ws, layer.scaled_deltas), float_pointer(ws, layer.deltas)
    n_vectors, first = layer.n_vectors, True
    while n_vectors > 0:
        no_unroll()
        width = tile_width(n_vectors)
        tile = Tile(weights, scaled_deltas, deltas)
        if width == 4:
            _update_tile_4(tile, rows, lane_sums, first, weights_used)
        elif width == 3:
            _update_tile_3(tile, rows, lane_sums, first, weights_used)
        else:
            _update_tile_1(tile, rows, lane_sums, first, weights_used)
        first = False
        step = width * lanes
        weights, scaled_deltas = advance(weights, step), advance(scaled_deltas, step)
        deltas = advance(deltas, step)
        n_vectors -= width
    for k in range(rows.count, -(-rows.count // lanes) * lanes):
        no_unroll()
        store(lane_sums, k * lanes, zeros(lane_sums, ONE))


@device
def compact_nonzero(ws, layer, below):
    """List the inputs of a layer that are not 0."""
    inputs, values = float_pointer(ws, below.activations), float_pointer(ws, layer.active_values)
    rows, offsets = pointer(layer.active_rows, int64), pointer(layer.active_offsets, int64)
    stride, count = layer.stride, 0
    for j in range(layer.n_inputs):
        no_unroll()
        value = inputs[j]
        rows[count] = j
        offsets[count] = j * stride
        values[count] = value
        count += value != 0
    layer.n_active = count


@device
def scatter_deltas(ws, layer, below):
    """Sum the products in `lane_sums` over their lanes, into the deltas of the layer below; inactive units get 0."""
    deltas, lane_sums = float_pointer(ws, below.deltas), float_pointer(ws, ws.lane_sums)
    rows, count = pointer(layer.active_rows, int64), layer.n_active
    lanes = floats_per_vector(deltas)
    for j in range(0, layer.n_inputs, lanes):
        no_unroll()
        store(deltas, j, zeros(deltas, ONE))
    for k in range(0, count, lanes):
        no_unroll()
        # The vectors that were summed are not needed again: the first takes the result.
        store(lane_sums, k * lanes, sum_each(lane_sums, k * lanes))
        for i in range(min(lanes, count - k)):
            no_unroll()
            deltas[rows[k + i]] = lane_sums[k * lanes + i]


@device
def forward_sparse(ws, layer, below):
    """Compute a layer's pre-activations from its non-zero inputs."""
    compact_nonzero(ws, layer, below)
    out, biases = float_pointer(ws, layer.activations), float_pointer(ws, layer.biases)
    weights = float_pointer(ws, layer.weights)
    add_rows(out, biases, layer.n_vectors, weights, active_rows_of(ws, layer))


@device
def update_sparse(ws, layer, below, weights_used):
    """Update the rows of a layer's non-zero inputs, and compute the deltas of the layer below."""
    update_rows_and_backpropagate(ws, layer, active_rows_of(ws, layer), weights_used)
    scatter_deltas(ws, layer, below)


# ---- dense layers: a row of weights an output ----


@device
def dot_rows(ws, layer, below):
    """Leave at `lane_sums` the products of rows of weights with the inputs, a vector a row, lanes not summed.

    Four rows at a time; the number of rows is rounded up to fours, then with zeros to whole vectors.
    """
    x, lane_sums = float_pointer(ws, below.activations), float_pointer(ws, ws.lane_sums)
    weights, stride = float_pointer(ws, layer.weights), layer.stride
    lanes = floats_per_vector(x)
    n_rows, length = layer.n_outputs, layer.n_input_vectors * lanes
    k = 0
    while k < n_rows:
        no_unroll()
        sums = zeros(x, FOUR)
        row = advance(weights, k * stride)
        r = 0
        while r < length:  # a range would divide by its step
            no_unroll()
            sums = fma(load_rows(advance(row, r), stride, ONE), load(x, r, ONE), sums)
            r += lanes
        store(lane_sums, k * lanes, sums)
        k += 4
    while k % lanes != 0:
        no_unroll()
        store(lane_sums, k * lanes, zeros(x, ONE))
        k += 1


@device
def forward_dense(ws, layer, below):
    """Compute a layer's pre-activations."""
    dot_rows(ws, layer, below)
    out, biases = float_pointer(ws, layer.activations), float_pointer(ws, layer.biases)
    lane_sums = float_pointer(ws, ws.lane_sums)
    lanes = floats_per_vector(out)
    for r in range(0, layer.n_vectors * lanes, lanes):
        no_unroll()
        store(out, r, add(load(biases, r, ONE), sum_each(lane_sums, r * lanes)))


@device
def update_four_rows(row, stride, x, target, multipliers, weights_used):
    """Update four rows of weights by their scaled deltas times x; add the rows times their deltas to `target`.

    `multipliers` holds the deltas and the scaled deltas, each in every lane of a vector, and the length of the rows.
    """
    deltas, scaled_deltas, length = multipliers
    step = floats_per_vector(row) // NATIVE_PER_VECTOR
    r = 0
    while r < length:  # a range would divide by its step
        no_unroll()
        old = load_rows(advance(row, r), stride, NATIVE)
        new = fma(scaled_deltas, load(x, r, NATIVE), old)
        store_rows(advance(row, r), stride, new)
        store(target, r, dot(weights_used(old, new), deltas, load(target, r, NATIVE)))
        r += step


@device
def update_dense(ws, layer, below, weights_used):
    """Update a layer's weights, and compute the deltas of the layer below.

    Four rows at a time, the last first: they are still in the first-level cache from :func:`dot_rows`, and the first
    rows are left there for the next sample.
    """
    noinline()
    x, target = float_pointer(ws, below.activations), float_pointer(ws, below.deltas)
    weights, stride = float_pointer(ws, layer.weights), layer.stride
    deltas, scaled_deltas = float_pointer(ws, layer.deltas), float_pointer(ws, layer.scaled_deltas)
    lanes = floats_per_vector(x)
    length = layer.n_input_vectors * lanes
    for r in range(0, length, lanes):
        no_unroll()
        store(target, r, zeros(target, ONE))
    k = -(-layer.n_outputs // 4) * 4
    while k > 0:
        no_unroll()
        k -= 4
        multipliers = splat_rows(deltas, k, NATIVE), splat_rows(scaled_deltas, k, NATIVE), length
        update_four_rows(advance(weights, k * stride), stride, x, target, multipliers, weights_used)


# ---- activations, loss and deltas ----


@device
def activate(ws, layer, kind):
    """Apply an activation in place; the padding becomes 0."""
    units, mask = float_pointer(ws, layer.activations), float_pointer(ws, layer.unit_mask)
    lanes = floats_per_vector(units)
    ones = splat(ws.one, ONE)
    twos = add(ones, ones)
    for r in range(0, layer.n_vectors * lanes, lanes):
        no_unroll()
        z = load(units, r, ONE)
        if kind == RELU:
            z = relu(z)
        elif kind == TANH:
            # tanh(z) = 2 / (1 + exp(-2 z)) - 1
            z = sub(div(twos, add(ones, exp(mul(sub(ones, add(twos, ones)), z)))), ones)
        else:
            z = div(load(mask, r, ONE), add(ones, exp(sub(sub(ones, ones), z))))
        store(units, r, z)


@device
def softmax(ws, layer):
    """Turn the pre-activations into a softmax in place; the padding becomes 0."""
    units, mask = float_pointer(ws, layer.activations), float_pointer(ws, layer.unit_mask)
    lanes = floats_per_vector(units)
    stop, none = layer.n_vectors * lanes, zeros(units, ONE)
    # The first output stands in for the padding.
    first = splat(units[0], ONE)
    top = first
    for r in range(0, stop, lanes):
        no_unroll()
        top = maximum(where_positive(load(mask, r, ONE), load(units, r, ONE), first), top)
    shift = splat(max_lanes(top), ONE)
    totals = none
    for r in range(0, stop, lanes):
        no_unroll()
        e = where_positive(load(mask, r, ONE), exp(sub(load(units, r, ONE), shift)), none)
        totals = add(totals, e)
        store(units, r, e)
    scale = splat(sum_lanes(totals), ONE)
    for r in range(0, stop, lanes):
        no_unroll()
        store(units, r, div(load(units, r, ONE), scale))


@device
def output_delta_and_loss(ws, layer, args, label, totals):
    """Write target - output of each output to its delta; add loss and hit to `totals`."""
    units, deltas = float_pointer(ws, layer.activations), float_pointer(ws, layer.deltas)
    mask, numbers = float_pointer(ws, layer.unit_mask), float_pointer(ws, layer.unit_numbers)
    lanes, label_output = floats_per_vector(units), units[label]
    outputs_of_label, label_number = splat(label_output, ONE), splat(numbers[label], ONE)
    low, high = splat(args.low, ONE), splat(args.high, ONE)
    squares, n_greater = zeros(units, ONE), 0
    for r in range(0, layer.n_vectors * lanes, lanes):
        no_unroll()
        output = load(units, r, ONE)
        distance = sub(load(numbers, r, ONE), label_number)
        target = where_positive(mul(distance, distance), low, high)
        error = where_positive(load(mask, r, ONE), sub(target, output), zeros(units, ONE))
        n_greater += count_greater(output, outputs_of_label)
        squares = fma(error, error, squares)
        store(deltas, r, error)
    for k in range(label):
        no_unroll()
        # Of equal outputs the first is the network's answer.
        n_greater += units[k] == label_output
    loss = float(sum_lanes(squares))
    if not args.original_rule:
        # Not max: a diverged network gives NaN, which must stay NaN.
        probability = np.float64(label_output)
        loss = -math.log(max(_TINY, probability)) if probability == probability else math.nan
    totals[0] += loss
    totals[1] += n_greater == 0


@device
def scale_deltas(ws, layer, kind, args, learning_rate):
    """Compute ``learning_rate * delta``. Softmax with cross-entropy has slope 1.

    The delta is the error times the slope of the activation. The original rule passes the error itself down, so there
    the deltas keep it.
    """
    units, deltas = float_pointer(ws, layer.activations), float_pointer(ws, layer.deltas)
    scaled_deltas = float_pointer(ws, layer.scaled_deltas)
    lanes = floats_per_vector(units)
    ones, rate, none = splat(ws.one, ONE), splat(learning_rate, ONE), zeros(units, ONE)
    for r in range(0, layer.n_vectors * lanes, lanes):
        no_unroll()
        h, delta = load(units, r, ONE), load(deltas, r, ONE)
        if args.original_rule or kind == SIGMOID:
            delta = mul(mul(delta, h), sub(ones, h))
        elif kind == TANH:
            delta = mul(delta, mul(sub(ones, h), add(ones, h)))
        elif kind == RELU:
            delta = where_positive(h, delta, none)
        if not args.original_rule:
            store(deltas, r, delta)
        store(scaled_deltas, r, mul(rate, delta))


@device
def weights_before(old, _new):
    """Backprop takes the deltas of the layer below with the weights before their update."""
    return old


@device
def weights_after(_old, new):
    """The original rule takes the errors of the layer below with the weights after their update."""
    return new


# ---- the first layer ----


@device
def list_pixels(ws, args, size):
    """Read the images that begin at `image_offsets`, and list their pixels by sample mask.

    If the layer is dense the list of the mask of all samples holds every pixel. In a block of fewer samples than
    usual only the first `size` have bits in the masks.
    """
    all_samples = (1 << size) - 1
    read_block(ws, args.images, args.white, all_samples)
    lists, ends = pointer(ws.active_pixels, int32), pointer(ws.list_ends, int64)
    masks, any_mask = pointer(ws.sample_masks, uint8), pointer(ws.any_mask, uint64)
    stride = ws.pixel_stride
    for mask in range(N_MASKS):
        no_unroll()
        ends[mask] = mask * stride
    if args.dense:
        n_inputs = layer_at(ws, 0).n_inputs
        for p in range(n_inputs):
            no_unroll()
            lists[all_samples * stride + p] = p
        ends[all_samples] = all_samples * stride + n_inputs
        return
    for word in range(-(-stride // 64)):
        no_unroll()
        bits = any_mask[word]
        while bits != 0:
            no_unroll()
            p = 64 * word + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            mask = int64(masks[p])
            end = ends[mask]
            lists[end] = p
            ends[mask] = end + 1


@device
def deviation_sum_of(ws, args, i):
    """Return sum(d) of image i."""
    images, n_inputs = pointer(args.images, uint8), layer_at(ws, 0).n_inputs
    grey = 0
    for k in range(i * args.n_pixels, i * args.n_pixels + n_inputs):
        grey += images[k]
    # Of whole numbers, so that neither order nor dtype matters. The factor is negative where pixels are inverted.
    fed = 255 * n_inputs - grey if args.factor < 0 else grey
    scratch = float_pointer(ws, ws.lane_sums)
    scratch[0] = fed / 255 - args.baseline * n_inputs  # in float64, then rounded to the network's type
    return scratch[0]


@device
def first_preactivations(ws, layer, args, deviation_sum, t, n_learned):
    """Compute the first layer's pre-activations for sample t of a block whose first `n_learned` samples were learned.

    They are a + c·sum(d) + V_0·d, and g_s (d_s·d_t) for each s that was learned.
    """
    units, folded_bias = float_pointer(ws, layer.activations), float_pointer(ws, ws.folded_bias)
    column_offset = float_pointer(ws, ws.column_offset)
    lanes = floats_per_vector(units)
    width = layer.n_vectors * lanes
    before = advance(float_pointer(ws, ws.block_preactivations), t * width)
    block_deltas, gram = float_pointer(ws, ws.block_deltas), float_pointer(ws, ws.gram)
    total, factor = splat(deviation_sum, ONE), splat(args.factor, ONE)
    for r in range(0, width, lanes):
        no_unroll()
        z = fma(load(column_offset, r, ONE), total, load(folded_bias, r, ONE))
        store(units, r, fma(load(before, r, ONE), factor, z))
    for s in range(n_learned):
        no_unroll()
        pair = t * (t - 1) // 2 + s
        product = splat(args.factor * sum_lanes(load(gram, pair * lanes, ONE)), ONE)
        for r in range(0, width, lanes):
            no_unroll()
            store(units, r, fma(product, load(block_deltas, s * width + r, ONE), load(units, r, ONE)))


@device
def keep_first_deltas(ws, layer, args, deviation_sum, t):
    """Keep sample t's scaled deltas for the update after the block; update a and c at once."""
    scaled_deltas = float_pointer(ws, layer.scaled_deltas)
    folded_bias, column_offset = float_pointer(ws, ws.folded_bias), float_pointer(ws, ws.column_offset)
    lanes = floats_per_vector(scaled_deltas)
    width = layer.n_vectors * lanes
    kept = advance(float_pointer(ws, ws.block_deltas), t * width)
    bias_gain = splat(args.bias_gain + args.baseline * deviation_sum, ONE)
    baseline, factor = splat(args.baseline, ONE), splat(args.factor, ONE)
    for r in range(0, width, lanes):
        no_unroll()
        g = load(scaled_deltas, r, ONE)
        store(kept, r, mul(factor, g))
        store(folded_bias, r, fma(bias_gain, g, load(folded_bias, r, ONE)))
        store(column_offset, r, fma(baseline, g, load(column_offset, r, ONE)))


# ---- a sample, and the loop over samples ----


@device
def forward(ws, args, forward_layer):
    """Run the network from the first layer's pre-activations to its outputs."""
    last = ws.n_layers - 1
    for depth in range(last + 1):
        no_unroll()
        layer = layer_at(ws, depth)
        if depth > 0:
            forward_layer(ws, layer, layer_at(ws, depth - 1))
        if depth < last:
            activate(ws, layer, ws.hidden_activation)
        elif args.original_rule:
            activate(ws, layer, SIGMOID)
        else:
            softmax(ws, layer)


@device
def backward(ws, args, learning_rate, update_layer, weights_used):
    """Update all layers but the first one's weights after a forward pass; leaves the first layer's scaled deltas."""
    last = ws.n_layers - 1
    for depth in range(last, -1, -1):
        no_unroll()
        layer = layer_at(ws, depth)
        scale_deltas(ws, layer, SOFTMAX if depth == last else ws.hidden_activation, args, learning_rate)
        biases, scaled_deltas = float_pointer(ws, layer.biases), float_pointer(ws, layer.scaled_deltas)
        lanes = floats_per_vector(biases)
        for r in range(0, layer.n_vectors * lanes, lanes):
            no_unroll()
            store(biases, r, add(load(biases, r, ONE), load(scaled_deltas, r, ONE)))
        if depth > 0:
            update_layer(ws, layer, layer_at(ws, depth - 1), weights_used)


@device
def locate_images(ws, args, first, size):
    """Write where the images of a block begin, and prefetch those of the next: the order is random."""
    offsets, order, images = pointer(ws.image_offsets, int64), pointer(args.order, int64), pointer(args.images, uint8)
    i = order[first]
    for t in range(BLOCK):
        no_unroll()
        if t < size:
            i = order[first + t]
        offsets[t] = i * args.n_pixels
        if first + t + BLOCK < args.n:
            start = order[first + t + BLOCK] * args.n_pixels
            for k in range(start, start + args.n_pixels, 64):
                no_unroll()
                prefetch(images, k)


@cache
def run_samples(dtype, rule, activation):
    """Return the kernel that trains a network on samples one after the other, or runs it on them.

    Training and prediction are one function: as two, what they share would be compiled twice.

    Parameters
    ----------
    dtype : str
        "float32" or "float64".
    rule : {"original", "backprop"}
    activation : {"sigmoid", "tanh", "relu"}

    Returns
    -------
    callable
        Takes the address of an argument block (``workspace.arguments_dtype``). If the block's `outputs` is 0, the
        samples of `order` are learned, and `totals` (two float64) gets the sum of the losses and the number of hits
        before each sample's update; a loss of NaN marks a divergence. Else the network's outputs are written there,
        in the order of `order`, and no weight is changed.
    """
    arguments, workspace = arguments_dtype(np.dtype(dtype)), workspace_dtype(np.dtype(dtype))
    forward_layer = forward_sparse if activation == "relu" else forward_dense
    update_layer = update_sparse if activation == "relu" else update_dense
    weights_used = weights_after if rule == "original" else weights_before

    def run(address):
        args = record_at(address, arguments)
        ws = record_at(args.workspace, workspace)
        first_layer, last_layer = layer_at(ws, 0), layer_at(ws, ws.n_layers - 1)
        order, labels, totals = pointer(args.order, int64), pointer(args.labels, int64), pointer(args.totals, float64)
        sample_weights = float_pointer(ws, args.sample_weights)
        answers, outputs = float_pointer(ws, last_layer.activations), float_pointer(ws, args.outputs)
        learns = args.outputs == 0
        for first in range(0, args.n, BLOCK):
            no_unroll()
            size = min(BLOCK, args.n - first)
            locate_images(ws, args, first, size)
            list_pixels(ws, args, size)
            first_layer_forward(ws, first_layer)
            for t in range(size):
                no_unroll()
                i = order[first + t]
                deviation_sum, n_learned = deviation_sum_of(ws, args, i), t if learns else 0
                first_preactivations(ws, first_layer, args, deviation_sum, t, n_learned)
                forward(ws, args, forward_layer)
                if learns:
                    output_delta_and_loss(ws, last_layer, args, labels[i], totals)
                    rate = args.learning_rate
                    if args.sample_weights != 0:
                        rate = rate * sample_weights[i]
                    backward(ws, args, rate, update_layer, weights_used)
                    keep_first_deltas(ws, first_layer, args, deviation_sum, t)
                else:
                    for k in range(last_layer.n_outputs):
                        no_unroll()
                        outputs[(first + t) * last_layer.n_outputs + k] = answers[k]
            if learns:
                first_layer_update(ws, first_layer)

    return run
