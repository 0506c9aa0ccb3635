"""What training on from a model gains and forgets: ``python -m benchmarks.adapting --digits FILE --mnist FOLDER``.

A network of MNIST is trained on a few digits of web visitors, as by ``fastnn train --from``. An ensemble of visitors'
digits is trained on a few digits of MNIST. Each is tested on both kinds of digits, before and after, and so is a
network that is trained on the few digits alone. No test digit was trained on.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.page import add_page_option, show
from fastnn import Session, evaluate, load_dataset, load_model, split
from fastnn.datasets import per_class
from fastnn.recipe import presets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.datasets import Dataset
    from fastnn.model import Model


class Accuracies(NamedTuple):
    """Accuracy on each kind of digits."""

    digits: float
    mnist: float


class Tests(NamedTuple):
    """Test sets that no model was trained on."""

    digits: Dataset
    mnist: Dataset

    def measure(self, model: Model) -> Accuracies:
        """Return the accuracies of a model."""
        return Accuracies(evaluate(model, self.digits).score, evaluate(model, self.mnist).score)


def finished(session: Session) -> Model:
    """Train a session to its end; return the model."""
    for _ in session:
        pass
    return session.model


def trained(model: Path | None, preset: str, data: Dataset) -> Model:
    """Return the model in a run folder, or train one."""
    return load_model(model) if model is not None else finished(Session(data, preset))


def as_markdown(rows: Sequence[tuple[str, Accuracies]]) -> str:
    """Return the table."""
    lines = ["| network | visitors' digits | MNIST |", "|---|---|---|"]
    lines += [f"| {name} | {found.digits:.1%} | {found.mnist:.1%} |" for name, found in rows]
    return "\n".join(lines)


def mean(found: Sequence[Accuracies]) -> Accuracies:
    """Return the mean over seeds."""
    return Accuracies(*(statistics.fmean(each) for each in zip(*found, strict=True)))


class Kind(NamedTuple):
    """Digits of a kind that a model does not know, and the test sets of that model."""

    name: str
    data: Dataset
    tests: Tests


def measure(preset: str, model: Model, kind: Kind, options: argparse.Namespace) -> list[tuple[str, Accuracies]]:
    """Return the rows of a model: as it is, after going on with more and more digits of a kind, and those alone."""
    rows = [(f"`{preset}`", kind.tests.measure(model))]
    test = kind.tests.mnist if kind.data.test is not None else kind.tests.digits

    def few(n: int, seed: int) -> Dataset:
        # All of them are trained on.
        return replace(per_class(kind.data, n // 10, seed), test=test)

    for n in (options.few, 10 * options.few):
        found = []
        for seed in range(options.seeds):
            recipe = Session.from_model(model, few(n, seed)).recipe.replace(seed=seed)
            found.append(kind.tests.measure(finished(Session.from_model(model, few(n, seed), recipe))))
        rows.append((f"`{preset}`, then {n:,} {kind.name}", mean(found)))
    alone = []
    for seed in range(options.seeds):
        model = finished(Session(few(options.few, seed), presets[preset].replace(seed=seed)))
        alone.append(kind.tests.measure(model))
    return [*rows, (f"recipe `{preset}` on {options.few:,} {kind.name} alone", mean(alone))]


def main() -> None:
    """Train, measure and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", default="digits", help="data set of the visitors' digits")
    parser.add_argument("--mnist", default="mnist", help="data set MNIST")
    parser.add_argument("--mnist-model", type=Path, help="a run of recipe mnist on MNIST; by default one is trained")
    parser.add_argument("--modern-model", type=Path, help="a run of recipe modern on the digits, seed 0; the same")
    parser.add_argument("--few", type=int, default=200, help="how many digits to go on with")
    parser.add_argument("--seeds", type=int, default=3)
    add_page_option(parser)
    options = parser.parse_args()
    digits, mnist = load_dataset(options.digits), load_dataset(options.mnist)
    if mnist.test is None:
        parser.error("MNIST must have its test set")
    # The model of recipe modern has seen nine tenths of the digits, the other one none.
    rest, half = split(digits, 0.5, 0)
    _, tenth = split(digits, presets["modern"].test_fraction, 0)
    visitors = Kind("visitors' digits", rest, Tests(half, mnist.test))
    others = Kind("digits of MNIST", mnist, Tests(tenth, mnist.test))
    rows = [
        *measure("mnist", trained(options.mnist_model, "mnist", mnist), visitors, options),
        *measure("modern", trained(options.modern_model, "modern", digits), others, options),
    ]
    show(as_markdown(rows), "adapting", options.page)


if __name__ == "__main__":
    main()
