"""Search over recipes: a space in TOML, trials on the workers of a Dask cluster, a study kept by Optuna.

Only :mod:`fastnn.sweep.study` imports optuna, and only the folder :mod:`fastnn.cluster` imports dask.
"""
