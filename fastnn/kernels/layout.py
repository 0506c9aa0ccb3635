"""What the kernels and those who call them agree on: numbers, and the shapes of what is handed over.

Stands apart from the kernels so that their callers need not import Numba: that takes longer than an epoch.
"""

from typing import Any, NamedTuple

BLOCK = 4
"""Samples of a block. Two took 0.5 us a digit more, five no less."""

CASES = 1 << BLOCK

CHUNK = 16
"""Pixels are looked at by so many at once; images are padded to a multiple of it."""

PAIRS = [(s, t) for t in range(BLOCK) for s in range(t)]
"""The pairs of a block's samples, in the order in which ``blocks.open_block`` leaves their products."""

SIGMOID, TANH, RELU, SOFTMAX = 0, 1, 2, 3

# Columns of `layout`, one row a layer: how many inputs and outputs; registers that hold its outputs; distance of two
# rows of weights; where its weights, biases and outputs begin; where the list of its inputs begins in `net.lists`.
(INPUTS, OUTPUTS, REGISTERS, STRIDE, WEIGHTS, BIASES, UNITS, LISTS, LAYOUT) = range(9)

# Entries of `places`: how far behind a layer's outputs its errors lie, as far again its steps, as far again a mask that
# is 1 for units and 0 for pads, and as far again the units' numbers; where the pixels' values of a block begin, and how
# far apart those of its samples and the lists of its cases are; where the inputs of listed rows, the lane sums, a and c
# begin; a block's sums V s, its steps factor g, and the products of its samples; how far a list of rows lies behind the
# list of their offsets; the number of layers.
(BEHIND, INK, SPAN, VALUES, SUMS, PAPER, OFFSET, PARTS, GRADIENTS, PRODUCTS, ROWS, LAYERS, PLACES) = range(13)


class Net(NamedTuple):
    """A network and the memory of the work on it, as the kernels see it.

    Attributes
    ----------
    memory : ndarray of dtype, shape (m,)
        A copy of the first layer's biases, the parameters, then for each layer outputs, errors (what is handed down to
        it) and steps (the update of its biases), then the rest; see `places`. All begin on registers and are padded to
        whole ones with zeros.
    rows, ends, starts, cases, unions : ndarray
        Of int32, int64, int64, uint8 and uint64; what ``fastnn.kernels.blocks`` reads and writes for a block: the
        pixels of each case and where their lists end, where the images begin, cases and unions.
    lists : ndarray of int64
        For each layer above the first the rows that take part, as distances from its first row; behind them the same
        by number.
    layout : ndarray of int64, shape (layers * LAYOUT,)
        See INPUTS and what follows it.
    places : ndarray of int64, shape (PLACES,)
        See BEHIND and what follows it.
    counts : ndarray of int64, shape (layers,)
        How many rows of each layer take part in the sample at hand.
    hidden : int
        Activation of the hidden layers: SIGMOID, TANH or RELU.
    toy : tuple
        The learning rule: empty for backprop. As with a vector's width the length is known when a kernel is compiled:
        then only what the rule needs is.
    """

    memory: Any
    rows: Any
    ends: Any
    starts: Any
    cases: Any
    unions: Any
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
        Grey levels, 255 = paper; padded with `shift` to a whole number of chunks, see ``fastnn.kernels.blocks``.
    sums : ndarray of dtype, shape (n,)
        Sum of the d of each image.
    shift : int64
        A pixel's d is its grey level less this, times `factor`.
    factor : dtype
        See `shift`.
    base : dtype
        What x is where d is 0: 0 or 1.
    whole : dtype
        1 + base times the number of pixels: how much more of a step g the sums of a blank image take up.
    whole_images : bool
        Whether paper is not left out.
    """

    images: Any
    sums: Any
    shift: Any
    factor: Any
    base: Any
    whole: Any
    whole_images: Any


SIDE = 28
"""Of the images that are distorted."""

ROW = 32
"""Length of a row of positions and corners: whole registers of whatever width."""


class Room(NamedTuple):
    """Where the distortion of an image works; `rows` begins as zeros, and its border stays so.

    Attributes
    ----------
    rows : ndarray of int64, shape (SIDE + 2, SIDE + 2)
        The ink, with a border of none.
    corners : ndarray of int64, shape (ROW * (SIDE + 1),)
        The ink at the corners of each square.
    columns : ndarray of float32, shape (ROW,)
        0, 1, 2 ...
    part : ndarray of float32, shape (nodes, ROW)
        A field that is smooth along one axis.
    along_x, along_y : ndarray of float32, shape (SIDE * ROW,)
        Positions.
    cells, found : ndarray of int32 and of int64, shape (SIDE * ROW,)
        The squares that positions lie in, and the corners there.
    """

    rows: Any
    corners: Any
    columns: Any
    part: Any
    along_x: Any
    along_y: Any
    cells: Any
    found: Any


CELL = 10
CANVAS = SIDE * CELL
"""Pixels of a side of the original's page's canvas; CELL of one of the cells that it is averaged in."""

DIAMETER, DAB_ROW = 30, 32
"""Of the dab that the page draws, and the length of a row of its picture: whole registers."""

REGISTER = 16
"""Numbers of float32 that are written at once, over the end of a row if need be."""

MARGIN = 32
"""What the canvas is wider on each side: a dab that just misses it needs no clipping."""

WIDE = CANVAS + 2 * MARGIN


class Page(NamedTuple):
    """Where digits are drawn.

    Attributes
    ----------
    canvas : ndarray of float32, shape (WIDE * WIDE + REGISTER,)
        1 = paper; white before and after. Behind it is room for a register, so that rows may be written in whole ones.
    row : ndarray of float32, shape (WIDE,)
        Sums of the rows of a cell.
    dabs : ndarray of int64, shape (room, 2)
        Where the pointer events of a digit are.
    arc : ndarray of float64, shape (points,)
        How far each point is from the start of its stroke.
    """

    canvas: Any
    row: Any
    dabs: Any
    arc: Any
