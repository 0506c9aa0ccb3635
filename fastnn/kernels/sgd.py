"""Per-sample stochastic gradient descent: the matrix kernels, and the loop over samples made of them.

The first layer works on ink. An input is written x = base + d with d = 0 for most pixels; base is 1 where paper is 1,
else 0. With W = V + c 1' (one offset a hidden unit) and a = b + W (base 1), the sums of the first layer are

    W x + b = a + V d + c sum(d)

and the update of W by g x' is c += base g, V += g d', a += g (1 + base sum(x)): the same descent in exact arithmetic at
a cost proportional to the ink. :func:`open_offsets` finds a, :func:`close_offsets` adds c to the weights; between the
two the first layer's weights lack c. Without a base, c stays 0 and a is the bias itself.

Rules "toy" (the original's; see ``fastnn.reference``) and "backprop" differ in what a layer hands down: toy the raw
error through the weights already updated, backprop the error times the slope through the weights as they were.

All numbers of a network and of the work on it lie in one array, so that kernels hand each other one address and
offsets into it: `net.memory`, with the offsets in `net.layout` and `net.places`.

A jitted function here calls jitted functions of this file alone: Numba's cache notices no edit in another file. The
vectors of ``simd`` are built into this code, so `_SIMD` holds that file's checksum and a test keeps it true.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels._jit import inner, jit
from fastnn.kernels.simd import (
    add,
    count_greater,
    data,
    div,
    dot,
    exp,
    fma,
    greatest,
    load,
    maximum,
    mul,
    out_of_line,
    peek,
    poke,
    prefetch,
    relu,
    splat,
    store,
    sub,
    sum_rows,
    total,
    where_positive,
)

_SIMD = "unset"

SIGMOID, TANH, RELU, SOFTMAX = 0, 1, 2, 3

_W1, _W2, _W3, _W4 = (0,), (0, 0), (0, 0, 0), (0, 0, 0, 0)

# Columns of `layout`, one row a layer: how many inputs; registers that hold its outputs; distance of two rows of
# weights; where its weights, biases and outputs begin; where the list of its inputs begins in `net.lists`.
INPUTS, REGISTERS, STRIDE, WEIGHTS, BIASES, UNITS, LISTS, LAYOUT = 0, 1, 2, 3, 4, 5, 6, 7

# Entries of `places`: how far behind a layer's outputs its errors lie, and as far again its steps; where the inputs of
# listed rows, the lane sums, a, c, the mask of live outputs and the targets of the classes begin; how far a list of
# rows lies behind the list of their offsets; the number of layers.
BEHIND, VALUES, SUMS, PAPER, OFFSET, LIVE, TARGETS, ROWS, LAYERS, PLACES = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9


class Net(NamedTuple):
    """A network and the memory of the work on it, as the kernels see it.

    Attributes
    ----------
    memory : ndarray of dtype, shape (m,)
        Parameters, then for each layer outputs, errors (what is handed down to it) and steps (the update of its
        biases), then the rest; see `places`. All begin on registers and are padded to whole ones; the pads of
        parameters, errors and steps are 0.
    lists : ndarray of int64
        For each layer the rows that take part, as distances from its first row; behind them the same by number.
    layout : ndarray of int64, shape (layers * LAYOUT,)
        See INPUTS and what follows it.
    places : ndarray of int64, shape (PLACES,)
        See BEHIND and what follows it.
    counts : ndarray of int64, shape (layers,)
        How many rows of each layer take part in the sample at hand.
    hidden : int
        Activation of the hidden layers: SIGMOID, TANH or RELU.
    toy : bool
        The learning rule.
    """

    memory: Any
    lists: Any
    layout: Any
    places: Any
    counts: Any
    hidden: Any
    toy: Any


class Ink(NamedTuple):
    """Images, as the kernels see them.

    Attributes
    ----------
    starts : ndarray of int64, shape (n + 1,)
        Where each image's entries begin.
    columns : ndarray of uint16, shape (entries,) or (0,)
        Which pixel each entry is, ascending within an image; empty if every pixel has an entry.
    codes : ndarray of uint8, shape (entries,)
        Grey level of each entry.
    sums : ndarray of dtype, shape (n,)
        Sum of the d of each image.
    levels : ndarray of dtype, shape (256,)
        d = x - base of each grey level.
    base : dtype
        What x is at pixels without an entry: 0 or 1.
    whole : dtype
        1 + base times the number of pixels: how much more of a step g the sums of a blank image take up.
    """

    starts: Any
    columns: Any
    codes: Any
    sums: Any
    levels: Any
    base: Any
    whole: Any


@inner
def _strip(registers):
    """Return the width of the next of the fewest strips of nearly the same width: 13 are 4 + 3 + 3 + 3."""
    return -(-registers // -(-registers // 4))


@inner
def _gather_strip(m, target, start, w, lists, o, v, count, zero, width):
    x = load(m, start, width)
    k = 0
    if len(width) < 4:
        # Few registers are too few sums under way at once to hide the latency of an addition: take two rows at a time.
        y = splat(zero, width)
        while k + 1 < count:
            x = fma(splat(peek(m, v + k), width), load(m, w + peek(lists, o + k), width), x)
            y = fma(splat(peek(m, v + k + 1), width), load(m, w + peek(lists, o + k + 1), width), y)
            k += 2
        x = add(x, y)
    while k < count:
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
        width = _strip(registers)
        if width == 4:
            _gather_strip(m, target, start, w, lists, o, v, count, zero, _W4)
        elif width == 3:
            _gather_strip(m, target, start, w, lists, o, v, count, zero, _W3)
        elif width == 2:
            _gather_strip(m, target, start, w, lists, o, v, count, zero, _W2)
        else:
            _gather_strip(m, target, start, w, lists, o, v, count, zero, _W1)
        target += width * lanes
        start += width * lanes
        w += width * lanes
        registers -= width


@inner
def _scatter_strip(m, w, s, lists, o, v, count, width):
    g = load(m, s, width)
    for k in range(count):
        row = w + peek(lists, o + k)
        store(m, row, fma(splat(peek(m, v + k), width), g, load(m, row, width)))


@inner
def _scatter(m, w, registers, s, lists, o, v, count, lanes):
    """``row k += m[v + k] * m[s:]`` over `count` rows as in :func:`_gather`: the rank-one update."""
    out_of_line()
    while registers > 0:
        width = _strip(registers)
        if width == 4:
            _scatter_strip(m, w, s, lists, o, v, count, _W4)
        elif width == 3:
            _scatter_strip(m, w, s, lists, o, v, count, _W3)
        elif width == 2:
            _scatter_strip(m, w, s, lists, o, v, count, _W2)
        else:
            _scatter_strip(m, w, s, lists, o, v, count, _W1)
        s += width * lanes
        w += width * lanes
        registers -= width


@inner
def _descend_strip(m, w, s, e, lists, o, v, count, sums, lanes, updated, first, nothing, width):
    steps = load(m, s, width)
    errors = load(m, e, width)
    for k in range(count):
        row = w + peek(lists, o + k)
        old = load(m, row, width)
        new = fma(splat(peek(m, v + k), width), steps, old)
        store(m, row, new)
        so_far = nothing
        if not first:
            so_far = load(m, sums + k * lanes, _W1)
        if updated:
            store(m, sums + k * lanes, dot(new, errors, so_far))
        else:
            store(m, sums + k * lanes, dot(old, errors, so_far))


@inner
def _descend(m, w, registers, s, e, lists, o, v, count, sums, updated, zero, lanes):
    """Update rows as :func:`_scatter` does, and leave each row's product with ``m[e:]`` at ``m[sums:]``.

    The products, one register a row, are still to be summed over their lanes; they are taken with the rows as they
    are after the update if `updated`, else before.
    """
    out_of_line()
    first = True
    nothing = splat(zero, _W1)
    while registers > 0:
        width = _strip(registers)
        if width == 4:
            _descend_strip(m, w, s, e, lists, o, v, count, sums, lanes, updated, first, nothing, _W4)
        elif width == 3:
            _descend_strip(m, w, s, e, lists, o, v, count, sums, lanes, updated, first, nothing, _W3)
        elif width == 2:
            _descend_strip(m, w, s, e, lists, o, v, count, sums, lanes, updated, first, nothing, _W2)
        else:
            _descend_strip(m, w, s, e, lists, o, v, count, sums, lanes, updated, first, nothing, _W1)
        first = False
        s += width * lanes
        e += width * lanes
        w += width * lanes
        registers -= width
    for k in range(count, -(-count // lanes) * lanes):
        store(m, sums + k * lanes, nothing)


@inner
def _activate(m, u, stop, kind, one, lanes):
    """Apply an activation in place to ``m[u:stop]``."""
    ones = splat(one, _W1)
    twos = add(ones, ones)
    for r in range(u, stop, lanes):
        z = load(m, r, _W1)
        if kind == RELU:
            z = relu(z)
        elif kind == TANH:
            # tanh(z) = 2 / (1 + exp(-2 z)) - 1
            z = sub(div(twos, add(ones, exp(mul(sub(ones, add(twos, ones)), z)))), ones)
        else:
            z = div(ones, add(ones, exp(sub(sub(ones, ones), z))))
        store(m, r, z)


@inner
def _softmax(m, u, stop, live, one, lanes):
    """Turn the sums ``m[u:stop]`` into a softmax in place; pads, where ``m[live:]`` is 0, become 0."""
    ones = splat(one, _W1)
    none = sub(ones, ones)
    lowest = splat(-one / (one - one), _W1)
    top = lowest
    for r in range(u, stop, lanes):
        top = maximum(where_positive(load(m, live + r - u, _W1), load(m, r, _W1), lowest), top)
    shift = splat(greatest(top), _W1)
    totals = none
    for r in range(u, stop, lanes):
        e = where_positive(load(m, live + r - u, _W1), exp(sub(load(m, r, _W1), shift)), none)
        totals = add(totals, e)
        store(m, r, e)
    scale = splat(total(totals), _W1)
    for r in range(u, stop, lanes):
        store(m, r, div(load(m, r, _W1), scale))


@inner
def _expand(ink, i, stride, m, v, lists):
    """Write offsets and values of the entries of image i to the first layer's lists; return how many they are."""
    starts, columns, codes, levels = data(ink.starts), data(ink.columns), data(ink.codes), data(ink.levels)
    start = peek(starts, i)
    count = peek(starts, i + 1) - start
    if ink.columns.size > 0:
        for k in range(count):
            poke(lists, k, np.int64(peek(columns, start + k)) * stride)
            poke(m, v + k, peek(levels, np.int64(peek(codes, start + k))))
    else:
        for k in range(count):
            poke(lists, k, k * stride)
            poke(m, v + k, peek(levels, np.int64(peek(codes, start + k))))
    return count


@inner
def _fetch(ink, i):
    """Ask for the entries of image i, which lie anywhere in memory since the order is random."""
    starts, columns, codes = data(ink.starts), data(ink.columns), data(ink.codes)
    start, stop = peek(starts, i), peek(starts, i + 1)
    if ink.columns.size > 0:
        for k in range(start, stop, 32):
            prefetch(columns, k)
    for k in range(start, stop, 64):
        prefetch(codes, k)


@inner
def _active(m, u, n, stride, lists, o, rows, v):
    """List the units of ``m[u:u + n]`` that are not silent; return how many they are."""
    count = 0
    for j in range(n):
        value = peek(m, u + j)
        poke(lists, rows + o + count, j)
        poke(lists, o + count, j * stride)
        poke(m, v + count, value)
        count += value != 0
    return count


@inner
def _forward(m, lists, layout, places, counts, hidden, toy, total_d, one, lanes):
    """Run the network on the entries of the first layer's lists."""
    layers = peek(places, LAYERS)
    below = 0
    for depth in range(layers):
        at = depth * LAYOUT
        u, registers = peek(layout, at + UNITS), peek(layout, at + REGISTERS)
        stop = u + registers * lanes
        start, o = peek(layout, at + BIASES), peek(layout, at + LISTS)
        v, count = peek(places, VALUES) + o, peek(counts, 0)
        if depth == 0:
            start = u
            paper, offset = peek(places, PAPER), peek(places, OFFSET)
            d = splat(total_d, _W1)
            for r in range(0, registers * lanes, lanes):
                store(m, u + r, fma(load(m, offset + r, _W1), d, load(m, paper + r, _W1)))
        elif hidden == RELU:
            n, stride = peek(layout, at + INPUTS), peek(layout, at + STRIDE)
            count = _active(m, below, n, stride, lists, o, peek(places, ROWS), v)
            poke(counts, depth, count)
        else:
            v, count = below, peek(layout, at + INPUTS)
        _gather(m, u, start, registers, peek(layout, at + WEIGHTS), lists, o, v, count, one - one, lanes)
        if depth < layers - 1:
            _activate(m, u, stop, hidden, one, lanes)
        elif toy:
            _activate(m, u, stop, SIGMOID, one, lanes)
        else:
            _softmax(m, u, stop, peek(places, LIVE), one, lanes)
        below = u


@inner
def _judge(m, u, stop, errors, live, target, label, toy, one, lanes, totals):
    """Write the errors of the outputs ``m[u:stop]``; add loss and hit to `totals`."""
    output = peek(m, u + label)
    mine = splat(output, _W1)
    squares = splat(one - one, _W1)
    better = 0
    for r in range(0, stop - u, lanes):
        mask, h = load(m, live + r, _W1), load(m, u + r, _W1)
        e = mul(mask, sub(load(m, target + r, _W1), h))
        better += count_greater(mul(mask, h), mine)
        squares = fma(e, e, squares)
        store(m, errors + r, e)
    loss = math.nan
    if toy:
        loss = float(total(squares))
    elif output == output:
        # A network that has diverged gives NaN, which max would lose.
        loss = -math.log(max(float(output), 1e-30))
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
        h, e = load(m, r, _W1), load(m, r + behind, _W1)
        if toy or kind == SIGMOID:
            e = mul(mul(e, h), sub(ones, h))
        elif kind == TANH:
            e = mul(e, mul(sub(ones, h), add(ones, h)))
        elif kind == RELU:
            e = where_positive(h, e, none)
        if not toy:
            store(m, r + behind, e)
        store(m, r + 2 * behind, mul(rate, e))


@inner
def _hand_down(m, e, n, lists, rows, count, sums, listed, zero, lanes):
    """Sum the products that :func:`_descend` left over their lanes, into the n errors ``m[e:]`` of the layer below."""
    if not listed:
        for k in range(0, count, lanes):
            store(m, e + k, sum_rows(m, sums + k * lanes))
        return
    none = splat(zero, _W1)
    for j in range(0, n, lanes):
        store(m, e + j, none)
    for k in range(0, count, lanes):
        # The registers of sums have served: the first takes the result.
        store(m, sums + k * lanes, sum_rows(m, sums + k * lanes))
        for i in range(min(lanes, count - k)):
            poke(m, e + peek(lists, rows + k + i), peek(m, sums + k * lanes + i))


@inner
def _backward(m, lists, layout, places, counts, hidden, toy, total_d, base, whole, lr, one, lanes):
    """Update all weights after :func:`_forward` and :func:`_judge`."""
    layers, behind = peek(places, LAYERS), peek(places, BEHIND)
    zero = one - one
    for depth in range(layers - 1, -1, -1):
        at = depth * LAYOUT
        u, registers, o = peek(layout, at + UNITS), peek(layout, at + REGISTERS), peek(layout, at + LISTS)
        w, b, n = peek(layout, at + WEIGHTS), peek(layout, at + BIASES), peek(layout, at + INPUTS)
        width, steps = registers * lanes, u + 2 * behind
        v = peek(places, VALUES) + o
        _step(m, u, u + width, behind, lr, SOFTMAX if depth == layers - 1 else hidden, toy, one, lanes)
        for r in range(0, width, lanes):
            store(m, b + r, add(load(m, b + r, _W1), load(m, steps + r, _W1)))
        if depth == 0:
            _scatter(m, w, registers, steps, lists, o, v, peek(counts, 0), lanes)
            paper, offset = splat(whole + base * total_d, _W1), splat(base, _W1)
            a, c = peek(places, PAPER), peek(places, OFFSET)
            for r in range(0, width, lanes):
                g = load(m, steps + r, _W1)
                store(m, a + r, fma(paper, g, load(m, a + r, _W1)))
                store(m, c + r, fma(offset, g, load(m, c + r, _W1)))
        else:
            below, sums, listed = peek(layout, at - LAYOUT + UNITS), peek(places, SUMS), hidden == RELU
            count = n
            if listed:
                count = peek(counts, depth)
            else:
                v = below
            _descend(m, w, registers, steps, u + behind, lists, o, v, count, sums, toy, zero, lanes)
            rows = peek(places, ROWS) + o
            _hand_down(m, below + behind, n, lists, rows, count, sums, listed, zero, lanes)


@jit
def open_offsets(net, base):
    """Find a = b + W (base 1) and set c to 0; to be called before the others.

    Also lists all rows of every layer but the first, which is what layers without ReLU use.
    """
    m, lists, layout, places = data(net.memory), data(net.lists), data(net.layout), data(net.places)
    lanes = 64 // net.memory.itemsize
    stride, w, b = peek(layout, STRIDE), peek(layout, WEIGHTS), peek(layout, BIASES)
    all_bases, none = splat(base, _W1), splat(base - base, _W1)
    for r in range(0, peek(layout, REGISTERS) * lanes, lanes):
        a = load(m, b + r, _W1)
        if base != 0:
            for p in range(peek(layout, INPUTS)):
                a = fma(all_bases, load(m, w + p * stride + r, _W1), a)
        store(m, peek(places, PAPER) + r, a)
        store(m, peek(places, OFFSET) + r, none)
    for depth in range(1, peek(places, LAYERS)):
        o, stride = peek(layout, depth * LAYOUT + LISTS), peek(layout, depth * LAYOUT + STRIDE)
        for j in range(peek(layout, depth * LAYOUT + INPUTS)):
            poke(lists, o + j, j * stride)


@jit
def close_offsets(net):
    """Add c to the first layer's weights, which are then whole, and set it to 0."""
    m, layout, offset = data(net.memory), data(net.layout), peek(data(net.places), OFFSET)
    lanes = 64 // net.memory.itemsize
    stride, w = peek(layout, STRIDE), peek(layout, WEIGHTS)
    for r in range(0, peek(layout, REGISTERS) * lanes, lanes):
        c = load(m, offset + r, _W1)
        store(m, offset + r, sub(c, c))
        for p in range(peek(layout, INPUTS)):
            row = w + p * stride + r
            store(m, row, add(load(m, row, _W1), c))


@jit
def train_samples(net, ink, labels, order, lr, weights, totals):
    """Train on the samples of `order`, one after the other.

    Parameters
    ----------
    net, ink
        See the classes; between :func:`open_offsets` and :func:`close_offsets`.
    labels : ndarray of int64, shape (n,)
    order : ndarray of int64, shape (m,)
        Which samples, in which order.
    lr : dtype
        Learning rate.
    weights : ndarray of dtype, shape (n,) or (0,)
        Factors of the learning rate for each sample; none if empty.
    totals : ndarray of float64, shape (2,)
        The losses and hits before each sample's update are added to it. A loss of NaN marks a divergence.
    """
    m, lists, layout, places = data(net.memory), data(net.lists), data(net.layout), data(net.places)
    counts, sums, both = data(net.counts), data(ink.sums), data(totals)
    lanes = 64 // net.memory.itemsize
    one, hidden, toy = net.memory.dtype.type(1), net.hidden, net.toy
    stride, v = peek(layout, STRIDE), peek(places, VALUES)
    behind, live = peek(places, BEHIND), peek(places, LIVE)
    last = (peek(places, LAYERS) - 1) * LAYOUT
    u, width = peek(layout, last + UNITS), peek(layout, last + REGISTERS) * lanes
    n = len(order)
    for k in range(n):
        i, label = order[k], labels[order[k]]
        if k + 1 < n:
            _fetch(ink, order[k + 1])
        poke(counts, 0, _expand(ink, i, stride, m, v, lists))
        d = peek(sums, i)
        _forward(m, lists, layout, places, counts, hidden, toy, d, one, lanes)
        _judge(m, u, u + width, u + behind, live, peek(places, TARGETS) + label * width, label, toy, one, lanes, both)
        rate = lr
        if weights.size > 0:
            rate = lr * weights[i]
        _backward(m, lists, layout, places, counts, hidden, toy, d, ink.base, ink.whole, rate, one, lanes)


@jit
def predict_samples(net, ink, outputs):
    """Write the outputs for all images.

    Parameters
    ----------
    net, ink
        See the classes; after :func:`open_offsets`.
    outputs : ndarray of dtype, shape (n, classes)
        Filled.
    """
    m, lists, layout, places = data(net.memory), data(net.lists), data(net.layout), data(net.places)
    counts, sums = data(net.counts), data(ink.sums)
    lanes = 64 // net.memory.itemsize
    one = net.memory.dtype.type(1)
    u = peek(layout, (peek(places, LAYERS) - 1) * LAYOUT + UNITS)
    for i in range(len(outputs)):
        poke(counts, 0, _expand(ink, i, peek(layout, STRIDE), m, peek(places, VALUES), lists))
        _forward(m, lists, layout, places, counts, net.hidden, net.toy, peek(sums, i), one, lanes)
        for k in range(outputs.shape[1]):
            outputs[i, k] = peek(m, u + k)


@jit
def extract_ink(images, paper, starts, columns, codes):
    """List the pixels of each image that are not `paper`.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, pixels)
    paper : uint8
        The grey level to leave out.
    starts : ndarray of int64, shape (n + 1,)
        Where each image's entries begin, filled if `columns` is empty; else read.
    columns : ndarray of uint16, shape (entries,) or (0,)
    codes : ndarray of uint8, shape (entries,)
        Pixel and grey level of each entry; filled unless empty.
    """
    if columns.size == 0:
        starts[0] = 0
        for i in range(len(images)):
            count = 0
            for p in range(images.shape[1]):
                count += images[i, p] != paper
            starts[i + 1] = starts[i] + count
        return
    for i in range(len(images)):
        k, end = starts[i], starts[i + 1]
        for p in range(images.shape[1]):
            # Written always and kept only when the place moves on: no branch to mispredict.
            if k < end:
                columns[k] = p
                codes[k] = images[i, p]
                k += images[i, p] != paper
