"""The ratios that must hold on any machine, in one place; seconds are reported but never asserted.

A ratio compares two best times of the same interleaved rounds on one core, or, where it is near 1, is the median over
pairs of neighbouring runs (:func:`benchmarks.race.side_by_side`). What depends on a machine's caches is only reported:
the ratio to the lower bound of dense code (seen: 1.7 to 2.4), float64 to float32 (1.8 to 2.1), Python's part of the
whole command and compilation in seconds. Behind each bound is the range seen so far on AVX2 and AVX-512 machines,
quiet and busy; a bound leaves at least a third of the distance to 1 or, of large ratios, half of the smallest one seen.
"""

AT_LEAST = {
    "naive": 5000,  # seen: 30,000 to 45,000
    "comprehensions": 1300,  # 5,400 to 8,000
    "numpy-ger": 6,  # 12 to 14
    "sklearn": 75,  # 149 to 230
    "torch": 4,  # 8 to 11; the best of its three forms
    "jax": 2.5,  # 5 to 6
    "numba": 4,  # 7.5 to 9
    "c": 2,  # 3.0 to 4.3: least with AVX-512, whose registers hold all sums of the C code
}
"""Training 784-200-40-10 by the original rule in float32: the peer's time per digit over fastnn's."""

LARGE_RUN_AT_MOST = 1.5
"""Time per digit in one call for a million digits over that in calls for 12,547; seen: 0.98 to 1.12."""

DENSE_INPUTS_AT_LEAST = 1.7
"""Time per digit with 100 % of the pixels not white over that with 5 %; seen: 3.4 to 4.2."""

CHUNKS_AT_MOST = 1.3
"""An epoch of `Trainer` over one call of the engine for the same digits; seen: 0.97 to 1.08."""

LOADING_AT_LEAST = 1.3
"""`json` and NumPy over `load_dataset`, reading the original's file for the first time; seen: 1.8 to 2.2."""

DISTORTING_AT_LEAST = 3.0
"""SciPy's `affine_transform` over the affine and elastic distortion, time per image; seen: 9 to 11."""

NORMALISING_AT_LEAST = 2.0
"""Pillow over `normalise_batch`, time per image; seen: 7 to 9."""

PREDICTING_AT_LEAST = 1.2
"""NumPy over `Model.predict`, 10,000 digits in one call on one core; seen: 1.7 to 2.1."""

FIRST_USE_AT_MOST = 4.0
"""Import and compile fastnn's kernels over import and compile Numba's plain loops (peers/numba_dense.py)."""

COMMAND_SHARE_AT_LEAST = 0.5
"""Training and tests over the whole command, 60 epochs on as many digits as the original has, compiled before; seen:
0.82 to 0.89. Start-up is the larger share the faster the processor's vectors are."""
