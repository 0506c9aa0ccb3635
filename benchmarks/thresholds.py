"""The ratios that must hold on any machine, in one place; seconds are reported but never asserted.

A ratio compares two best times of the same interleaved rounds on one core, or, where it is near 1, is the median over
pairs of neighbouring runs (:func:`benchmarks.race.side_by_side`). "Seen" is the range of the runs recorded in November
2026, ten with AVX2 and four with AVX-512, on quiet and busy machines. Ratios of 3 and more are asserted with a third
off the smallest one seen; those nearer to 1 so that only a fault of another kind breaks them.

What depends on the caches or the vector width of a machine is only reported: the ratio to the lower bound of dense code
(seen: 1.7 to 2.7), float64 to float32 (1.9 to 2.1), prediction on two cores, and compilation in seconds.
"""

AT_LEAST = {
    "naive": 5000,  # seen: 23,000 to 34,000
    "comprehensions": 1300,  # 4,600 to 6,400
    "numpy-ger": 6,  # 11 to 19
    "sklearn": 85,  # 135 to 181
    "torch": 5,  # 8.9 to 12.8; the best of its three forms
    "jax": 3,  # 4.5 to 5.9
    "numba": 5,  # 7.5 to 12.5
    "c": 2,  # 3.1 to 4.4: least with AVX-512, whose registers hold all sums of the C code
}
"""Training 784-200-40-10 by the original rule in float32: the peer's time per digit over fastnn's."""

LARGE_RUN_AT_MOST = 1.5
"""Time per digit in one call for a million digits over that in calls for 12,547; seen: 0.94 to 1.02. A cost that is not
linear in the digits would make it many times larger."""

DENSE_INPUTS_AT_LEAST = 2.0
"""Time per digit with 100 % of the pixels not white over that with 5 %; seen: 3.4 to 5.1."""

CHUNKS_AT_MOST = 1.25
"""An epoch of `Trainer` over one call of the engine for the same digits; seen: 0.94 to 1.04."""

LOADING_AT_LEAST = 1.2
"""`json` and NumPy over `load_dataset`, reading the original's file for the first time; seen: 1.6 to 3.2. It depends on
the disk too, to which `load_dataset` writes its cache."""

DISTORTING_AT_LEAST = 3.0
"""SciPy's `affine_transform` over the affine and elastic distortion, time per image; seen: 7.1 to 10.3."""

NORMALISING_AT_LEAST = 2.0
"""Pillow over `normalise_batch`, time per image; seen: 4.8 to 12.3."""

PREDICTING_AT_LEAST = 1.2
"""NumPy over `Model.predict`, 10,000 digits in one call on one core; seen: 1.6 to 2.2."""

FIRST_USE_AT_MOST = 4.0
"""Import and compile fastnn's kernels over import and compile Numba's plain loops (peers/numba_dense.py); seen: 1.2 to
1.4."""

COMMAND_SHARE_AT_LEAST = 0.5
"""Training and tests over the whole command, 60 epochs on as many digits as the original has, compiled before; seen:
0.84 to 0.89. The faster a processor's vectors are, the larger the share of the start-up."""

STEP_AT_LEAST = {
    "numpy": 5,  # seen: 7.6 to 9.5
    "torch": 8,  # 14 to 17
}
"""Training 10-50-2 one row a call: the peer's time over that of `Trainer.step`. Plain Numba loops, which check nothing,
are only reported (0.7 to 0.8)."""

ESTIMATOR_STEP_AT_LEAST = 100
"""scikit-learn's `partial_fit` of one row over ours; seen: 290 to 450."""

ESTIMATOR_PREDICTING_AT_LEAST = 8
"""scikit-learn's `predict_proba` of one row over ours; seen: 16."""
