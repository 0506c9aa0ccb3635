"""Per-sample stochastic gradient descent: the matrix kernels, and the loop over samples made of them.

The first layer works on ink. An input is written x = base + d with d = 0 for most pixels; base is 1 where paper is 1,
else 0. With W = V + c 1' (one offset a hidden unit) and a = b + W (base 1), the sums of the first layer are

    W x + b = a + V d + c sum(d)

and the update of W by g x' is c += base g, V += g d', a += g (1 + base sum(x)): the same descent in exact arithmetic at
a cost proportional to the ink. :func:`open_offsets` finds a, :func:`close_offsets` adds c to the weights; between the
two the first layer's weights lack c. Without a base, c stays 0 and a is the bias itself.

Rules "toy" (the original's; see ``fastnn.reference``) and "backprop" differ in what a layer hands down: toy the raw
error through the weights already updated, backprop the error times the slope through the weights as they were.

A jitted function here calls jitted functions of this file alone: Numba's cache notices no edit in another file. The
vectors of ``simd`` are built into this code, so `_SIMD` holds that file's checksum and a test keeps it true.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels._jit import inner, jit
from fastnn.kernels.simd import (
    add,
    div,
    dot,
    exp,
    fma,
    load,
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


class Net(NamedTuple):
    """A network, as the kernels see it.

    Attributes
    ----------
    parameters : ndarray of dtype, shape (p,)
        See :class:`fastnn.Network`.
    layout : ndarray of int64, shape (layers, 7)
        That of :class:`fastnn.Network`, and for each layer two places more: of its outputs in `Work.units` and the
        like, and of its inputs in `Work.offsets` and the like.
    hidden : int
        Activation of the hidden layers: SIGMOID, TANH or RELU.
    toy : bool
        The learning rule.
    """

    parameters: Any
    layout: Any
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
    """

    starts: Any
    columns: Any
    codes: Any
    sums: Any
    levels: Any
    base: Any


class Work(NamedTuple):
    """Memory that the kernels use; made by :func:`fastnn.training.workspace`.

    Attributes
    ----------
    units, errors, steps : ndarray of dtype
        For each layer: outputs, what is handed down to it, and the update of its biases. Padded to whole registers;
        the pads of `errors` and `steps` are 0.
    offsets : ndarray of int64
        For each layer the rows that take part, as distances from its first row.
    rows : ndarray of int64
        The same rows by number; ReLU alone.
    values : ndarray of dtype
        The inputs that belong to these rows; in the first layer and with ReLU.
    sums : ndarray of dtype
        One register for each row, rounded up to as many rows as a register has lanes.
    paper, offset : ndarray of dtype
        a and c of the first layer, padded; see the module.
    live : ndarray of dtype
        1 for each output, 0 for the pads.
    """

    units: Any
    errors: Any
    steps: Any
    offsets: Any
    rows: Any
    values: Any
    sums: Any
    paper: Any
    offset: Any
    live: Any


@inner
def _strip(registers):
    """Return the width of the next of the fewest strips of nearly the same width: 13 are 4 + 3 + 3 + 3."""
    return -(-registers // -(-registers // 4))


@inner
def _gather_strip(target, t, start, i, weights, w, offsets, o, values, v, count, width):
    x = load(start, i, width)
    k = 0
    if len(width) < 4:
        # Few registers are too few sums under way at once to hide the latency of an addition: take two rows at a time.
        y = splat(target.dtype.type(0), width)
        while k + 1 < count:
            x = fma(splat(peek(values, v + k), width), load(weights, w + peek(offsets, o + k), width), x)
            y = fma(splat(peek(values, v + k + 1), width), load(weights, w + peek(offsets, o + k + 1), width), y)
            k += 2
        x = add(x, y)
    while k < count:
        x = fma(splat(peek(values, v + k), width), load(weights, w + peek(offsets, o + k), width), x)
        k += 1
    store(target, t, x)


@inner
def _gather(target, t, registers, start, i, weights, w, offsets, o, values, v, count):
    """``target = start + values[k] * row k`` over `count` rows: the transposed matrix-vector product."""
    out_of_line()
    lanes = 64 // target.itemsize
    while registers > 0:
        width = _strip(registers)
        if width == 4:
            _gather_strip(target, t, start, i, weights, w, offsets, o, values, v, count, _W4)
        elif width == 3:
            _gather_strip(target, t, start, i, weights, w, offsets, o, values, v, count, _W3)
        elif width == 2:
            _gather_strip(target, t, start, i, weights, w, offsets, o, values, v, count, _W2)
        else:
            _gather_strip(target, t, start, i, weights, w, offsets, o, values, v, count, _W1)
        t += width * lanes
        i += width * lanes
        w += width * lanes
        registers -= width


@inner
def _scatter_strip(weights, w, steps, s, offsets, o, values, v, count, width):
    g = load(steps, s, width)
    for k in range(count):
        row = w + peek(offsets, o + k)
        store(weights, row, fma(splat(peek(values, v + k), width), g, load(weights, row, width)))


@inner
def _scatter(weights, w, registers, steps, s, offsets, o, values, v, count):
    """``row k += values[k] * steps`` over `count` rows: the rank-one update."""
    out_of_line()
    lanes = 64 // weights.itemsize
    while registers > 0:
        width = _strip(registers)
        if width == 4:
            _scatter_strip(weights, w, steps, s, offsets, o, values, v, count, _W4)
        elif width == 3:
            _scatter_strip(weights, w, steps, s, offsets, o, values, v, count, _W3)
        elif width == 2:
            _scatter_strip(weights, w, steps, s, offsets, o, values, v, count, _W2)
        else:
            _scatter_strip(weights, w, steps, s, offsets, o, values, v, count, _W1)
        s += width * lanes
        w += width * lanes
        registers -= width


@inner
def _descend_strip(weights, w, steps, errors, s, offsets, o, values, v, count, sums, updated, first, width):
    lanes = 64 // weights.itemsize
    g = load(steps, s, width)
    e = load(errors, s, width)
    total = splat(weights.dtype.type(0), _W1)
    for k in range(count):
        row = w + peek(offsets, o + k)
        old = load(weights, row, width)
        new = fma(splat(peek(values, v + k), width), g, old)
        store(weights, row, new)
        if not first:
            total = load(sums, k * lanes, _W1)
        if updated:
            store(sums, k * lanes, dot(new, e, total))
        else:
            store(sums, k * lanes, dot(old, e, total))


@inner
def _descend(weights, w, registers, steps, errors, s, offsets, o, values, v, count, sums, updated):
    """Update `count` rows as :func:`_scatter` does, and leave each row's product with `errors` in `sums`.

    The products, one register a row, are still to be summed over their lanes; they are taken with the rows as they
    are after the update if `updated`, else before.
    """
    out_of_line()
    lanes = 64 // weights.itemsize
    first = True
    while registers > 0:
        width = _strip(registers)
        if width == 4:
            _descend_strip(weights, w, steps, errors, s, offsets, o, values, v, count, sums, updated, first, _W4)
        elif width == 3:
            _descend_strip(weights, w, steps, errors, s, offsets, o, values, v, count, sums, updated, first, _W3)
        elif width == 2:
            _descend_strip(weights, w, steps, errors, s, offsets, o, values, v, count, sums, updated, first, _W2)
        else:
            _descend_strip(weights, w, steps, errors, s, offsets, o, values, v, count, sums, updated, first, _W1)
        first = False
        s += width * lanes
        w += width * lanes
        registers -= width


@inner
def _activate(units, u, registers, kind):
    """Apply an activation in place; nothing for SOFTMAX, see :func:`_softmax`."""
    lanes = 64 // units.itemsize
    zero, one = splat(units.dtype.type(0), _W1), splat(units.dtype.type(1), _W1)
    minus_two = splat(units.dtype.type(-2), _W1)
    for r in range(registers):
        z = load(units, u + r * lanes, _W1)
        if kind == RELU:
            z = relu(z)
        elif kind == TANH:
            # tanh(z) = 2 / (1 + exp(-2 z)) - 1
            z = sub(div(sub(zero, minus_two), add(one, exp(mul(minus_two, z)))), one)
        elif kind == SIGMOID:
            z = div(one, add(one, exp(sub(zero, z))))
        store(units, u + r * lanes, z)


@inner
def _softmax(units, u, n):
    """Turn n sums into a softmax in place."""
    lanes = 64 // units.itemsize
    greatest = units[u]
    for k in range(u + 1, u + n):
        greatest = max(greatest, units[k])
    shift = splat(greatest, _W1)
    for r in range(-(-n // lanes)):
        store(units, u + r * lanes, exp(sub(load(units, u + r * lanes, _W1), shift)))
    total = units.dtype.type(0)
    for k in range(u, u + n):
        total += units[k]
    for k in range(u, u + n):
        units[k] /= total


@inner
def _expand(ink, i, stride, work):
    """Write the entries of image i to `work`; return how many they are."""
    start = peek(ink.starts, i)
    count = peek(ink.starts, i + 1) - start
    listed = ink.columns.size > 0
    for k in range(count):
        column = k
        if listed:
            column = np.int64(peek(ink.columns, start + k))
        poke(work.offsets, k, column * stride)
        poke(work.values, k, peek(ink.levels, np.int64(peek(ink.codes, start + k))))
    return count


@inner
def _fetch(ink, i):
    """Ask for the entries of image i, which lie anywhere in memory since the order is random."""
    start, stop = peek(ink.starts, i), peek(ink.starts, i + 1)
    if ink.columns.size > 0:
        for k in range(start, stop, 32):
            prefetch(ink.columns, k)
    for k in range(start, stop, 64):
        prefetch(ink.codes, k)


@inner
def _active(units, u, n, stride, work, o):
    """List the units that are not silent; return how many they are."""
    count = 0
    for j in range(n):
        value = peek(units, u + j)
        poke(work.rows, o + count, j)
        poke(work.offsets, o + count, j * stride)
        poke(work.values, o + count, value)
        count += value != 0
    return count


@inner
def _forward(net, work, total_d, counts):
    """Run the network on the entries in `work`; the outputs are then in `work.units`."""
    lanes = 64 // net.parameters.itemsize
    last = len(net.layout) - 1
    for depth in range(last + 1):
        n_in, n_out, stride, w, b, u, o = net.layout[depth]
        registers = -(-n_out // lanes)
        start, i, values, v, count = net.parameters, b, work.values, o, counts[0]
        if depth == 0:
            start, i = work.units, u
            d = splat(total_d, _W1)
            for r in range(0, registers * lanes, lanes):
                store(work.units, u + r, fma(load(work.offset, r, _W1), d, load(work.paper, r, _W1)))
        elif net.hidden == RELU:
            count = _active(work.units, net.layout[depth - 1, 5], n_in, stride, work, o)
            counts[depth] = count
        else:
            values, v, count = work.units, net.layout[depth - 1, 5], n_in
        _gather(work.units, u, registers, start, i, net.parameters, w, work.offsets, o, values, v, count)
        if depth < last:
            _activate(work.units, u, registers, net.hidden)
        elif net.toy:
            _activate(work.units, u, registers, SIGMOID)
        else:
            _softmax(work.units, u, n_out)


@inner
def _judge(net, work, label, smoothing, totals):
    """Write the error of the outputs to `work.errors`; add loss and hit to `totals`."""
    _, n_out, _, _, _, u, _ = net.layout[len(net.layout) - 1]
    lanes = 64 // net.parameters.itemsize
    registers = -(-n_out // lanes)
    one = net.parameters.dtype.type(1)
    rest = splat(smoothing / net.parameters.dtype.type(n_out), _W1)
    output = peek(work.units, u + label)
    for r in range(u, u + registers * lanes, lanes):
        store(work.errors, r, mul(load(work.live, r - u, _W1), sub(rest, load(work.units, r, _W1))))
    poke(work.errors, u + label, peek(work.errors, u + label) + (one - smoothing))
    better = 0
    for k in range(u, u + n_out):
        better += peek(work.units, k) > output
    if net.toy:
        squares = splat(net.parameters.dtype.type(0), _W1)
        for r in range(u, u + registers * lanes, lanes):
            e = load(work.errors, r, _W1)
            squares = fma(e, e, squares)
        loss = float(total(squares))
    elif output == output:
        loss = -math.log(max(float(output), 1e-30))
    else:
        # The network has diverged; max would lose the NaN.
        loss = math.nan
    totals[0] += loss
    totals[1] += better == 0


@inner
def _step(work, u, registers, lr, kind, toy):
    """Turn the errors of a layer into the step of its sums, ``lr * error * slope``.

    Under rule backprop the error itself is multiplied by the slope too, since that is what is handed down; SOFTMAX
    with cross-entropy has slope 1.
    """
    lanes = 64 // work.units.itemsize
    one = splat(work.units.dtype.type(1), _W1)
    rate = splat(lr, _W1)
    for r in range(registers):
        e = load(work.errors, u + r * lanes, _W1)
        h = load(work.units, u + r * lanes, _W1)
        if toy:
            e = mul(mul(e, h), sub(one, h))
            store(work.steps, u + r * lanes, mul(rate, e))
        else:
            if kind == SIGMOID:
                e = mul(mul(e, h), sub(one, h))
            elif kind == TANH:
                e = mul(e, mul(sub(one, h), add(one, h)))
            elif kind == RELU:
                e = where_positive(h, e)
            store(work.errors, u + r * lanes, e)
            store(work.steps, u + r * lanes, mul(rate, e))


@inner
def _hand_down(work, below, n, o, count, lanes, listed):
    """Sum the products that :func:`_descend` left over their lanes, into the errors of the layer below."""
    zero = splat(work.sums.dtype.type(0), _W1)
    for k in range(count, -(-count // lanes) * lanes):
        store(work.sums, k * lanes, zero)
    if not listed:
        for k in range(0, count, lanes):
            store(work.errors, below + k, sum_rows(work.sums, k * lanes))
        return
    for j in range(0, n, lanes):
        store(work.errors, below + j, zero)
    for k in range(0, count, lanes):
        # The register of sums has served: its first place takes the result.
        store(work.sums, k * lanes, sum_rows(work.sums, k * lanes))
        for i in range(min(lanes, count - k)):
            poke(work.errors, below + peek(work.rows, o + k + i), peek(work.sums, k * lanes + i))


@inner
def _backward(net, work, ink, total_d, lr, counts):
    """Update all weights after :func:`_forward` and :func:`_judge`."""
    lanes = 64 // net.parameters.itemsize
    last = len(net.layout) - 1
    for depth in range(last, -1, -1):
        n_in, n_out, stride, w, b, u, o = net.layout[depth]
        registers = -(-n_out // lanes)
        kind = net.hidden
        if depth == last:
            kind = SOFTMAX
        _step(work, u, registers, lr, kind, net.toy)
        for r in range(0, registers * lanes, lanes):
            store(net.parameters, b + r, add(load(net.parameters, b + r, _W1), load(work.steps, u + r, _W1)))
        if depth == 0:
            _scatter(net.parameters, w, registers, work.steps, u, work.offsets, o, work.values, o, counts[0])
            one, base = net.parameters.dtype.type(1), ink.base
            _shift(work, u, registers, base, one + base * (base * net.parameters.dtype.type(n_in) + total_d))
            return
        below = net.layout[depth - 1, 5]
        listed = net.hidden == RELU
        values, v, count = work.units, below, n_in
        if listed:
            values, v, count = work.values, o, counts[depth]
        _descend(
            net.parameters, w, registers, work.steps, work.errors, u, work.offsets, o, values, v, count,
            work.sums, net.toy,
        )  # fmt: skip
        _hand_down(work, below, n_in, o, count, lanes, listed)


@inner
def _shift(work, u, registers, base, share):
    """Add the first layer's step to c, and what it adds to the sums of a blank image to a."""
    lanes = 64 // work.units.itemsize
    for r in range(0, registers * lanes, lanes):
        g = load(work.steps, u + r, _W1)
        store(work.offset, r, fma(splat(base, _W1), g, load(work.offset, r, _W1)))
        store(work.paper, r, fma(splat(share, _W1), g, load(work.paper, r, _W1)))


@jit
def open_offsets(net, ink, work):
    """Find a = b + W (base 1) and set c to 0; to be called before the others.

    Also lists all rows of every layer but the first, which is what layers without ReLU use.
    """
    n_in, n_out, stride, w, b, _, _ = net.layout[0]
    lanes = 64 // net.parameters.itemsize
    width = -(-n_out // lanes) * lanes
    for j in range(width):
        work.offset[j] = 0
        work.paper[j] = net.parameters[b + j]
    if ink.base != 0:
        for p in range(n_in):
            for j in range(width):
                work.paper[j] += ink.base * net.parameters[w + p * stride + j]
    for depth in range(1, len(net.layout)):
        o = net.layout[depth, 6]
        for j in range(net.layout[depth, 0]):
            work.offsets[o + j] = j * net.layout[depth, 2]


@jit
def close_offsets(net, work):
    """Add c to the first layer's weights, which are then whole, and set it to 0."""
    n_in, n_out, stride, w, _, _, _ = net.layout[0]
    any_offset = False
    for j in range(n_out):
        any_offset |= work.offset[j] != 0
    if not any_offset:
        return
    for p in range(n_in):
        for j in range(n_out):
            net.parameters[w + p * stride + j] += work.offset[j]
    for j in range(n_out):
        work.offset[j] = 0


@jit
def train_samples(net, ink, work, labels, order, lr, smoothing, weights, counts, totals):
    """Train on the samples of `order`, one after the other.

    Parameters
    ----------
    net, ink, work
        See the classes; between :func:`open_offsets` and :func:`close_offsets`.
    labels : ndarray of int64, shape (n,)
    order : ndarray of int64, shape (m,)
        Which samples, in which order.
    lr : dtype
        Learning rate.
    smoothing : dtype
        Label smoothing.
    weights : ndarray of dtype, shape (n,) or (0,)
        Factors of the learning rate for each sample; none if empty.
    counts : ndarray of int64, shape (layers,)
        Memory.
    totals : ndarray of float64, shape (2,)
        The losses and hits before each sample's update are added to it. A loss of NaN marks a divergence.
    """
    stride = net.layout[0, 2]
    for k in range(len(order)):
        i = order[k]
        if k + 1 < len(order):
            _fetch(ink, order[k + 1])
        counts[0] = _expand(ink, i, stride, work)
        _forward(net, work, ink.sums[i], counts)
        _judge(net, work, labels[i], smoothing, totals)
        rate = lr
        if weights.size > 0:
            rate = lr * weights[i]
        _backward(net, work, ink, ink.sums[i], rate, counts)


@jit
def predict_samples(net, ink, work, first, outputs, counts):
    """Write the outputs for the images from `first` on.

    Parameters
    ----------
    net, ink, work
        See the classes; after :func:`open_offsets`.
    first : int
        Number of the first image.
    outputs : ndarray of dtype, shape (n, classes)
        Filled.
    counts : ndarray of int64, shape (layers,)
        Memory.
    """
    stride = net.layout[0, 2]
    u = net.layout[len(net.layout) - 1, 5]
    for i in range(len(outputs)):
        counts[0] = _expand(ink, first + i, stride, work)
        _forward(net, work, ink.sums[first + i], counts)
        for k in range(outputs.shape[1]):
            outputs[i, k] = work.units[u + k]


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
