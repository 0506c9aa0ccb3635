"""``fastnn train``: train networks into a run folder."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fastnn.cli._console import command, err, fail, note, out, print_json
from fastnn.cli._data_options import (  # noqa: TC001 - typer reads the annotations
    ClassesOption,
    PolarityOption,
    SchedulerOption,
    StrictOption,
    Target,
    TaskOption,
)
from fastnn.cli._progress import View, view_for
from fastnn.cli._signals import Interrupted, signals
from fastnn.errors import FastnnError, FetchError, RecipeError
from fastnn.storage import user_path

if TYPE_CHECKING:
    from fastnn.datasets import Dataset, ReadOptions
    from fastnn.recipe import Recipe
    from fastnn.session import Session


@command
def train(
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set: digits, mnist, drawn, a file, a folder, a database URL, or - for rows from standard input.",
            show_default="digits",
        ),
    ] = None,
    target: Target = None,
    task: TaskOption = None,
    polarity: PolarityOption = "auto",
    strict: StrictOption = False,
    classes: ClassesOption = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="Start from the trained networks of this run folder or model file."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Preset or TOML file.", show_default="table for a table, else original; with --from that of the model"
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the training data.")] = None,
    hidden: Annotated[str | None, typer.Option(help="Units of the hidden layers, such as 200,40.")] = None,
    lr: Annotated[float | None, typer.Option(help="Initial learning rate.")] = None,
    lr_decay: Annotated[
        float | None, typer.Option(help="Factor of the learning rate after every --lr-every epochs.")
    ] = None,
    lr_every: Annotated[int | None, typer.Option(help="Epochs between two changes of the learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed for weights, sample order and split.")] = None,
    shuffle: Annotated[
        str | None,
        typer.Option(help="Order of samples: exact, or blocks for data on a slow disk that are larger than memory."),
    ] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Fraction of the data held out as test set.")] = None,
    per_class: Annotated[int | None, typer.Option(help="Train on this many samples of each class.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight decay (L2 regularisation).")] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Fraction of the hidden units left out at random at each sample.")
    ] = None,
    standardise: Annotated[
        bool | None,
        typer.Option(
            "--standardise/--no-standardise",
            help="Centre and scale the columns of a table, and the targets of a regression.",
        ),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64.")] = None,
    first_layer: Annotated[
        str | None, typer.Option(help="How the first layer is computed: auto, sparse or dense.")
    ] = None,
    ensemble: Annotated[
        int | None,
        typer.Option(help="Train this many networks, with seeds SEED, SEED + 1, ..., and average their predictions."),
    ] = None,
    validation_fraction: Annotated[
        float | None, typer.Option(help="Hold out this fraction of the training data to select the best epoch.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after this many epochs without a better result, on the validation set if there is one."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="SCORE", help="Stop at this test accuracy, such as 99%, or this R2 of a regression."),
    ] = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate",
            help="Whether the model undoes the label smoothing in its probabilities.",
            show_default=False,
        ),
    ] = None,
    balance: Annotated[
        bool | None, typer.Option("--balance/--no-balance", help="Give rare classes more weight.")
    ] = None,
    out_folder: Annotated[
        str | None, typer.Option("--out", help="Run folder to create.", show_default="runs/RECIPE-DATE-TIME")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Continue the run in this folder.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show neither progress nor summary.")] = False,
    scheduler: SchedulerOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")] = False,
) -> None:
    """Train a neural network, one sample at a time.

    Ctrl-C keeps the last whole epoch; --resume continues from there and ends with the same weights.
    """
    from fastnn.datasets import ReadOptions

    options = ReadOptions.of(target, task, polarity, strict=strict, classes=classes)
    changes = {
        "epochs": epochs,
        "hidden": None if hidden is None else parse_hidden(hidden),
        "lr": lr,
        "lr_decay": lr_decay,
        "lr_every": lr_every,
        "seed": seed,
        "shuffle": shuffle,
        "test_fraction": test_fraction,
        "per_class": per_class,
        "alpha": alpha,
        "dropout": dropout,
        "standardise": standardise,
        "dtype": dtype,
        "first_layer": first_layer,
        "ensemble": ensemble,
        "validation_fraction": validation_fraction,
        "patience": patience,
        "until": None if until is None else parse_until(until),
        "calibrate": calibrate,
        "balance": balance,
    }
    if data == "-":
        if scheduler is not None:
            raise FastnnError("--data - trains one network on rows as they come, in this process; drop --scheduler")
        if resume is not None:
            raise FastnnError("--data - begins a new run; drop --resume, or go on with the network of a run by --from")
        _train_on_stream(options, recipe, changes, out_folder, quiet=quiet, as_json=as_json, start=start)
        return
    if resume is not None and out_folder is not None:
        raise FastnnError("--resume writes to the folder of its run; drop --out")
    if resume is not None and start is not None:
        raise FastnnError("--resume continues a run, --from starts a new one from its networks; drop one of them")
    if start is not None and scheduler is not None:
        raise FastnnError("--from trains the networks of a model in this process; drop --scheduler")
    if resume is not None:
        session = resumed_session(resume, data, options, recipe, changes)
        notes = session.notes
    else:
        new = _new_session if start is None else functools.partial(_session_from, start)
        session, first = new(data, options, recipe, changes, out_folder)
        notes = (*first, *session.notes)
    session.scheduler = scheduler
    for text in notes:
        note(text)
    try:
        run(session, View() if quiet else view_for(err() if as_json else out()))
    except Interrupted as interrupt:
        err().print(escape(stopped_message(session)))
        raise typer.Exit(128 + interrupt.signal) from None
    if as_json:
        print_json({**result_of(session), "notes": list(notes)})
    elif not quiet:
        show_summary(result_of(session))
    if session.failure is not None:
        fail(session.failure, 1)


def _train_on_stream(
    options: ReadOptions,
    recipe_source: str | None,
    changes: dict[str, Any],
    folder: str | None,
    *,
    quiet: bool,
    as_json: bool,
    start: str | None,
) -> None:
    """Train on the rows of standard input; `start` is the file or run folder of a model to start from."""
    from fastnn.cli._stream import Beginning, train_stream
    from fastnn.evaluation.saved_model import DataChoice
    from fastnn.formats import load_model
    from fastnn.recipe import load_recipe
    from fastnn.runs import check_new_run
    from fastnn.session import default_recipe
    from fastnn.starting_model import StartingModel

    base = None if recipe_source is None else load_recipe(recipe_source)
    if folder is not None:
        check_new_run(user_path(folder))

    model = None if start is None else load_model(start)
    known: tuple[str, ...] = ()
    if start is not None and model is not None:
        if len(model.networks) > 1:
            n = len(model.networks)
            raise FastnnError(f"{start}: has {n} networks, but a stream trains one; give another model")
        options = DataChoice.of(start, model, "-", options).options
        if model.task != "classification" and not options.target:
            options = replace(options, target=model.names)
        known = model.names if model.task == "classification" else ()

    def begin(first: Dataset) -> Beginning:
        starting = None if model is None else StartingModel.of(model, first, source=start or "")
        if starting is None:
            recipe = _changed(base or default_recipe(first), changes)
        else:
            recipe = starting.recipe(_changed(starting.recipe(base), changes))
        return Beginning(recipe, user_path(folder if folder is not None else free_folder(recipe.name)), starting)

    try:
        train_stream(options, begin, known, quiet=quiet, as_json=as_json)
    except Interrupted as interrupt:
        raise typer.Exit(128 + interrupt.signal) from None


def parse_hidden(text: str) -> tuple[int, ...]:
    """Turn "200,40" into (200, 40), and "" or "none" into ()."""
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise RecipeError(f"--hidden takes whole numbers separated by commas, such as 200,40, not {text!r}") from None


def parse_until(text: str) -> float:
    """Turn "99%", "99" or "0.99" into 0.99; "1" is all."""
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    # No score is above 1.
    value /= 100 if text.strip().endswith("%") or value > 1 else 1
    if not 0 < value <= 1:
        raise RecipeError(f"--until takes an accuracy such as 99% or 0.99, or the R2 of a regression, not {text!r}")
    return value


def _session_from(
    start: str,
    data: str | None,
    options: ReadOptions,
    recipe_source: str | None,
    changes: dict[str, Any],
    folder: str | None,
) -> tuple[Session, tuple[str, ...]]:
    """Return the session of a new run that starts from a trained model; see :func:`_new_session`.

    The data are by default those of the model; a table is read with the model's target and task.
    """
    from fastnn.cli._downloads import download_progress
    from fastnn.evaluation.saved_model import DataChoice
    from fastnn.formats import load_model
    from fastnn.recipe import load_recipe
    from fastnn.runs import check_new_run
    from fastnn.session import Session
    from fastnn.starting_model import StartingModel

    given = None if recipe_source is None else load_recipe(recipe_source)
    if folder is not None:
        check_new_run(user_path(folder))
    model = load_model(start)
    choice = DataChoice.of(start, model, data, options)
    with download_progress() as progress:
        dataset = choice.load(start, progress, is_own=data is None)
    starting = StartingModel.of(model, dataset, source=start)
    recipe = _changed(starting.recipe(given), changes)
    target = folder if folder is not None else free_folder(recipe.name)
    return Session.from_model(starting, dataset, recipe, target, source=choice.source), ()


def _new_session(
    data: str | None,
    options: ReadOptions,
    recipe_source: str | None,
    changes: dict[str, Any],
    folder: str | None,
) -> tuple[Session, tuple[str, ...]]:
    """Return the session of a new run, and notes for the user.

    Parameters
    ----------
    data : str or None
        Without a data set: the original digits, or drawn ones if those cannot be downloaded.
    options : ReadOptions
        How the data are read.
    recipe_source : str or None
    changes : dict
        Fields of the recipe; None leaves a field as it is.
    folder : str or None

    Raises
    ------
    FastnnError
        If recipe, data or folder do not fit.
    """
    from fastnn.recipe import load_recipe, presets
    from fastnn.runs import check_new_run
    from fastnn.session import Session, default_recipe

    base = None if recipe_source is None else load_recipe(recipe_source)
    if folder is not None:
        check_new_run(user_path(folder))
    _changed(base or presets["table"], changes)  # options are checked before the data are read
    source, dataset, more = _load(data, options)
    base = base or default_recipe(dataset)
    notes = []
    recipe = _changed(base, changes)
    if recipe.averaging_epochs != base.averaging_epochs:
        notes.append(f"the weights are averaged over all {recipe.epochs} epochs")
    if recipe.schedule not in ("step", "adaptive") and (changes["lr_decay"] or changes["lr_every"]):
        notes.append(f"--lr-decay and --lr-every have no effect: recipe {recipe.name} has a {recipe.schedule} schedule")
    target = folder if folder is not None else free_folder(recipe.name)
    return Session(dataset, recipe, target, source=source), (*notes, *more)


def _changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """Return a recipe with the values of the options that were given."""
    return (recipe if changes["epochs"] is None else recipe.with_epochs(changes["epochs"])).replace(**changes)


def resumed_session(
    folder: str,
    data: str | None,
    options: ReadOptions,
    recipe_source: str | None,
    changes: dict[str, Any],
) -> Session:
    """Return the session that continues a run; parameters as for :func:`_new_session`.

    Raises
    ------
    FastnnError
        If the run cannot be resumed, its data have changed, or an option would change more than the number of epochs.
    """
    from fastnn.datasets.options import DEFAULT_OPTIONS
    from fastnn.session import Session

    dataset: Dataset | str | None = data
    if options != DEFAULT_OPTIONS:
        if data is None:
            raise RecipeError(
                f"{folder}: --resume reads the run's data as before; drop --target, --task, --polarity, --strict and "
                "--classes"
            )
        dataset = _load(data, options)[1]
    session = Session.resume(folder, epochs=changes["epochs"], dataset=dataset)
    changed = [name for name, value in changes.items() if value not in (None, getattr(session.recipe, name))]
    if recipe_source not in (None, session.recipe.name):
        changed.append("recipe")
    if changed:
        option = changed[0].replace("_", "-")
        raise RecipeError(
            f"{folder}: --resume cannot change the recipe; drop --{option}, or start a new run from its networks with "
            f"--from {folder}"
        )
    return session


def run(session: Session, view: View) -> None:
    """Train a session and show its progress.

    Raises
    ------
    Interrupted
        On SIGINT, SIGTERM or SIGHUP; the last whole epoch is saved. While kernels are compiled, they end the process.
    TrainingError
        If training diverges or the folder cannot be written; the last whole epoch is saved if possible.
    """
    session.on_chunk = view.chunk
    with signals(session.stop) as signalled, view:
        session.open()
        with signalled.leave_at_once(stopped_message(session)):
            session.warm_up()
        view.start(session)
        for report in session:
            view.epoch(report)
        if not session.finished:
            raise Interrupted(signalled.number)


def stopped_message(session: Session) -> str:
    """Return what is saved of a stopped session, and the command that continues it."""
    kept = f"epoch {session.epochs} is saved" if session.epochs else "nothing was trained yet"
    return f"stopped: {kept}; continue with: fastnn train --resume {session.folder}"


def result_of(session: Session) -> dict[str, Any]:
    """Return the result of a finished session, as ``--json`` prints it."""
    from msgspec import to_builtins

    from fastnn.formats import MODEL_FILE

    model, timings, best = session.model, session.timings, session.best
    return {
        "run": str(session.folder),
        "model": str(Path(str(session.folder)) / MODEL_FILE),
        "recipe": session.recipe.name,
        "data": None if session.card.data is None else session.card.data.description,
        "n_train": len(session.train),
        "n_test": 0 if session.test is None else len(session.test),
        "task": model.task,
        "epochs": session.epochs,
        **model.card.metrics,
        "train_seconds": timings.training,
        "compile_seconds": timings.compiling,
        "samples_per_second": timings.samples / timings.training if timings.training else 0.0,
        "calibration": to_builtins(model.card.calibration),
        "first_layer": session.first_layer,
        "density": session.density,
        "until": session.recipe.until,
        "until_reached": None if session.recipe.until is None else session.reached,
        "learned_nothing": session.learned_nothing,
        "best_epoch": best[0] if best else None,
        "validation_r2" if model.task == "regression" else "validation_accuracy": best[1] if best else None,
        "seed": session.recipe.seed,
        "networks": len(model.networks),
        "weights_sha256": model.sha256(),
    }


def show_summary(result: dict[str, Any]) -> None:
    """Print the result of a run as a small table."""
    from rich.table import Table

    from fastnn.progress import score_text

    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "data": f"{result['data']} ({result['n_train']:,} to train on, {result['n_test']:,} to test on)",
        **_test_rows(result),
        "time": f"{result['train_seconds']:.2f} s of training, {result['samples_per_second']:,.0f} samples/s "
        f"({result['first_layer']} first layer); {result['compile_seconds']:.1f} s to compile",
        "model": result["model"],
    }
    if result["calibration"] is not None:
        rows["calibrated"] = f"label smoothing {result['calibration']['label_smoothing']:g} is undone"
    if result["best_epoch"] is not None:
        early = f", stopped after {result['epochs']}" if result["epochs"] > result["best_epoch"] else ""
        score = result["validation_r2"] if result["task"] == "regression" else result["validation_accuracy"]
        best = score_text(score, result["task"])
        rows["best epoch"] = f"{result['best_epoch']} (validation {best}){early}"
    if result["until"] is not None:
        rows["until"] = _until_text(result)
    for number, (name, value) in enumerate(rows.items()):
        table.add_row(name, f"[bold]{escape(value)}[/bold]" if number == 1 else escape(value))
    out().print(table)


def _until_text(result: dict[str, Any]) -> str:
    """Return whether training has ended at the score that was asked for, and what that means for the test set."""
    from fastnn.progress import score_text

    wanted = score_text(result["until"], result["task"])
    if not result["until_reached"]:
        return f"{wanted} was not reached in {result['epochs']:,} epochs"
    return (
        f"{wanted} reached in epoch {result['epochs']:,}; the test set decided when to stop, "
        "so its score is too optimistic"
    )


def _test_rows(result: dict[str, Any]) -> dict[str, str]:
    """Return the results on the test set, the most important one first; none without a test set."""
    if result["task"] == "regression":
        return {
            "test R2": f"{result['test_r2']:.4f}",
            "test errors": f"mean absolute {result['test_mae']:.4g}, root mean square {result['test_rmse']:.4g}",
        }
    if result["task"] == "multilabel":
        labels = f"all labels right; {result['label_accuracy']:.2%} of the labels"
        return {"test accuracy": f"{result['test_accuracy']:.2%} ({labels})"}
    return {"test accuracy": f"{result['test_accuracy']:.2%} (balanced {result['balanced_accuracy']:.2%})"}


def _load(data: str | None, options: ReadOptions) -> tuple[str, Dataset, tuple[str, ...]]:
    """Return the name of the data's source, the data, and notes."""
    from fastnn.cli._downloads import download_progress
    from fastnn.datasets import load_dataset, load_source

    with download_progress() as progress:
        try:
            source = data or "digits"
            return source, load_source(source, options, progress), ()
        except FetchError as error:
            if data is not None:
                raise
            warning = (
                f"could not download the original digits ({error}); training on built-in drawn digits instead. "
                "To use the real ones: fastnn data fetch digits"
            )
    return "drawn", load_dataset("drawn"), (warning,)


def free_folder(name: str) -> Path:
    """Return runs/NAME-DATE-TIME, with a number at the end if that exists already."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"{name}-{stamp}"
    number = 2
    while folder.exists():
        folder = Path("runs") / f"{name}-{stamp}-{number}"
        number += 1
    return folder
