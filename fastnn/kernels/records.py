"""The argument blocks of the image kernels: distort, normalise and strokes.

Does not import Numba, like ``fastnn.kernels.workspace``.
"""

from fastnn.kernels.workspace import record_of_int64

SIDE = 28
"""Height and width of the images that the kernels distort, draw and return when normalising."""

ROW = 32
"""Length of a row of a 28x28 image in scratch memory: whole vectors."""

DISTORT = record_of_int64(
    "images",  # uint8, 784 an image; 255 = white
    "order",  # int64, n: indices of the images
    "n",
    "maps",  # float32, 6 an image: a, b, c, d, e, f
    "noise",  # float32, 2 * n_nodes² an image: displacements along x and y; 0: none
    "smooth",  # float32, n_nodes rows of ROW: weight of each node in each row (column) of the image
    "n_nodes",
    "out",  # uint8, 784 an image; filled
    "ink",  # int64, SIDE + 2 rows of SIDE + 2; the border is 0 and stays 0
    "corners",  # int64, SIDE + 1 rows of ROW
    "columns",  # float32: 0, 1, ... ROW - 1
    "part",  # float32, n_nodes rows of ROW
    "along_x",  # float32, SIDE rows of ROW, as the next three
    "along_y",
    "cells",  # int32
    "found",  # int64
)
"""Arguments of ``distort.distort``.

Pixel (x, y) of the result is the source at (a x + b y + e, c x + d y + f) plus the displacement."""

NORMALISE = record_of_int64(
    "images",  # uint8, n images of height x width; grey
    "n",
    "height",
    "width",
    "polarity",  # 1: the paper is lighter than the ink, -1: darker, 0: found from each picture's border
    "result",  # uint8, n images of 28 x 28; filled, 255 = white; not changed for blank pictures
    "blank",  # uint8, n; filled
    "counts",  # scratch: int64, 256
    "levels",  # uint8, 256: ink for each grey level
    "ink",  # uint8, height x width: the picture as ink
    "box",  # int64, 4: edges of the drawing
    "rows",  # float64, width: a row of the picture
    "weights",  # float64, n_weights: of the source pixels of an output pixel
    "n_weights",
    "small",  # uint8, 20 x 20: the scaled drawing
    "out",  # float64, 20 x 20
)
"""Arguments of ``normalise.normalise``."""

CELL = 10
CANVAS = SIDE * CELL
"""Height and width of the original's canvas in pixels. It is averaged in cells of CELL x CELL."""

DAB_DIAMETER, DAB_ROW = 30, 32
"""Diameter of the dab that the page draws, and the length of a row of its picture: whole vectors."""

FLOATS_PER_VECTOR = 16
"""Number of float32 values written at once, sometimes beyond the end of a row."""

MARGIN = 32
"""Added to the canvas on each side, so that a dab at the edge needs no clipping."""

CANVAS_ROW = CANVAS + 2 * MARGIN

STROKES = record_of_int64(
    "paths",  # float64, n x n_points x 2: points of all strokes one after another, x and y in canvas pixels
    "paces",  # float64, n x n_points: pixels between two events at full speed; positive
    "n",
    "n_points",
    "starts",  # int64, n_strokes + 1: where each stroke begins; last, the number of points
    "n_strokes",
    "dab",  # float32, DAB_DIAMETER rows of DAB_ROW: factor that a dab multiplies the canvas with
    "images",  # uint8, n x 784; filled, 255 = white
    "canvas",  # scratch: float32, CANVAS_ROW² and a vector more; 1 = white, before and after
    "row",  # float32, CANVAS_ROW: sums of the rows of a cell
    "events",  # int64, max_events x 2: positions of the pointer events of a digit
    "max_events",
    "arc",  # float64, n_points: distance of each point from the start of its stroke
)
"""Arguments of ``strokes.draw``."""
