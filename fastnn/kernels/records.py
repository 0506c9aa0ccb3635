"""The argument blocks of the smaller kernels: distort, normalise, strokes and standardise.

Does not import Numba, like ``fastnn.kernels.workspace``.
"""

from fastnn.kernels.workspace import record_of_int64

SIDE = 28
"""Height and width of the images that the kernels distort, draw and return when normalising."""

ROW = 32
"""Length of a row of a 28x28 image in scratch memory: whole vectors."""

DISTORT = record_of_int64(
    "images out",  # uint8, 784 an image; 255 = white; `out` is filled
    "order n",  # int64: which images
    "maps",  # float32, 6 an image: a, b, c, d, e, f
    "noise n_nodes",  # float32, 2 * n_nodes² an image: displacements along x and y; 0: none
    "smooth part",  # float32, n_nodes rows of ROW: what each node gives to each row (column); scratch
    "ink corners",  # scratch: int64, SIDE + 2 rows of SIDE + 2 with a border of 0; SIDE + 1 rows of ROW
    "columns",  # float32: 0, 1, ... ROW - 1
    "along_x along_y cells found",  # scratch: SIDE rows of ROW, float32, float32, int32 and int64
)
"""Arguments of ``distort.distort``.

Pixel (x, y) of the result is the source at (a x + b y + e, c x + d y + f) plus the displacement."""

NORMALISE = record_of_int64(
    "images n height width",  # uint8, n images of height x width; grey
    "polarity",  # 1: the paper is lighter than the ink, -1: darker, 0: found from each picture's border
    "result",  # uint8, n images of 28 x 28; filled, 255 = white; not changed for blank pictures
    "blank",  # uint8, n; filled
    "counts levels",  # scratch: int64 and uint8, 256 each
    "ink box",  # scratch: uint8, height x width; int64, 4: edges of the drawing
    "rows weights n_weights",  # scratch: float64, width and n_weights: a row of the picture, weights of an output pixel
    "small out",  # scratch: uint8 and float64, 20 x 20 each: the scaled drawing
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
    "paths n n_points",  # float64, n x n_points x 2: points of all strokes one after another, in canvas pixels
    "paces",  # float64, n x n_points: pixels between two events where nothing slows the pen down; positive
    "starts n_strokes",  # int64, n_strokes + 1: where each stroke begins; last, the number of points
    "dab",  # float32, DAB_DIAMETER rows of DAB_ROW: what a dab leaves of the paper
    "images",  # uint8, n x 784; filled, 255 = white
    "canvas row",  # scratch: float32, CANVAS_ROW² and a vector more, 1 = white before and after; CANVAS_ROW
    "events max_events",  # scratch: int64, max_events x 2: where the pointer events of a digit are
    "arc",  # scratch: float64, n_points: distance of each point from the start of its stroke
)
"""Arguments of ``strokes.draw``."""

LARGEST = 1e30
"""Values of a stream are below it in size: sums of them are finite in float32, those of their squares in float64."""

STANDARDISE = record_of_int64(
    "values columns",  # float64, n_rows x n_values; int32, n_values: the columns of all rows, -1: one that is not used
    "n_rows n_values",
    "learns standardises",  # whether the rows change the moments, before each is read; whether they are standardised
    "counts means squares",  # float64, for each column: number of values, mean, sum of squared deviations from it
    "dense width",  # float64, n_rows x width; filled, 0 for columns that a row does not hold
    "sparse sparse_columns n_sparse",  # if `width` is 0, filled: float64, int32: what is used; and its number
    "bad",  # filled: position of the first value that is NaN or not below LARGEST, from 1; then nothing has changed
)
"""Arguments of ``standardise.standardise``."""
