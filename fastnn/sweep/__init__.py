"""Search over recipes: a space in TOML, trials on the workers of a Dask cluster, a study kept by Optuna.

Only :mod:`fastnn.sweep.study` and the two files that it is made of, `samplers` and `storages`, import optuna; only the
folder :mod:`fastnn.cluster` imports dask.
"""
