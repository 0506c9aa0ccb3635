"""Accuracy and fit times of estimators with their default settings: ``python -m benchmarks.estimators``.

fastnn, scikit-learn's neural network and LightGBM, in five folds of each data set, on one core. Takes about an hour,
most of it for MNIST; results are kept after each data set, and ``--only`` repeats some. Writes the table "estimators"
into RESULTS.md.
"""

from __future__ import annotations

from benchmarks import environment

environment.pin()

import argparse  # noqa: E402 -- nothing that could load NumPy may come before pin()
import json  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.implementations import missing  # noqa: E402
from benchmarks.page import add_page_option, show  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RESULTS = Path(__file__).parent / "results" / "estimators.json"
MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"

FOLDS = 5
EPOCHS = 200
"""Most epochs of scikit-learn's neural networks by default."""

BUDGET = 60.0
"""Seconds for a fit of scikit-learn with a batch size of 1; it gets as many epochs as fit in."""

QUICK_ROWS = 200


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes
    ----------
    key, name : str
    load : callable
        Returns rows and targets.
    regression : bool
    standardise : bool
        Whether rows are standardised by each fold's training part, before the clock starts.
    """

    key: str
    name: str
    load: Callable[[], tuple[np.ndarray, np.ndarray]]
    regression: bool = False
    standardise: bool = True


def _of_sklearn(name: str) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    def load() -> tuple[np.ndarray, np.ndarray]:
        from sklearn import datasets

        rows, targets = getattr(datasets, name)(return_X_y=True)
        return rows, targets

    return load


def _house_prices() -> tuple[np.ndarray, np.ndarray]:
    from benchmarks.made_data import house_prices

    return house_prices()


def _forest_cover() -> tuple[np.ndarray, np.ndarray]:
    from benchmarks.made_data import forest_cover

    return forest_cover(50_000)


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    import fastnn

    data = fastnn.load_dataset(str(MNIST) if MNIST.is_dir() else "mnist")
    parts = [data] if data.test is None else [data, data.test]
    images = np.concatenate([255 - part.images for part in parts])
    return images.astype(np.float32) / 255, np.concatenate([part.labels for part in parts])


DATA = (
    Data("digits", "digits, 1,797 x 64", _of_sklearn("load_digits")),
    Data("wine", "wine, 178 x 13", _of_sklearn("load_wine")),
    Data("breast_cancer", "breast cancer, 569 x 30", _of_sklearn("load_breast_cancer")),
    Data("prices", "like California housing, 20,640 x 8, R2", _house_prices, regression=True),
    Data("cover", "like covertype, 50,000 x 54", _forest_cover),
    Data("mnist", "MNIST, 70,000 x 784", _mnist, standardise=False),
)


@dataclass(frozen=True)
class Estimator:
    """A kind of estimator.

    Attributes
    ----------
    key, name : str
    build : callable
        ``build(regression, seed, epochs)`` returns an estimator with the interface of scikit-learn. All settings are
        the default ones; None for the default number of epochs.
    needs : tuple of str
        Modules that must be installed.
    slow : bool
        Whether it only gets the epochs that fit into :data:`BUDGET`.
    """

    key: str
    name: str
    build: Callable[[bool, int, int | None], Any]
    needs: tuple[str, ...]
    slow: bool = False


def _iterations(epochs: int | None) -> dict[str, int]:
    return {} if epochs is None else {"max_iter": epochs}


def _fastnn(regression: bool, seed: int, epochs: int | None) -> Any:
    from fastnn import sklearn

    kind = sklearn.MLPRegressor if regression else sklearn.MLPClassifier
    return kind(random_state=seed, **_iterations(epochs))


def _adam(regression: bool, seed: int, epochs: int | None) -> Any:
    from sklearn import neural_network

    kind = neural_network.MLPRegressor if regression else neural_network.MLPClassifier
    return kind(random_state=seed, **_iterations(epochs))


def _sgd(regression: bool, seed: int, epochs: int | None) -> Any:
    return _adam(regression, seed, epochs).set_params(solver="sgd", batch_size=1)


def _lightgbm(regression: bool, seed: int, epochs: int | None) -> Any:  # noqa: ARG001 -- it has no epochs
    import lightgbm

    kind = lightgbm.LGBMRegressor if regression else lightgbm.LGBMClassifier
    return kind(random_state=seed, n_jobs=1, verbose=-1)


ESTIMATORS = (
    Estimator("fastnn", "fastnn", _fastnn, ("sklearn",)),
    Estimator("sklearn", "scikit-learn MLP, Adam", _adam, ("sklearn",)),
    Estimator("sklearn-sgd", "scikit-learn MLP, SGD, batch_size=1", _sgd, ("sklearn",), slow=True),
    Estimator("lightgbm", "LightGBM", _lightgbm, ("lightgbm",)),
)


def folds(data: Data, *, quick: bool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield training rows, their targets, test rows and their targets."""
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    rows, targets = data.load()
    if quick:
        rows, targets = rows[:QUICK_ROWS], targets[:QUICK_ROWS]
    kind = KFold if data.regression else StratifiedKFold
    divided = kind(2 if quick else FOLDS, shuffle=True, random_state=0).split(rows, targets)
    for train, test in divided:
        own, other = rows[train], rows[test]
        if data.standardise:
            scaler = StandardScaler().fit(own)
            own, other = scaler.transform(own), scaler.transform(other)
        yield own, targets[train], other, targets[test]


def epochs_within(estimator: Estimator, data: Data, rows: np.ndarray, targets: np.ndarray) -> int:
    """Return how many epochs fit into :data:`BUDGET`, but no more than :data:`EPOCHS`."""
    start = time.process_time()
    estimator.build(data.regression, 0, 1).fit(rows, targets)
    return int(np.clip(BUDGET / (time.process_time() - start), 1, EPOCHS))


def measure(data: Data, chosen: Sequence[Estimator], *, quick: bool) -> dict[str, dict[str, Any]]:
    """Fit every estimator on every fold, in turn; return score, seconds and epochs of each fit."""
    found: dict[str, dict[str, Any]] = {
        each.key: {"scores": [], "seconds": [], "epochs": [], "most": 3 if quick else None} for each in chosen
    }
    for number, (rows, targets, test_rows, test_targets) in enumerate(folds(data, quick=quick)):
        for each in chosen:
            entry = found[each.key]
            if entry.get("diverged"):
                continue
            if not number:
                # The first fit of all compiles or loads code, which is not counted.
                few = np.unique(targets, return_index=True)[1] if not data.regression else np.arange(20)
                each.build(data.regression, 0, 1).fit(np.repeat(rows[few], 10, axis=0), np.repeat(targets[few], 10))
            try:
                if each.slow and not number and not quick:
                    entry["most"] = epochs_within(each, data, rows, targets)
                estimator = each.build(data.regression, number, entry["most"])
                start = time.process_time()
                estimator.fit(rows, targets)
            except ValueError as error:
                if "non-finite" not in str(error):  # what scikit-learn says of weights that overflow
                    raise
                entry["diverged"] = True
                continue
            entry["seconds"].append(time.process_time() - start)
            entry["scores"].append(float(estimator.score(test_rows, test_targets)))
            entry["epochs"].append(estimator.n_iter_)
    return found


def interval(values: Sequence[float], *, paired: bool = False) -> float:
    """Return half the width of the 95 % interval of the mean over folds, by Student's t.

    Differences of two estimators are wider apart than their deviation over folds says, since folds share training
    rows: with `paired` the variance is corrected for that (Nadeau and Bengio 2003).
    """
    from scipy.stats import t

    n = len(values)
    share = 1 / n + (1 / (n - 1) if paired else 0)
    return float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) * np.sqrt(share))


def cell(entry: dict[str, Any], *, regression: bool) -> str:
    """Return mean score, its interval, the median seconds of a fit, and the epochs if there were too few."""
    if entry.get("diverged"):
        return "diverges"
    mean, half, seconds = np.mean(entry["scores"]), interval(entry["scores"]), np.median(entry["seconds"])
    score = f"{mean:.3f} ± {half:.3f}" if regression else f"{mean:.2%} ± {100 * half:.2f}"
    most = entry["most"]
    cut = most is not None and most < EPOCHS and max(entry["epochs"]) == most
    return f"{score}, {seconds:.2f} s" + (f" ({most} epochs)" if cut else "")


def difference(ours: dict[str, Any], other: dict[str, Any], *, regression: bool) -> str:
    """Return how much better fastnn is, with the interval of the differences over folds."""
    apart = np.subtract(ours["scores"], other["scores"])
    mean, half = apart.mean(), interval(apart, paired=True)
    return f"{mean:+.3f} ± {half:.3f}" if regression else f"{100 * mean:+.2f} ± {100 * half:.2f}"


def as_markdown(results: dict[str, Any]) -> str:
    """Return the table."""
    machine, found = results["machine"], results["data"]
    shown = [each for each in ESTIMATORS if any(each.key in entries for entries in found.values())]
    names = [f"**{each.name}**" if each.key == "fastnn" else each.name for each in shown]
    header = ["data", *names, "fastnn minus scikit-learn's Adam"]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---|" * (len(header) - 1)]
    for data in DATA:
        if data.key not in found:
            continue
        entries = found[data.key]
        best = max(entries, key=lambda key: -1e9 if entries[key].get("diverged") else np.mean(entries[key]["scores"]))
        cells = {key: cell(entry, regression=data.regression) for key, entry in entries.items()}
        cells[best] = f"**{cells[best]}**"
        last = ""
        if "fastnn" in entries and "sklearn" in entries:
            last = difference(entries["fastnn"], entries["sklearn"], regression=data.regression)
        lines.append("| " + " | ".join([data.name, *(cells.get(each.key, "") for each in shown), last]) + " |")
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    note = (
        f"Accuracy, or R2 where it says so: mean of {results['folds']} folds with its 95 % interval, then the median "
        "time of a fit. The most accurate is bold. A number of epochs means that more would have taken over "
        f"{BUDGET:.0f} s."
    )
    about = f"Measured {results['date']} on one core of {machine['cpu']}, Python {machine['python']}; {versions}."
    return "\n\n".join(["\n".join(lines), note, about, *(f"Skipped: {reason}." for reason in results["skipped"])])


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, fit all estimators and write the table."""
    keys, kinds = [data.key for data in DATA], [each.key for each in ESTIMATORS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__)
    parser.add_argument("--only", help=f"measure only these data sets, the others stay as they are: {','.join(keys)}")
    parser.add_argument("--estimators", help=f"measure only these, the others stay as they are: {','.join(kinds)}")
    parser.add_argument("--quick", action="store_true", help="does everything still run? few rows, only printed")
    add_page_option(parser)
    options = parser.parse_args(arguments)
    wanted = options.only.split(",") if options.only else keys
    wanted_kinds = options.estimators.split(",") if options.estimators else kinds
    if unknown := (set(wanted) - set(keys)) | (set(wanted_kinds) - set(kinds)):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(keys + kinds)}")
    warnings.filterwarnings("ignore")  # not all have converged after their default number of epochs
    chosen = [each for each in ESTIMATORS if each.key in wanted_kinds and not missing(each.name, each.needs)]
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() and not options.quick else {"data": {}}
    results["folds"] = 2 if options.quick else FOLDS
    results["skipped"] = [reason for each in ESTIMATORS if (reason := missing(each.name, each.needs))]
    for data in DATA:
        if data.key not in wanted:
            continue
        results["data"].setdefault(data.key, {}).update(measure(data, chosen, quick=options.quick))
        results["date"] = time.strftime("%Y-%m-%d", time.gmtime())
        results["machine"] = environment.machine(("lightgbm",))
        if not options.quick:
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{data.name}: measured", flush=True)
    if options.quick:
        print(as_markdown(results))
    else:
        show(as_markdown(results), "estimators", options.page)


if __name__ == "__main__":
    main()
