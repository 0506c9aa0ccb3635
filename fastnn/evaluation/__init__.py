"""Evaluation: metrics of a model, confidence intervals, and comparisons of runs."""
