"""Per-sample stochastic gradient descent: the matrix kernels, and the loop over samples made of them.

The first layer works on ink. An input is written x = base + d with d = 0 for most pixels; base is 1 where paper is 1,
else 0. With W = V + c 1' (one offset a hidden unit) and a = b + W (base 1), the sums of the first layer are

    W x + b = a + V d + c sum(d)

and the update of W by g x' is c += base g, V += g d', a += g (1 + base sum(x)): the same descent in exact arithmetic at
a cost proportional to the ink. :func:`open_offsets` finds a, :func:`close_offsets` adds c to the weights; between the
two the first layer's weights lack c. Without a base, c stays 0 and a is the bias itself.

Samples are taken in blocks of BLOCK. For all of a block V d is found with the weights at the block's start, and
corrected for each sample by what those before it have changed: V_t d_t = V_0 d_t + sum over s < t of g_s (d_s d_t).
At the block's end V takes all its updates at once. That too is the same descent in exact arithmetic, and the rows of
V, which the second-level cache holds, are read and written once a block where they would be once a sample.

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
    lowest_bit,
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
# a block begin and how far apart those of its samples are; where the inputs of listed rows, the lane sums, a, c, the
# mask of live outputs and the targets of the classes begin; a block's sums V d, its steps g and the products d_s d_t;
# how far a list of rows lies behind the list of their offsets; the number of layers.
(BEHIND, INK, SPAN, VALUES, SUMS, PAPER, OFFSET, LIVE, TARGETS, PARTS, GRADIENTS, GRAM, ROWS, LAYERS, PLACES) = range(
    15
)

BLOCK = 4
"""Samples of a block. More of them touch fewer rows a sample, but multiply more zeros: 4 is best (PERFORMANCE.md)."""


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
    images : ndarray of uint8, shape (n, pixels)
        Grey levels.
    marks : ndarray of uint64, shape (n, words) or (n, 0)
        Bit p % 64 of word p // 64 says whether pixel p has d != 0; without words all are taken to have.
    sums : ndarray of dtype, shape (n,)
        Sum of the d of each image.
    levels : ndarray of dtype, shape (256,)
        d = x - base of each grey level; 0 for paper where there are marks.
    base : dtype
        What x is where d is 0: 0 or 1.
    whole : dtype
        1 + base times the number of pixels: how much more of a step g the sums of a blank image take up.
    """

    images: Any
    marks: Any
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
def _gather_block_strip(m, target, apart, w, lists, v, span, count, zero, width):
    x0 = splat(zero, width)
    x1, x2, x3 = x0, x0, x0
    for k in range(count):
        row = load(m, w + peek(lists, k), width)
        x0 = fma(splat(peek(m, v + k), width), row, x0)
        x1 = fma(splat(peek(m, v + k + span), width), row, x1)
        x2 = fma(splat(peek(m, v + k + 2 * span), width), row, x2)
        x3 = fma(splat(peek(m, v + k + 3 * span), width), row, x3)
    store(m, target, x0)
    store(m, target + apart, x1)
    store(m, target + 2 * apart, x2)
    store(m, target + 3 * apart, x3)


@inner
def _gather_block(m, target, registers, w, lists, v, span, count, zero, lanes):
    """Find V d for the samples of a block, at ``m[target:]`` one behind the other."""
    out_of_line()
    apart = registers * lanes
    while registers > 0:
        width = _strip(registers)
        if width == 4:
            _gather_block_strip(m, target, apart, w, lists, v, span, count, zero, _W4)
        elif width == 3:
            _gather_block_strip(m, target, apart, w, lists, v, span, count, zero, _W3)
        elif width == 2:
            _gather_block_strip(m, target, apart, w, lists, v, span, count, zero, _W2)
        else:
            _gather_block_strip(m, target, apart, w, lists, v, span, count, zero, _W1)
        target += width * lanes
        w += width * lanes
        registers -= width


@inner
def _update_block_strip(m, w, g, apart, lists, v, span, count, width):
    g0, g1 = load(m, g, width), load(m, g + apart, width)
    g2, g3 = load(m, g + 2 * apart, width), load(m, g + 3 * apart, width)
    for k in range(count):
        at = w + peek(lists, k)
        row = fma(splat(peek(m, v + k), width), g0, load(m, at, width))
        row = fma(splat(peek(m, v + k + span), width), g1, row)
        row = fma(splat(peek(m, v + k + 2 * span), width), g2, row)
        store(m, at, fma(splat(peek(m, v + k + 3 * span), width), g3, row))


@inner
def _update_block(m, w, registers, g, lists, v, span, count, lanes):
    """Add the updates g d' of the samples of a block to V."""
    out_of_line()
    apart = registers * lanes
    while registers > 0:
        width = _strip(registers)
        if width == 4:
            _update_block_strip(m, w, g, apart, lists, v, span, count, _W4)
        elif width == 3:
            _update_block_strip(m, w, g, apart, lists, v, span, count, _W3)
        elif width == 2:
            _update_block_strip(m, w, g, apart, lists, v, span, count, _W2)
        else:
            _update_block_strip(m, w, g, apart, lists, v, span, count, _W1)
        g += width * lanes
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
    # The first output stands in for the pads.
    first = splat(peek(m, u), _W1)
    top = first
    for r in range(u, stop, lanes):
        top = maximum(where_positive(load(m, live + r - u, _W1), load(m, r, _W1), first), top)
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
def _expand(ink, i0, i1, i2, i3, stride, m, v, span, lists, zero, lanes):
    """List the pixels that any of four images has ink on, and the d of each image there; return how many they are.

    The lists are padded with d = 0 to whole registers.
    """
    images, marks, levels = data(ink.images), data(ink.marks), data(ink.levels)
    pixels, words = ink.images.shape[1], ink.marks.shape[1]
    a0, a1, a2, a3 = i0 * pixels, i1 * pixels, i2 * pixels, i3 * pixels
    count = 0
    for word in range(max(words, -(-pixels // 64))):
        if words > 0:
            bits = peek(marks, i0 * words + word) | peek(marks, i1 * words + word)
            bits |= peek(marks, i2 * words + word) | peek(marks, i3 * words + word)
        else:
            bits = ~np.uint64(0) >> np.uint64(max(0, 64 * (word + 1) - pixels))
        while bits != 0:
            p = 64 * word + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            poke(lists, count, p * stride)
            poke(m, v + count, peek(levels, np.int64(peek(images, a0 + p))))
            poke(m, v + count + span, peek(levels, np.int64(peek(images, a1 + p))))
            poke(m, v + count + 2 * span, peek(levels, np.int64(peek(images, a2 + p))))
            poke(m, v + count + 3 * span, peek(levels, np.int64(peek(images, a3 + p))))
            count += 1
    for k in range(count, -(-count // lanes) * lanes):
        for s in range(BLOCK):
            poke(m, v + k + s * span, zero)
    return count


@inner
def _multiply_inks(m, gram, v, span, count, zero, lanes):
    """Find the products d_s d_t of a block's samples, s < t, at ``m[gram + BLOCK * t + s]``."""
    none = splat(zero, _W1)
    x01, x02, x12, x03, x13, x23 = none, none, none, none, none, none
    for k in range(v, v + count, lanes):
        d0, d1 = load(m, k, _W1), load(m, k + span, _W1)
        d2, d3 = load(m, k + 2 * span, _W1), load(m, k + 3 * span, _W1)
        x01, x02, x12 = fma(d0, d1, x01), fma(d0, d2, x02), fma(d1, d2, x12)
        x03, x13, x23 = fma(d0, d3, x03), fma(d1, d3, x13), fma(d2, d3, x23)
    poke(m, gram + BLOCK, total(x01))
    poke(m, gram + 2 * BLOCK, total(x02))
    poke(m, gram + 2 * BLOCK + 1, total(x12))
    poke(m, gram + 3 * BLOCK, total(x03))
    poke(m, gram + 3 * BLOCK + 1, total(x13))
    poke(m, gram + 3 * BLOCK + 2, total(x23))


@inner
def _fetch(ink, i):
    """Ask for image i, which lies anywhere in memory since the order is random."""
    images, marks = data(ink.images), data(ink.marks)
    pixels, words = ink.images.shape[1], ink.marks.shape[1]
    for k in range(i * pixels, (i + 1) * pixels, 64):
        prefetch(images, k)
    for k in range(i * words, (i + 1) * words, 8):
        prefetch(marks, k)


@inner
def _begin_block(ink, i0, i1, i2, i3, m, lists, layout, places, zero, lanes):
    """Do for a block all that concerns its ink: list it, find V d and the products; return the list's length."""
    v, span = peek(places, INK), peek(places, SPAN)
    count = _expand(ink, i0, i1, i2, i3, peek(layout, STRIDE), m, v, span, lists, zero, lanes)
    registers, w = peek(layout, REGISTERS), peek(layout, WEIGHTS)
    _gather_block(m, peek(places, PARTS), registers, w, lists, v, span, count, zero, lanes)
    return count


@inner
def _first_sums(m, t, layout, places, total_d, lanes):
    """Put together the first layer's sums of sample t of a block: a + c sum(d) + V_0 d + corrections."""
    u, width = peek(layout, UNITS), peek(layout, REGISTERS) * lanes
    paper, offset = peek(places, PAPER), peek(places, OFFSET)
    gradients, gram = peek(places, GRADIENTS), peek(places, GRAM) + BLOCK * t
    parts = peek(places, PARTS) + t * width
    d = splat(total_d, _W1)
    for r in range(0, width, lanes):
        x = fma(load(m, offset + r, _W1), d, add(load(m, paper + r, _W1), load(m, parts + r, _W1)))
        for s in range(t):
            x = fma(splat(peek(m, gram + s), _W1), load(m, gradients + s * width + r, _W1), x)
        store(m, u + r, x)


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
def _forward(m, lists, layout, places, counts, hidden, toy, one, lanes):
    """Run the network on from the first layer's sums."""
    layers = peek(places, LAYERS)
    below = 0
    for depth in range(layers):
        at = depth * LAYOUT
        u, registers = peek(layout, at + UNITS), peek(layout, at + REGISTERS)
        stop = u + registers * lanes
        if depth > 0:
            n, o = peek(layout, at + INPUTS), peek(layout, at + LISTS)
            v, count = below, n
            if hidden == RELU:
                v = peek(places, VALUES) + o
                count = _active(m, below, n, peek(layout, at + STRIDE), lists, o, peek(places, ROWS), v)
                poke(counts, depth, count)
            w, b = peek(layout, at + WEIGHTS), peek(layout, at + BIASES)
            _gather(m, u, b, registers, w, lists, o, v, count, one - one, lanes)
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
def _backward(m, t, lists, layout, places, counts, hidden, toy, total_d, base, whole, lr, one, lanes):
    """Update all weights after :func:`_forward` and :func:`_judge`; those of V are kept for the block's end."""
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
            paper, offset = splat(whole + base * total_d, _W1), splat(base, _W1)
            a, c, kept = peek(places, PAPER), peek(places, OFFSET), peek(places, GRADIENTS) + t * width
            for r in range(0, width, lanes):
                g = load(m, steps + r, _W1)
                store(m, kept + r, g)
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
    zero = one - one
    v, span = peek(places, INK), peek(places, SPAN)
    behind, live, gradients = peek(places, BEHIND), peek(places, LIVE), peek(places, GRADIENTS)
    last = (peek(places, LAYERS) - 1) * LAYOUT
    u, width = peek(layout, last + UNITS), peek(layout, last + REGISTERS) * lanes
    registers, w = peek(layout, REGISTERS), peek(layout, WEIGHTS)
    n = len(order)
    for first in range(0, n, BLOCK):
        size = min(BLOCK, n - first)
        for k in range(first + size, min(first + size + BLOCK, n)):
            _fetch(ink, order[k])
        # A block that is not full repeats its last sample, with steps of 0.
        i0, i1 = order[first], order[first + min(1, size - 1)]
        i2, i3 = order[first + min(2, size - 1)], order[first + size - 1]
        count = _begin_block(ink, i0, i1, i2, i3, m, lists, layout, places, zero, lanes)
        _multiply_inks(m, peek(places, GRAM), v, span, count, zero, lanes)
        for t in range(size):
            i = order[first + t]
            label, d = labels[i], peek(sums, i)
            _first_sums(m, t, layout, places, d, lanes)
            _forward(m, lists, layout, places, counts, hidden, toy, one, lanes)
            target = peek(places, TARGETS) + label * width
            _judge(m, u, u + width, u + behind, live, target, label, toy, one, lanes, both)
            rate = lr
            if weights.size > 0:
                rate = lr * weights[i]
            _backward(m, t, lists, layout, places, counts, hidden, toy, d, ink.base, ink.whole, rate, one, lanes)
        for r in range(gradients + size * registers * lanes, gradients + BLOCK * registers * lanes, lanes):
            store(m, r, splat(zero, _W1))
        _update_block(m, w, registers, gradients, lists, v, span, count, lanes)


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
    # No sample has changed anything yet.
    for r in range(BLOCK * BLOCK):
        poke(m, peek(places, GRAM) + r, one - one)
    n = len(outputs)
    for first in range(0, n, BLOCK):
        size = min(BLOCK, n - first)
        i1, i2, i3 = first + min(1, size - 1), first + min(2, size - 1), first + size - 1
        _begin_block(ink, first, i1, i2, i3, m, lists, layout, places, one - one, lanes)
        for t in range(size):
            _first_sums(m, t, layout, places, peek(sums, first + t), lanes)
            _forward(m, lists, layout, places, counts, net.hidden, net.toy, one, lanes)
            for k in range(outputs.shape[1]):
                outputs[first + t, k] = peek(m, u + k)
