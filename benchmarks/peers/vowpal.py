"""Vowpal Wabbit through its Python package: examples are parsed before the clock starts, then learned one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.made_data import Text


class Rows:
    """A workspace with these options, and the text as its examples."""

    def __init__(self, text: Text, options: str) -> None:
        from vowpalwabbit import Workspace

        bits = text.n_columns.bit_length() - 1
        self.workspace = Workspace(f"-b {bits} --loss_function logistic --random_seed 1 --quiet {options}")
        self.signs = 2 * text.labels - 1
        self.examples = []
        for i, sign in enumerate(self.signs.tolist()):
            row = slice(text.row_starts[i], text.row_starts[i + 1])
            pairs = zip(text.indices[row].tolist(), text.values[row].tolist(), strict=True)
            words = " ".join(f"{column}:{value:.6g}" for column, value in pairs)
            self.examples.append(self.workspace.parse(f"{sign} | {words}"))

    def run(self, n: int) -> None:
        learn = self.workspace.learn
        for example in self.examples[:n]:
            learn(example)

    def progressive(self, n: int) -> tuple[float, float]:
        """Learn the first `n` examples; return mean log loss and share of right classes, each before it is learned."""
        scores = []
        for example in self.examples[:n]:
            self.workspace.learn(example)
            scores.append(example.get_simplelabel_prediction())
        margins = self.signs[:n] * np.array(scores)
        return float(np.logaddexp(0, -margins).mean()), float((margins > 0).mean())
