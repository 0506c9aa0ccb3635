"""Per-sample stochastic gradient descent: the matrix kernels, and the loop over samples made of them.

The first layer works on ink. An input is written x = base + d with d = 0 for most pixels; base is 1 where paper is 1,
else 0. With W = V + c 1' (one offset a hidden unit) and a = b + W (base 1), the sums of the first layer are

    W x + b = a + V d + c sum(d)

and the update of W by g x' is c += base g, V += g d', a += g (1 + base sum(x)): the same descent in exact arithmetic at
a cost proportional to the ink. The caller finds a and sets c to 0; it adds c to the weights in the end, and in between
the first layer's weights lack c. Without a base, c stays 0 and a is the bias itself.

Samples are taken in blocks of four (``fastnn.kernels.blocks``). V d is found for all with the weights before the
block, and corrected by what those before have changed: V_t d_t = V_0 d_t + the sum over s < t of g_s (d_s d_t). After
the block V takes all updates at once. That too is the same descent in exact arithmetic, and the rows of V that several
have ink on, which the second-level cache holds, are read and written once a block.

The kernels read pixels as whole numbers s, d = factor s: V d is factor (V s), and V takes (factor g) s'.

Layers above the first have no paper to leave out. With ReLU they keep the network's order, a row of weights an input,
and leave out the rows of silent inputs. With the other activations they are kept transposed, a row an output: then the
errors to hand down are sums of whole rows, and only the few outputs are sums over lanes.

Rules "toy" (the original's; see ``fastnn.reference``) and "backprop" differ in what a layer hands down: toy the raw
error through the weights already updated, backprop the error times the slope through the weights as they were.

All numbers of a network and of the work on it lie in one array, so that kernels hand each other one address and
offsets into it: `net.memory`, with the offsets in `net.layout` and `net.places`.

A jitted function here calls jitted functions of this file alone: Numba's cache notices no edit in another file. What
``simd``, ``blocks`` and ``layout`` hold is built into this code, so `_BUILT_IN` has those files' checksums and a test
keeps them true.
"""

import math

import numpy as np

from fastnn.kernels._jit import either, inner, jit
from fastnn.kernels.blocks import gather_block, open_block, update_block
from fastnn.kernels.layout import (
    BEHIND,
    BIASES,
    BLOCK,
    CASES,
    GRADIENTS,
    INK,
    INPUTS,
    LAYERS,
    LAYOUT,
    LISTS,
    OFFSET,
    OUTPUTS,
    PAPER,
    PARTS,
    PRODUCTS,
    REGISTERS,
    RELU,
    ROWS,
    SIGMOID,
    SOFTMAX,
    SPAN,
    STRIDE,
    SUMS,
    TANH,
    UNITS,
    VALUES,
    WEIGHTS,
)
from fastnn.kernels.simd import (
    NATIVE,
    add,
    count_greater,
    data,
    div,
    dot,
    exp,
    fma,
    greatest,
    load,
    load_four,
    lowest_bit,
    maximum,
    mul,
    out_of_line,
    peek,
    poke,
    prefetch,
    relu,
    rolled,
    splat,
    splat_four,
    store,
    store_four,
    sub,
    sum_rows,
    total,
    where_positive,
)

_BUILT_IN = {"blocks": "513d2b3b22d69181", "layout": "d9ed32721d214538", "simd": "024266e4576962cb"}

_W1, _W3, _W4 = (0,), (0,) * 3, (0,) * 4

_TINY = 1e-30
"""What is smaller counts as this for the loss."""

_NATIVE_IN_ONE = 1 if NATIVE else 2
"""Registers of width NATIVE in one."""


@inner
def _strip(registers):
    """Return the width of the next strip, 4, 3 or 1: 13 registers are 4 + 3 + 3 + 3, so that few strips are narrow."""
    width = -(-registers // -(-registers // 4))
    return width if width != 2 else 1


@inner
def _gather_strip(m, target, start, w, lists, o, v, count, zero, width):
    x = load(m, start, width)
    k = 0
    if len(width) < 4:
        # Few registers are too few sums under way at once to hide the latency of an addition: take two rows at a time.
        y = splat(zero, width)
        while k + 1 < count:
            rolled()
            x = fma(splat(peek(m, v + k), width), load(m, w + peek(lists, o + k), width), x)
            y = fma(splat(peek(m, v + k + 1), width), load(m, w + peek(lists, o + k + 1), width), y)
            k += 2
        x = add(x, y)
    while k < count:
        rolled()
        x = fma(splat(peek(m, v + k), width), load(m, w + peek(lists, o + k), width), x)
        k += 1
    store(m, target, x)


@inner
def _gather(m, target, start, registers, w, lists, o, v, count, zero, lanes):
    """``m[target:] = m[start:] + m[v + k] * row k`` over `count` rows: the transposed matrix-vector product.

    Row k begins at ``m[w + lists[o + k]]`` and has as many registers as target and start.
    """
    out_of_line()
    while registers > 0:
        rolled()
        width = _strip(registers)
        if width == 4:
            _gather_strip(m, target, start, w, lists, o, v, count, zero, _W4)
        elif width == 3:
            _gather_strip(m, target, start, w, lists, o, v, count, zero, _W3)
        else:
            _gather_strip(m, target, start, w, lists, o, v, count, zero, _W1)
        target += width * lanes
        start += width * lanes
        w += width * lanes
        registers -= width


@inner
def _dots(m, w, stride, rows, h, registers, sums, zero, lanes):
    """Leave at ``m[sums:]`` the products of rows of weights with ``m[h:]``, one register a row, lanes not yet summed.

    Four rows at a time; `rows` is rounded up to fours, then with zeros to whole registers.
    """
    k = 0
    while k < rows:
        rolled()
        x = splat(zero, _W4)
        at = w + k * stride
        r = 0
        while r < registers * lanes:  # a range would divide by its step
            rolled()
            x = fma(load_four(m, at + r, stride, _W1), load(m, h + r, _W1), x)
            r += lanes
        store(m, sums + k * lanes, x)
        k += 4
    while k % lanes != 0:
        rolled()
        store(m, sums + k * lanes, splat(zero, _W1))
        k += 1


@inner
def _combine_four(m, at, stride, length, h, e, s, target, updated, lanes):
    """Take four rows into :func:`_combine`."""
    errors, steps = splat_four(m, e, NATIVE), splat_four(m, s, NATIVE)
    r = 0
    while r < length:  # a range would divide by its step
        rolled()
        old = load_four(m, at + r, stride, NATIVE)
        new = fma(steps, load(m, h + r, NATIVE), old)
        store_four(m, at + r, stride, new)
        store(m, target + r, dot(new if len(updated) else old, errors, load(m, target + r, NATIVE)))
        r += lanes // _NATIVE_IN_ONE


@inner
def _combine(m, w, stride, rows, registers, h, e, behind, target, updated, zero, lanes):
    """Add to each row of weights its step (at ``m[e + behind:]``) times ``m[h:]``; sum the rows times ``m[e:]``.

    The sum, at ``m[target:]``, is of the rows as they are after the update unless `updated` is empty; then before. Four
    rows at a time, as :func:`_dots` takes them, but the last first: what that has left in the first-level cache is used
    before it is lost, and what this leaves there is what the next sample's :func:`_dots` begins with.
    """
    out_of_line()
    none = splat(zero, _W1)
    for r in range(0, registers * lanes, lanes):
        rolled()
        store(m, target + r, none)
    k = -(-rows // 4) * 4
    while k > 0:
        rolled()
        k -= 4
        at, errors, steps = w + k * stride, e + k, e + behind + k
        _combine_four(m, at, stride, registers * lanes, h, errors, steps, target, updated, lanes)


@inner
def _descend_strip(m, w, s, e, lists, o, v, count, sums, lanes, updated, first, nothing, width):
    steps = load(m, s, width)
    errors = load(m, e, width)
    for k in range(count):
        rolled()
        row = w + peek(lists, o + k)
        old = load(m, row, width)
        new = fma(splat(peek(m, v + k), width), steps, old)
        store(m, row, new)
        so_far = nothing
        if not first:
            so_far = load(m, sums + k * lanes, _W1)
        store(m, sums + k * lanes, dot(new if len(updated) else old, errors, so_far))


@inner
def _descend(m, w, registers, s, e, lists, o, v, count, sums, updated, zero, lanes):
    """Add ``m[v + k]`` times ``m[s:]`` to row k, and leave each row's product with ``m[e:]`` at ``m[sums:]``.

    Rows are found as :func:`_gather` finds them. The products, one register a row, are still to be summed over their
    lanes; they are taken with the rows as they are after the update unless `updated` is empty; then before.
    """
    out_of_line()
    first = True
    nothing = splat(zero, _W1)
    while registers > 0:
        rolled()
        width = _strip(registers)
        if width == 4:
            _descend_strip(m, w, s, e, lists, o, v, count, sums, lanes, updated, first, nothing, _W4)
        elif width == 3:
            _descend_strip(m, w, s, e, lists, o, v, count, sums, lanes, updated, first, nothing, _W3)
        else:
            _descend_strip(m, w, s, e, lists, o, v, count, sums, lanes, updated, first, nothing, _W1)
        first = False
        s += width * lanes
        e += width * lanes
        w += width * lanes
        registers -= width
    for k in range(count, -(-count // lanes) * lanes):
        rolled()
        store(m, sums + k * lanes, nothing)


@inner
def _activate(m, u, stop, live, kind, one, lanes):
    """Apply an activation in place to ``m[u:stop]``; pads, where ``m[live:]`` is 0, become 0."""
    ones = splat(one, _W1)
    twos = add(ones, ones)
    for r in range(u, stop, lanes):
        rolled()
        z = load(m, r, _W1)
        if kind == RELU:
            z = relu(z)
        elif kind == TANH:
            # tanh(z) = 2 / (1 + exp(-2 z)) - 1
            z = sub(div(twos, add(ones, exp(mul(sub(ones, add(twos, ones)), z)))), ones)
        else:
            z = div(load(m, live + r - u, _W1), add(ones, exp(sub(sub(ones, ones), z))))
        store(m, r, z)


@inner
def _softmax(m, u, stop, live, _kind, one, lanes):
    """Turn the sums ``m[u:stop]`` into a softmax in place; pads, where ``m[live:]`` is 0, become 0.

    Called in the place of :func:`_activate`, and so as that is.
    """
    ones = splat(one, _W1)
    none = sub(ones, ones)
    # The first output stands in for the pads.
    first = splat(peek(m, u), _W1)
    top = first
    for r in range(u, stop, lanes):
        rolled()
        top = maximum(where_positive(load(m, live + r - u, _W1), load(m, r, _W1), first), top)
    shift = splat(greatest(top), _W1)
    totals = none
    for r in range(u, stop, lanes):
        rolled()
        e = where_positive(load(m, live + r - u, _W1), exp(sub(load(m, r, _W1), shift)), none)
        totals = add(totals, e)
        store(m, r, e)
    scale = splat(total(totals), _W1)
    for r in range(u, stop, lanes):
        rolled()
        store(m, r, div(load(m, r, _W1), scale))


@inner
def _open_block(net, ink, size, m):
    """Read the images that begin at `net.starts`, and list their pixels by case; see ``fastnn.kernels.blocks``.

    What is listed is the whole image where paper is not left out. In a block of fewer samples than it has room for,
    only the first `size` images are in the cases.
    """
    images, starts, cases, unions = data(ink.images), data(net.starts), data(net.cases), data(net.unions)
    lists, ends, places = data(net.rows), data(net.ends), data(net.places)
    pixels, span = ink.images.shape[1], peek(places, SPAN)
    everyone = (1 << size) - 1
    v, products = peek(places, INK), peek(places, PRODUCTS)
    open_block(m, v, span, products, images, starts, cases, unions, pixels, ink.shift, everyone)
    for case in range(CASES):
        rolled()
        poke(ends, case, case * span)
    if ink.whole_images:
        for p in range(peek(data(net.layout), INPUTS)):
            rolled()
            poke(lists, everyone * span + p, p)
        poke(ends, everyone, everyone * span + peek(data(net.layout), INPUTS))
    else:
        for word in range(-(-pixels // 64)):
            rolled()
            bits = peek(unions, word)
            while bits != 0:
                rolled()
                p = 64 * word + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                case = np.int64(peek(cases, p))
                end = peek(ends, case)
                poke(lists, end, p)
                poke(ends, case, end + 1)


@inner
def _fetch(ink, i):
    """Ask for image i, which lies anywhere in memory since the order is random."""
    images, pixels = data(ink.images), ink.images.shape[1]
    for k in range(i * pixels, (i + 1) * pixels, 64):
        rolled()
        prefetch(images, k)


@inner
def _first_sums(m, places, u, width, t, learnt, total_d, factor, lanes):
    """Put together the first layer's sums for sample t of a block of which the first `learnt` have been learnt.

    They are a + c sum(d) + V_0 d, and g_s (d_s d_t) for each s that was learnt.
    """
    paper, offset, parts = peek(places, PAPER), peek(places, OFFSET), peek(places, PARTS) + t * width
    steps, e = peek(places, GRADIENTS), peek(places, PRODUCTS) + t * (t - 1) // 2 * lanes
    d, share = splat(total_d, _W1), splat(factor, _W1)
    for r in range(0, width, lanes):
        rolled()
        x = fma(load(m, offset + r, _W1), d, load(m, paper + r, _W1))
        store(m, u + r, fma(load(m, parts + r, _W1), share, x))
    for s in range(learnt):
        rolled()
        product = splat(factor * total(load(m, e + s * lanes, _W1)), _W1)
        for r in range(0, width, lanes):
            rolled()
            store(m, u + r, fma(product, load(m, steps + s * width + r, _W1), load(m, u + r, _W1)))


@inner
def _active(m, u, n, stride, lists, o, rows, v):
    """List the units of ``m[u:u + n]`` that are not silent; return how many they are."""
    count = 0
    for j in range(n):
        rolled()
        value = peek(m, u + j)
        poke(lists, rows + o + count, j)
        poke(lists, o + count, j * stride)
        poke(m, v + count, value)
        count += value != 0
    return count


@inner
def _up_transposed(m, _lists, layout, places, _counts, depth, zero, lanes):
    """Find the sums of a layer whose weights are transposed."""
    at = depth * LAYOUT
    u, w, b, sums = peek(layout, at + UNITS), peek(layout, at + WEIGHTS), peek(layout, at + BIASES), peek(places, SUMS)
    below, across = peek(layout, at - LAYOUT + UNITS), -(-peek(layout, at + INPUTS) // lanes)
    _dots(m, w, peek(layout, at + STRIDE), peek(layout, at + OUTPUTS), below, across, sums, zero, lanes)
    for r in range(0, peek(layout, at + REGISTERS) * lanes, lanes):
        rolled()
        store(m, u + r, add(load(m, b + r, _W1), sum_rows(m, sums + r * lanes)))


@inner
def _up_listed(m, lists, layout, places, counts, depth, zero, lanes):
    """Find the sums of a layer from the inputs that are not silent."""
    at = depth * LAYOUT
    u, registers, b = peek(layout, at + UNITS), peek(layout, at + REGISTERS), peek(layout, at + BIASES)
    below, n, stride = peek(layout, at - LAYOUT + UNITS), peek(layout, at + INPUTS), peek(layout, at + STRIDE)
    o, rows = peek(layout, at + LISTS), peek(places, ROWS)
    v = peek(places, VALUES) + o
    count = _active(m, below, n, stride, lists, o, rows, v)
    poke(counts, depth, count)
    _gather(m, u, b, registers, peek(layout, at + WEIGHTS), lists, o, v, count, zero, lanes)


_up = either(_up_transposed, _up_listed)
_activate_last = either(_softmax, _activate)


@inner
def _forward(m, lists, layout, places, counts, hidden, toy, listed, one, lanes):
    """Run the network on from the first layer's sums."""
    layers = peek(places, LAYERS)
    for depth in range(layers):
        rolled()
        u = peek(layout, depth * LAYOUT + UNITS)
        stop, live = u + peek(layout, depth * LAYOUT + REGISTERS) * lanes, u + 3 * peek(places, BEHIND)
        if depth > 0:
            _up(listed, m, lists, layout, places, counts, depth, one - one, lanes)
        # A number of one type for both: the constant would be a type of its own, and compiled for once more.
        kind = hidden if depth < layers - 1 else SIGMOID
        if depth < layers - 1:
            _activate(m, u, stop, live, kind, one, lanes)
        else:
            _activate_last(toy, m, u, stop, live, kind, one, lanes)


@inner
def _judge(m, u, stop, behind, label, number, low, high, toy, one, lanes, totals):
    """Write the errors of the outputs ``m[u:stop]``; add loss and hit to `totals`.

    The target of the output whose number is `label` (as `number`, in the dtype) is `high`, that of the others `low`.
    """
    output = peek(m, u + label)
    mine = splat(output, _W1)
    mine_is, others, own, none = splat(number, _W1), splat(low, _W1), splat(high, _W1), splat(one - one, _W1)
    squares = none
    better = 0
    for r in range(0, stop - u, lanes):
        rolled()
        h = load(m, u + r, _W1)
        away = sub(load(m, u + 4 * behind + r, _W1), mine_is)
        target = where_positive(mul(away, away), others, own)
        e = where_positive(load(m, u + 3 * behind + r, _W1), sub(target, h), none)
        better += count_greater(h, mine)
        squares = fma(e, e, squares)
        store(m, u + behind + r, e)
    for k in range(u, u + label):
        rolled()
        # Of equal outputs the first is the network's answer.
        better += peek(m, k) == output
    loss = math.nan
    if len(toy):
        loss = float(total(squares))
    # Written out, since Numba's max takes 0.05 s to compile.
    elif output > _TINY:
        loss = -math.log(np.float64(output))
    elif output <= _TINY:  # and not NaN, which a network that has diverged gives
        loss = -math.log(_TINY)
    poke(totals, 0, peek(totals, 0) + loss)
    poke(totals, 1, peek(totals, 1) + (better == 0))


@inner
def _step(m, u, stop, behind, lr, kind, toy, one, lanes):
    """Turn the errors of a layer into the steps of its sums, ``lr * error * slope``.

    Under rule backprop the error itself is multiplied by the slope too, since that is what is handed down; SOFTMAX
    with cross-entropy has slope 1.
    """
    ones, rate = splat(one, _W1), splat(lr, _W1)
    none = sub(ones, ones)
    for r in range(u, stop, lanes):
        rolled()
        h, e = load(m, r, _W1), load(m, r + behind, _W1)
        if len(toy) or kind == SIGMOID:
            e = mul(mul(e, h), sub(ones, h))
        elif kind == TANH:
            e = mul(e, mul(sub(ones, h), add(ones, h)))
        elif kind == RELU:
            e = where_positive(h, e, none)
        if not len(toy):
            store(m, r + behind, e)
        store(m, r + 2 * behind, mul(rate, e))


@inner
def _hand_down(m, e, n, lists, rows, count, sums, zero, lanes):
    """Sum the products that :func:`_descend` left over their lanes, into the n errors ``m[e:]`` of the layer below."""
    none = splat(zero, _W1)
    for j in range(0, n, lanes):
        rolled()
        store(m, e + j, none)
    for k in range(0, count, lanes):
        rolled()
        # The registers of sums have served: the first takes the result.
        store(m, sums + k * lanes, sum_rows(m, sums + k * lanes))
        for i in range(min(lanes, count - k)):
            rolled()
            poke(m, e + peek(lists, rows + k + i), peek(m, sums + k * lanes + i))


@inner
def _down_transposed(m, _lists, layout, places, _counts, depth, toy, zero, lanes):
    """Update a layer whose weights are transposed, and find the errors to hand down."""
    at, behind = depth * LAYOUT, peek(places, BEHIND)
    u, w, stride = peek(layout, at + UNITS), peek(layout, at + WEIGHTS), peek(layout, at + STRIDE)
    below, across = peek(layout, at - LAYOUT + UNITS), -(-peek(layout, at + INPUTS) // lanes)
    rows, target = peek(layout, at + OUTPUTS), below + behind
    _combine(m, w, stride, rows, across, below, u + behind, behind, target, toy, zero, lanes)


@inner
def _down_listed(m, lists, layout, places, counts, depth, toy, zero, lanes):
    """Update the rows of a layer's inputs that are not silent, and find the errors to hand down to those."""
    at, behind, sums = depth * LAYOUT, peek(places, BEHIND), peek(places, SUMS)
    u, w, registers = peek(layout, at + UNITS), peek(layout, at + WEIGHTS), peek(layout, at + REGISTERS)
    o, n, below = peek(layout, at + LISTS), peek(layout, at + INPUTS), peek(layout, at - LAYOUT + UNITS)
    v, rows, count = peek(places, VALUES) + o, peek(places, ROWS) + o, peek(counts, depth)
    _descend(m, w, registers, u + 2 * behind, u + behind, lists, o, v, count, sums, toy, zero, lanes)
    _hand_down(m, below + behind, n, lists, rows, count, sums, zero, lanes)


_down = either(_down_transposed, _down_listed)


@inner
def _backward(m, t, lists, layout, places, counts, hidden, toy, listed, total_d, ink, lr, one, lanes):
    """Update all weights after :func:`_forward` and :func:`_judge`; the steps of V are kept for the block's end."""
    layers, behind = peek(places, LAYERS), peek(places, BEHIND)
    for depth in range(layers - 1, -1, -1):
        rolled()
        at = depth * LAYOUT
        u, width, b = peek(layout, at + UNITS), peek(layout, at + REGISTERS) * lanes, peek(layout, at + BIASES)
        steps = u + 2 * behind
        _step(m, u, u + width, behind, lr, SOFTMAX if depth == layers - 1 else hidden, toy, one, lanes)
        for r in range(0, width, lanes):
            rolled()
            store(m, b + r, add(load(m, b + r, _W1), load(m, steps + r, _W1)))
        if depth > 0:
            _down(listed, m, lists, layout, places, counts, depth, toy, one - one, lanes)
        else:
            paper, offset = splat(ink.whole + ink.base * total_d, _W1), splat(ink.base, _W1)
            share = splat(ink.factor, _W1)
            a, c, kept = peek(places, PAPER), peek(places, OFFSET), peek(places, GRADIENTS) + t * width
            for r in range(0, width, lanes):
                rolled()
                g = load(m, steps + r, _W1)
                store(m, kept + r, mul(share, g))
                store(m, a + r, fma(paper, g, load(m, a + r, _W1)))
                store(m, c + r, fma(offset, g, load(m, c + r, _W1)))


def _samples(listed):
    """Return the kernel for weights that are transposed above the first layer; with (0,) that for ReLU, as they are.

    Training and prediction are one function: as two, what they share would be compiled twice.
    """

    @jit
    def run_samples(net, ink, labels, order, lr, low, high, weights, totals, outputs):
        m, lists, layout, places = data(net.memory), data(net.lists), data(net.layout), data(net.places)
        counts, sums, judged, starts = data(net.counts), data(ink.sums), data(totals), data(net.starts)
        lanes = 64 // net.memory.itemsize
        one, hidden, toy = net.memory.dtype.type(1), net.hidden, net.toy
        behind = peek(places, BEHIND)
        last = (peek(places, LAYERS) - 1) * LAYOUT
        u, last_width = peek(layout, last + UNITS), peek(layout, last + REGISTERS) * lanes
        registers, w, stride = peek(layout, REGISTERS), peek(layout, WEIGHTS), peek(layout, STRIDE)
        v, span, width = peek(places, INK), peek(places, SPAN), registers * lanes
        rows, ends = data(net.rows), data(net.ends)
        native = lanes // _NATIVE_IN_ONE
        length = -(-peek(layout, OUTPUTS) // native) * native
        n, learns = len(order), len(outputs) == 0
        for first in range(0, n, BLOCK):
            rolled()
            size = n - first
            if size > BLOCK:  # Numba's min takes 0.05 s to compile
                size = BLOCK
            i = order[first]
            for t in range(BLOCK):
                rolled()
                if t < size:
                    i = order[first + t]
                poke(starts, t, i * ink.images.shape[1])
                if first + t + BLOCK < n:
                    _fetch(ink, order[first + t + BLOCK])
            _open_block(net, ink, size, m)
            gather_block(m, peek(places, PARTS), width, length, w, stride, rows, span, ends, v, span)
            for t in range(size):
                rolled()
                i = order[first + t]
                d, learnt = peek(sums, i), t if learns else 0
                _first_sums(m, places, peek(layout, UNITS), width, t, learnt, d, ink.factor, lanes)
                _forward(m, lists, layout, places, counts, hidden, toy, listed, one, lanes)
                if learns:
                    label = labels[i]
                    number = net.memory.dtype.type(label)
                    _judge(m, u, u + last_width, behind, label, number, low, high, toy, one, lanes, judged)
                    rate = lr
                    if weights.size > 0:
                        rate = lr * weights[i]
                    _backward(m, t, lists, layout, places, counts, hidden, toy, listed, d, ink, rate, one, lanes)
                else:
                    for k in range(outputs.shape[1]):
                        rolled()
                        outputs[first + t, k] = peek(m, u + k)
            if learns:
                update_block(m, peek(places, GRADIENTS), width, length, w, stride, rows, span, ends, v, span)

    return run_samples


run_samples, run_samples_listed = _samples(()), _samples((0,))
"""Train on the samples of `order`, one after the other, or run the network on them.

The second is for ReLU; its weights are not transposed and its silent units are left out.

Parameters
----------
net, ink
    See the classes; a and c are in their places. The weights above the first layer are transposed.
labels : ndarray of int64, shape (n,)
order : ndarray of int64, shape (m,)
    Which samples, in which order.
lr : dtype
    Learning rate.
low, high : dtype
    Targets of the other classes and of the right one: 0 and 1 but for label smoothing.
weights : ndarray of dtype, shape (n,) or (0,)
    Factors of the learning rate for each sample; none if empty.
totals : ndarray of float64, shape (2,)
    The losses and hits before each sample's update are added to it. A loss of NaN marks a divergence.
outputs : ndarray of dtype, shape (m, classes) or (0, classes)
    If it is empty, the samples are learnt. Else it is filled, and of what stands before it only the order is read.
"""
