"""The ratios that must hold, all in one place; never seconds, which differ from machine to machine.

A ratio is the peer's best time a digit over fastnn's, both from the same interleaved rounds on one core; where it must
stay near 1, or what is timed takes long, it is the median over runs side by side.
"""

AT_LEAST = {
    "naive": 5000,
    "comprehensions": 1300,
    "numpy-ger": 6,
    "sklearn": 100,
    "torch": 5,  # the best of its three forms
    "jax": 3,
    "numba": 5,
    "c": 2,
    "bandwidth": 1.8,
}
"""Training 784-200-40-10 by the original rule in float32: by how much fastnn is faster, at least."""

FLOAT64_AT_MOST = 2.2
"""float64 over float32, time a digit."""

LARGE_RUN_AT_MOST = 1.15
"""Time a digit in one call for a million digits, over that in calls for 12,547: cost is linear in their number."""

INK_FROM_FULL = 2.0
"""5 % of the pixels inked must be faster than 100 % by this at least: cost grows with ink, not with pixels."""

CHUNKS_AT_MOST = 1.03
"""An epoch in calls of a few milliseconds each, over one call for the whole epoch."""

LOADING_AT_LEAST = 1.5
"""`json` and NumPy over `load_dataset`, reading the original's file for the first time."""

KERNELS_SHARE = 0.85
"""Training and tests over the whole command, 60 epochs on as many digits as the original has, compiled before."""

COMPILING_AT_MOST = 1.5
"""What the first command of all takes more than the next, for compiling and for reading or drawing the digits, over the
command that trains 60 epochs. In seconds, which differ from machine to machine, it should be 6 at the most."""

DISTORTING_AT_LEAST = 3.0
"""SciPy's `affine_transform` over the affine and elastic distortion, time an image."""

NORMALISING_AT_LEAST = 2.0
"""Pillow over `normalise_batch`, time an image."""
