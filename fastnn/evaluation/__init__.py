"""Measures of a model: metrics, confidence intervals and comparisons of runs."""
