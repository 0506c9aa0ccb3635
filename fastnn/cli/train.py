"""``fastnn train``: train a network into a run folder."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fastnn import __version__
from fastnn.cli._console import command, err, note, out, print_json
from fastnn.cli._progress import View, live
from fastnn.errors import DataError, FastnnError, FetchError, ModelError, RecipeError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from fastnn.datasets import Dataset
    from fastnn.datasets.split import Split
    from fastnn.model import DataCard, Model
    from fastnn.network import Network
    from fastnn.recipe import Recipe
    from fastnn.runs import Run, State
    from fastnn.training import ChunkReport, Trainer


@command
def train(
    data: Annotated[
        str | None, typer.Option(help="A data set by name (digits, mnist, drawn) or path; by default digits.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A preset or a TOML file; by default original.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    hidden: Annotated[str | None, typer.Option(help="Units of the hidden layers, as in 200,40.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate at the start.")] = None,
    lr_decay: Annotated[float | None, typer.Option(help="Factor of the learning rate every --lr-every epochs.")] = None,
    lr_every: Annotated[int | None, typer.Option(help="Epochs between two steps of the learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and split.")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share of the data held back as test set.")] = None,
    per_class: Annotated[int | None, typer.Option(help="Draw this many training digits of each class.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64.")] = None,
    first_layer: Annotated[
        str | None, typer.Option(help="How the first layer is computed: auto, sparse or dense.")
    ] = None,
    ensemble: Annotated[
        int | None,
        typer.Option(help="Train so many networks side by side that predict as one, with seeds SEED, SEED + 1, ..."),
    ] = None,
    validation_fraction: Annotated[
        float | None, typer.Option(help="Keep the best epoch by this share of the training data, not trained on.")
    ] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without a better one.")] = None,
    balance: Annotated[
        bool | None, typer.Option("--balance/--no-balance", help="Give rare classes more weight.")
    ] = None,
    out_folder: Annotated[
        str | None, typer.Option("--out", help="The run's folder; by default runs/RECIPE-DATE-TIME.")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with the run in this folder.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")] = False,
) -> None:
    """Train a network on digits, one at a time.

    Ctrl-C keeps what was learnt up to the last whole epoch; --resume goes on from there, to the same result.
    """
    changes = {
        "epochs": epochs,
        "hidden": None if hidden is None else parse_hidden(hidden),
        "lr": lr,
        "lr_decay": lr_decay,
        "lr_every": lr_every,
        "seed": seed,
        "test_fraction": test_fraction,
        "per_class": per_class,
        "dtype": dtype,
        "first_layer": first_layer,
        "ensemble": ensemble,
        "validation_fraction": validation_fraction,
        "patience": patience,
        "balance": balance,
    }
    if resume is not None and out_folder is not None:
        raise FastnnError("--resume writes to the folder of the run it goes on with; leave --out away")
    plan = (
        plan_resumed(resume, data, recipe, changes)
        if resume is not None
        else plan_new(data, recipe, changes, out_folder)
    )
    for text in plan.notes:
        note(text)
    view = View() if quiet else live(err() if as_json else out(), plan.recipe.epochs)
    try:
        result = run_plan(plan, view)
    except Stopped as stop:
        kept = f"epoch {stop.epochs} is kept" if stop.epochs else "nothing was learnt yet"
        err().print(escape(f"stopped: {kept}; go on with: fastnn train --resume {stop.folder}"))
        raise typer.Exit(128 + stop.signal) from None
    if as_json:
        print_json(result)
    elif not quiet:
        show_summary(result)


class Stopped(BaseException):
    """SIGINT or SIGTERM came; the run is on disk up to the last whole epoch.

    Like KeyboardInterrupt no Exception, so that nobody takes it for an error: it may be raised while Numba compiles.
    """

    def __init__(self, number: int, folder: Path = Path(), epochs: int = 0) -> None:
        super().__init__(number)
        self.signal, self.folder, self.epochs = number, folder, epochs


@dataclass
class Plan:
    """A run before it begins.

    Attributes
    ----------
    recipe : Recipe
    train, test : Dataset
    network : Network
        As it is after `done` epochs.
    done : int
        Epochs done before.
    data : DataCard
        The data and their split.
    folder : Path
        Of the run.
    run : Run or None
        The run to go on with.
    notes : tuple of str
        What the user should know first.
    """

    recipe: Recipe
    train: Dataset
    test: Dataset
    network: Network
    done: int
    data: DataCard
    folder: Path
    run: Run | None
    notes: tuple[str, ...]


def parse_hidden(text: str) -> tuple[int, ...]:
    """Turn "200,40" into (200, 40), and "" or "none" into ()."""
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise RecipeError(f"--hidden takes whole numbers with commas between, as in 200,40, not {text!r}") from None


def plan_new(data: str | None, recipe_source: str | None, changes: dict[str, Any], folder: str | None) -> Plan:
    """Read recipe and data of a new run.

    Raises
    ------
    FastnnError
        If recipe, data or folder are not as they should be.
    """
    from fastnn.datasets.split import Split
    from fastnn.model import DataCard
    from fastnn.recipe import load_recipe

    base = load_recipe("original" if recipe_source is None else recipe_source)
    notes = []
    if base.averaging == "tail" and (changes["epochs"] or base.epochs) < base.averaging_epochs:
        # Asked for less, the recipe would have nothing to say of how many of these count.
        changes = {**changes, "averaging_epochs": changes["epochs"]}
        notes.append(f"the weights are averaged over all {changes['epochs']} epochs")
    recipe = base.replace(**changes)
    if recipe.schedule != "step" and (changes["lr_decay"] or changes["lr_every"]):
        notes.append(f"--lr-decay and --lr-every change nothing: the rate of {recipe.name} is {recipe.schedule}")
    target = Path(folder) if folder is not None else _free_folder(recipe.name)
    if target.exists():
        raise FastnnError(f"{target}: exists already; name another folder with --out, or go on with --resume")
    name, dataset, found = _load(data)
    split = Split.of(dataset, recipe.test_fraction, recipe.seed)
    train_part, test_part = _divide(dataset, recipe, split)
    network = recipe.network(train_part.images.shape[1], len(dataset.classes))
    about = DataCard(
        source=name,
        description=dataset.source,
        hash=dataset.content_hash,
        n_train=len(train_part),
        n_test=len(test_part),
        split=split,
    )
    return Plan(recipe, train_part, test_part, network, 0, about, target, None, (*notes, *found, *dataset.notes))


def plan_resumed(folder: str, data: str | None, recipe_source: str | None, changes: dict[str, Any]) -> Plan:
    """Read the run to go on with and its data.

    Raises
    ------
    FastnnError
        If the run or its data are not as they were, or more than the number of epochs is to be changed.
    """
    from fastnn.datasets.split import Split
    from fastnn.formats import CHECKPOINT_FILE
    from fastnn.runs import Run

    run, model, recipe = Run.resume(folder)
    for name, value in changes.items():
        if value is not None and name != "epochs" and value != getattr(recipe, name):
            raise RecipeError(
                f"{folder}: a run goes on with the recipe it began with; --{name.replace('_', '-')} differs"
            )
    if recipe_source not in (None, recipe.name):
        raise RecipeError(f"{folder}: a run goes on with the recipe it began with; leave --recipe away")
    wanted = recipe.epochs if changes["epochs"] is None else changes["epochs"]
    if wanted != recipe.epochs and recipe.needs_total:
        raise RecipeError(
            f"{folder}: its rates and averages were laid out for {recipe.epochs} epochs; leave --epochs away"
        )
    recipe = recipe.replace(epochs=wanted)
    done, about = model.card.epochs, model.card.data
    if done is None or about is None:
        raise ModelError(f"{folder}: its model does not say how it was trained and cannot be resumed")
    if done > wanted or (done == wanted and not (Path(folder) / CHECKPOINT_FILE).exists()):
        raise RecipeError(f"{folder}: is trained for {done} epochs already; ask for more with --epochs")
    try:
        _, dataset, notes = _load(data or about.source)
    except DataError as error:
        if data is not None:
            raise
        raise DataError(f"{folder}: its data cannot be read; name them with --data ({error})") from None
    if dataset.content_hash != about.hash:
        raise DataError(f"{dataset.source}: is not the data that {folder} was begun with ({about.description})")
    train_part, test_part = _divide(
        dataset, recipe, about.split or Split(fraction=recipe.test_fraction, seed=recipe.seed)
    )
    return Plan(recipe, train_part, test_part, model.network.copy(), done, about, Path(folder), run, notes)


def run_plan(plan: Plan, view: View) -> dict[str, Any]:
    """Train as planned; return what ``--json`` prints.

    Raises
    ------
    Stopped
        On SIGINT or SIGTERM.
    TrainingError
        If training diverges or the folder cannot be written; the last whole epoch is kept where possible.
    """
    from fastnn.evaluation.metrics import evaluate
    from fastnn.runs import Run

    trainer = prepare(plan)
    with signals() as stop:
        run = plan.run or Run.create(plan.folder, plan.recipe, model_of(plan, (plan.network.copy(),), plan.done))
        if plan.recipe.ensemble > 1:
            from fastnn.cli._ensemble import train_ensemble

            with view:
                kept, spent = train_ensemble(plan, trainer, run, view, stop)
        else:
            with view:
                kept, spent = _train_epochs(plan, trainer, run, view, stop)
        model = model_of(plan, kept.networks, kept.epochs)
        evaluation = evaluate(model, plan.test)
        metrics = {
            "test_accuracy": evaluation.accuracy,
            "balanced_accuracy": evaluation.balanced_accuracy,
            "test_loss": evaluation.loss,
        }
        model = model.with_card(metrics=metrics)
        path = run.finish(model, plan.recipe, kept.state)
    return {
        "run": str(plan.folder),
        "model": str(path),
        "recipe": plan.recipe.name,
        "data": plan.data.description,
        "n_train": len(plan.train),
        "n_test": len(plan.test),
        "epochs": kept.epochs,
        **metrics,
        "train_seconds": spent.training,
        "compile_seconds": spent.compiling,
        "samples_per_second": spent.samples / spent.training if spent.training else 0.0,
        "first_layer": trainer.first_layer,
        "density": trainer.density,
        "best_epoch": kept.best[0] if kept.best else None,
        "validation_accuracy": kept.best[1] if kept.best else None,
        "notes": [*plan.notes, *trainer.notes],
        "seed": plan.recipe.seed,
        "networks": len(model.networks),
        "weights_sha256": model.sha256(),
    }


def prepare(plan: Plan) -> Trainer:
    """Make the data ready, and take up the state of a resumed run.

    Raises
    ------
    ModelError
        If the run has no such state as its recipe needs.
    """
    from fastnn.training import Trainer

    trainer = Trainer(plan.network, plan.train, plan.recipe, plan.test)
    if plan.run is not None and plan.done and trainer.needs_state and plan.recipe.ensemble == 1:
        try:
            trainer.load_state_dict(*(plan.run.state or ({}, {})))
        except ModelError as error:
            raise ModelError(f"{plan.folder}: {error}") from None
    return trainer


@dataclass
class Kept:
    """What a run has to show after so many whole epochs."""

    networks: tuple[Network, ...]
    epochs: int
    state: State | None = None
    best: tuple[int, float] | None = None

    @classmethod
    def of(cls, trainer: Trainer, epochs: int) -> Kept:
        """Copy what a trainer has."""
        return cls(
            (trainer.result().copy(),), epochs, trainer.state_dict() if trainer.needs_state else None, trainer.best
        )


@dataclass
class Spent:
    """Seconds of compiling and of training, and the samples that were trained on."""

    compiling: float = 0.0
    training: float = 0.0
    samples: int = 0


def _train_epochs(plan: Plan, trainer: Trainer, run: Run, view: View, stop: Stop) -> tuple[Kept, Spent]:
    """Train the epochs that are left, and keep the last whole one if that ends early."""
    kept, spent = Kept.of(trainer, plan.done), Spent()

    def watch(chunk: ChunkReport) -> None:
        view.chunk(chunk)
        stop.check()

    def checkpoint() -> None:
        run.checkpoint(model_of(plan, kept.networks, kept.epochs), kept.state)

    try:
        with stop.at_once():
            spent.compiling = trainer.warm_up()
        view.start(plan, trainer, spent.compiling)
        for epoch in range(plan.done + 1, plan.recipe.epochs + 1):
            if trainer.stopped:
                break
            report = trainer.epoch(epoch, watch)
            run.record(report)
            kept = Kept.of(trainer, epoch)
            spent.training += report.seconds
            spent.samples += trainer.samples
            view.epoch(report)
            if run.is_due() and epoch < plan.recipe.epochs:
                checkpoint()
    except Stopped as stopped:
        checkpoint()
        raise Stopped(stopped.signal, plan.folder, kept.epochs) from None
    except TrainingError as error:
        checkpoint()
        raise TrainingError(f"{error}; {plan.folder} keeps epoch {kept.epochs}") from None
    return kept, spent


def show_summary(result: dict[str, Any]) -> None:
    """Print the result of a run as a small table."""
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "data": f"{result['data']} ({result['n_train']:,} to train on, {result['n_test']:,} to test on)",
        "test accuracy": f"[bold]{result['test_accuracy']:.2%}[/bold] (balanced {result['balanced_accuracy']:.2%})",
        "time": f"{result['train_seconds']:.2f} s of training, {result['samples_per_second']:,.0f} samples/s "
        f"({result['first_layer']} first layer); {result['compile_seconds']:.1f} s to compile",
        "model": result["model"],
    }
    if result["best_epoch"] is not None:
        early = f", stopped after {result['epochs']}" if result["epochs"] > result["best_epoch"] else ""
        rows["best epoch"] = f"{result['best_epoch']} (validation {result['validation_accuracy']:.2%}){early}"
    for name, value in rows.items():
        table.add_row(name, value if name == "test accuracy" else escape(value))
    out().print(table)


class Stop:
    """The signal that came, if one did."""

    def __init__(self) -> None:
        self.number = 0
        self._at_once = False

    def check(self) -> None:
        """Raise :class:`Stopped` if a signal came."""
        if self.number:
            raise Stopped(self.number)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, a signal raises :class:`Stopped` the moment it comes: compiling takes seconds and may be torn off.

        Torn off within a callback of LLVM it is swallowed there, and Numba stumbles over what is missing; therefore
        it is raised at the end whatever came of it.
        """
        self._at_once = True
        try:
            self.check()
            yield
        except Exception:
            self.check()
            raise
        finally:
            self._at_once = False
        self.check()

    def catch(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        if self.number and number == signal.SIGINT:
            for stream in (1, 2):
                if os.isatty(stream):
                    os.write(stream, b"\x1b[?25h\n")  # the bars have hidden the cursor
            os._exit(130)
        self.number = number
        if self._at_once:
            raise Stopped(number)


@contextlib.contextmanager
def signals() -> Iterator[Stop]:
    """Note SIGINT and SIGTERM instead of acting on them; the second SIGINT ends the process at once."""
    stop = Stop()
    before = {number: signal.signal(number, stop.catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def model_of(plan: Plan, networks: tuple[Network, ...], epochs: int) -> Model:
    """Return networks of a run as a model that says where it comes from."""
    from fastnn.model import ModelCard
    from fastnn.training import as_model

    recipe = plan.recipe
    card = ModelCard(recipe=recipe, epochs=epochs, data=plan.data, seed=recipe.seed, version=__version__)
    return as_model(networks, plan.train, recipe, card)


def _load(data: str | None) -> tuple[str, Dataset, tuple[str, ...]]:
    """Return what the source is called, its data, and what is to be said about it."""
    from fastnn.cli._downloads import download_progress
    from fastnn.datasets import load_dataset

    if data is not None:
        dataset = load_dataset(data)
        if "://" in data:
            from fastnn.datasets.database import without_password

            # The name goes into the model file, which may be given away.
            data = without_password(data)
        return data, dataset, ()
    try:
        with download_progress() as progress:
            return "digits", load_dataset("digits", progress=progress), ()
    except FetchError as error:
        warning = f"the digits of the original could not be had ({error}); training on drawn ones instead"
        return "drawn", load_dataset("drawn"), (warning,)


def _divide(dataset: Dataset, recipe: Recipe, how: Split) -> tuple[Dataset, Dataset]:
    from fastnn.datasets import per_class, split

    train_part, test_part = split(dataset, how)
    if recipe.per_class is not None:
        train_part = per_class(train_part, recipe.per_class, how.seed)
    return train_part, test_part


def _free_folder(name: str) -> Path:
    """Return runs/NAME-DATE-TIME, with a number behind it where two runs begin within a second."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"{name}-{stamp}"
    number = 2
    while folder.exists():
        folder = Path("runs") / f"{name}-{stamp}-{number}"
        number += 1
    return folder
