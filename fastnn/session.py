"""A training session: from data and recipe to a finished model, with run folder, checkpoints and resume.

The command line, the web app, cross-validation and :func:`fit` all use it. A session shows nothing: its caller iterates
over the reports, and may ask for a call after each chunk of samples and stop the session.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast

import msgspec
import numpy as np

from fastnn import __version__
from fastnn.datasets import Dataset, load_dataset, load_source, per_class
from fastnn.datasets import split as divide
from fastnn.datasets.split import Split, notes_on_small_classes
from fastnn.errors import DataError, FastnnError, ModelError, RecipeError, TrainingError
from fastnn.evaluation.chance import LEAST_SAMPLES, learned_nothing, other_rate
from fastnn.evaluation.metrics import AnyEvaluation, evaluate
from fastnn.formats import CHECKPOINT_FILE
from fastnn.model import Calibration, DataCard, Model, ModelCard, as_probabilities, evidence
from fastnn.recipe import Recipe, load_recipe, presets
from fastnn.runs import Run, SavedNetwork, begun_recipe, check_new_run, ensemble_state
from fastnn.starting_model import StartingModel
from fastnn.storage import user_path
from fastnn.threads import LATER, Later, StopFlag, map_threads, thread_count
from fastnn.training import Trainer, as_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fastnn.network import Network
    from fastnn.runs import State
    from fastnn.training import ChunkReport, EpochReport

_LEAST_EVIDENCE, _MOST_EVIDENCE = 200, 2000
"""Least and most test images by which images that are unlike them are told."""


@dataclass
class Timings:
    """Seconds and samples of a session, without earlier sessions of the same run.

    Attributes
    ----------
    compiling : float
        Seconds to compile or load the kernels.
    training : float
        Seconds of training. For one network without measuring the test set; for several, the wall time.
    samples : int
        Samples trained on.
    """

    compiling: float = 0.0
    training: float = 0.0
    samples: int = 0


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One network after its last whole epoch.

    Attributes
    ----------
    epochs : int
        Number of epochs that it is trained for.
    network : Network
        A copy of the selected network: best epoch, weight average or current weights.
    state : tuple of dict and dict
        The arguments of :meth:`fastnn.training.Trainer.load_state_dict`.
    best : tuple of int and float, or None
        The best epoch and its accuracy on the validation set.
    finished : bool
        Whether no epoch is left, or patience or the recipe's `until` has ended training.
    reached : bool
        Whether the recipe's `until` has ended it.
    """

    epochs: int
    network: Network
    state: State
    best: tuple[int, float] | None = None
    finished: bool = False
    reached: bool = False

    @classmethod
    def of(cls, trainer: Trainer, epochs: int, recipe: Recipe) -> Self:
        """Return the snapshot of a trainer after this many epochs."""
        finished = epochs >= recipe.epochs or trainer.stopped
        network, state = trainer.result().copy(), trainer.state_dict()
        return cls(epochs, network, state, trainer.best, finished, trainer.reached)

    @classmethod
    def of_saved(cls, saved: SavedNetwork, recipe: Recipe) -> Self:
        """Return the snapshot of a saved or an untrained network."""
        state = saved.state
        if state is None and saved.epochs and recipe.needs_state:
            state = {}, {}  # refused by the trainer
        elif state is None:
            values = {"epoch": saved.epochs, "best_epoch": 0, "best_score": [-1.0, 0.0]}
            state = {"network": saved.network.parameters.copy()}, values
        return cls(saved.epochs, saved.network, state)


@dataclass(frozen=True)
class _Options:
    """The optional parameters of a new session."""

    source: str | None
    split: Split | Literal[False] | None
    on_chunk: Callable[[ChunkReport], None] | None
    threads: int | None


class Session:
    """Trains all networks of a recipe on a data set, and writes a run folder if it is given one.

    Iterating trains and yields an :class:`fastnn.training.EpochReport` for each epoch of each network. Networks of an
    ensemble train in threads, as many at a time as there are cores; the number of threads does not change the weights.
    After the last report the model is measured and written. If iteration ends earlier (by :meth:`stop`, an error, or
    because the caller leaves the loop), a checkpoint keeps all whole epochs, and iterating again continues from there.

    Parameters
    ----------
    dataset : Dataset, str or Path
        The data, or what :func:`fastnn.load_dataset` takes.
    recipe : Recipe, str or Path, optional
        A recipe, the name of a preset, or a TOML file; by default original for images and table for tables.
    out : path-like, optional
        The run folder, which must not exist, or be empty. Without one, nothing is written.
    source : str, optional
        Name, path or URL from which the data can be loaded again; by default `dataset` or its `source`.
    split : Split or False, optional
        Which part of the data is the test set; by default as the recipe says. With False there is no test set: the
        networks are trained on all data.
    on_chunk : callable, optional
        Called with a :class:`fastnn.training.ChunkReport` about every 20 ms, for an ensemble from several threads at
        the same time. An exception that it raises ends the session.
    threads : int, optional
        How many networks train at a time; by default as many as there are cores. With 1, all work is done in the
        calling thread.

    Attributes
    ----------
    scheduler : str or None
        Address of a Dask scheduler, such as ``tcp://host:8786``, whose workers train the networks; each of them from
        its first epoch to its last one. May be set before the first epoch. The weights do not depend on it.
    recipe : Recipe
    folder : Path or None
    train : Dataset
        The training set.
    test : Dataset or None
        The test set.
    names : tuple of str
        Names of the classes, labels or targets.
    card : ModelCard
        The model's card, without epochs and metrics; may be replaced before the first epoch.
    timings : Timings
    evaluation : Evaluation, MultilabelEvaluation, RegressionEvaluation or None
        Evaluation of the finished model on the test set.
    learned_nothing : str or None
        Why the finished model is no better than one that gives every sample the same answer, see
        :func:`fastnn.evaluation.chance.learned_nothing`.

    Raises
    ------
    FastnnError
        If recipe, data or folder do not fit; nothing is written then.

    Examples
    --------
    >>> import fastnn
    >>> session = fastnn.Session("drawn:200", fastnn.Recipe(hidden=(16,), epochs=2, ensemble=2))
    >>> sorted((report.member, report.epoch) for report in session)
    [(0, 1), (0, 2), (1, 1), (1, 2)]
    >>> len(session.model.networks)
    2
    """

    def __init__(
        self,
        dataset: Dataset | str | Path,
        recipe: Recipe | str | Path | None = None,
        out: str | Path | None = None,
        *,
        source: str | None = None,
        split: Split | Literal[False] | None = None,
        on_chunk: Callable[[ChunkReport], None] | None = None,
        threads: int | None = None,
    ) -> None:
        self._begin(None, dataset, recipe, out, _Options(source, split, on_chunk, threads))

    @classmethod
    def from_model(
        cls,
        start: Model | str | Path | StartingModel,
        dataset: Dataset | str | Path,
        recipe: Recipe | str | Path | None = None,
        out: str | Path | None = None,
        *,
        source: str | None = None,
        on_chunk: Callable[[ChunkReport], None] | None = None,
        threads: int | None = None,
    ) -> Self:
        """Return a session that starts from the networks of a trained model instead of random weights.

        The networks get outputs for new classes. Inputs, normalisation, scaling and columns are those of the model.

        Parameters
        ----------
        start : Model, str, Path or StartingModel
            The model, its file or its run folder; or the model with outputs for all classes of `dataset`.
        dataset, out, source, on_chunk, threads
            As for :class:`Session`.
        recipe : Recipe, str or Path, optional
            By default that of the model with a short schedule; another one must have the same layers and inputs.

        Raises
        ------
        FastnnError
            If model, recipe, data or folder do not fit.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.fit("drawn:200", fastnn.Recipe(hidden=(16,), epochs=2), progress=False)
        >>> session = fastnn.Session.from_model(model, "drawn:100:1")
        >>> session.recipe.hidden, session.recipe.epochs, session.recipe.lr
        ((16,), 30, 0.003)
        """
        session = cls.__new__(cls)
        session._begin(start, dataset, recipe, out, _Options(source, None, on_chunk, threads))
        return session

    def _begin(
        self,
        start: Model | str | Path | StartingModel | None,
        dataset: Dataset | str | Path,
        recipe: Recipe | str | Path | None,
        out: str | Path | None,
        options: _Options,
    ) -> None:
        """Set up a new session; see the class and :meth:`from_model`."""
        source, split = options.source, options.split
        out = None if out is None else user_path(out)
        # Before the data are read, which may take long.
        recipe = recipe if isinstance(recipe, Recipe | None) else load_recipe(recipe)
        if out is not None:
            check_new_run(out)
        if not isinstance(dataset, Dataset):
            source = source or str(dataset)
            dataset = load_dataset(dataset)
        if start is not None and not isinstance(start, StartingModel):
            start = StartingModel.of(start, dataset)
        self._starting = start
        recipe = self._starting.recipe(recipe) if self._starting else recipe or default_recipe(dataset)
        how = Split.of(dataset, recipe.test_fraction, recipe.seed) if split is None else split or None
        if split is None and self._starting is not None:
            how = self._starting.split_of(dataset) or how
        self._set_up(recipe, dataset, how, out, options.on_chunk, options.threads)
        data = DataCard(
            source=_printable(source or dataset.source),
            description=dataset.source,
            hash=dataset.content_hash,
            n_train=len(self.train),
            n_test=0 if self.test is None else len(self.test),
            split=how,
            target=dataset.target,
            task=None if dataset.target is None else dataset.task,
            polarity=dataset.polarity,
            polarity_option=_polarity_option(dataset),
            classes=None if dataset.options is None else dataset.options.classes or None,
        )
        smoothed = recipe.calibrate and recipe.label_smoothing > 0 and dataset.task == "classification"
        self.card = ModelCard(
            recipe=recipe,
            epochs=0,
            data=data,
            seed=recipe.seed,
            version=__version__,
            calibration=Calibration(label_smoothing=recipe.label_smoothing) if smoothed else None,
        )
        self._run: Run | None = None
        if self._starting is None:
            self._start()
            return
        self.card = msgspec.structs.replace(self.card, start=self._starting.card)
        self._start([SavedNetwork(0, network) for network in self._starting.model.networks])

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        *,
        epochs: int | None = None,
        dataset: Dataset | str | Path | None = None,
        on_chunk: Callable[[ChunkReport], None] | None = None,
        threads: int | None = None,
    ) -> Self:
        """Return a session that continues a stopped, killed or finished run, to the same bits.

        Parameters
        ----------
        folder : path-like
            The run folder; it is written to.
        epochs : int, optional
            Train up to this epoch instead of the recipe's last one.
        dataset : Dataset, str or Path, optional
            The run's data, if they cannot be loaded from their old place.
        on_chunk, threads
            As for :class:`Session`.

        Raises
        ------
        FastnnError
            If there is nothing to resume or to train, the run is damaged, or the data are not the run's.
        """
        folder = user_path(folder)
        begun = begun_recipe(folder)
        if begun is not None:
            return cls._begin_anew(folder, _extended(begun, epochs, str(folder)), dataset, on_chunk, threads)
        session = cls.__new__(cls)
        run, model, recipe = Run.resume(folder)
        start = model.card.start
        session._starting = None if start is None else StartingModel.of_run(model, start)
        recipe = _extended(recipe, epochs, str(folder))
        trained = [0 if one is None else one.epochs for one in run.networks] or [0]
        whole = min(trained) == recipe.epochs and not (run.folder / CHECKPOINT_FILE).is_file()
        if max(trained) > recipe.epochs or whole:
            fix = "ask for more with epochs= (--epochs)"
            if recipe.needs_total:
                fix = f"train its networks further in a new run with Session.from_model (--from {folder})"
            raise RecipeError(f"{folder}: is trained for {max(trained)} epochs already; {fix}")
        about = cast(DataCard, model.card.data)  # Run.resume refuses a model without it
        data = _reload(dataset, about, folder)
        how = about.split or Split(fraction=recipe.test_fraction, seed=recipe.seed)
        session._set_up(recipe, data, None if about.n_test == 0 else how, folder, on_chunk, threads)
        n_test = 0 if session.test is None else len(session.test)
        if about.n_test not in (None, n_test):
            raise ModelError(
                f"{folder}: its model was tested on {about.n_test} samples, but its split holds back {n_test}; "
                "the file is damaged or was changed, start a new run"
            )
        session.card = msgspec.structs.replace(model.card, recipe=recipe)
        session._run = run
        try:
            session._start(run.networks)
        except ModelError as error:
            raise ModelError(f"{folder}: {error}") from None
        return session

    @classmethod
    def _begin_anew(
        cls,
        folder: str | Path,
        recipe: Recipe,
        dataset: Dataset | str | Path | None,
        on_chunk: Callable[[ChunkReport], None] | None,
        threads: int | None,
    ) -> Self:
        """Return the session of a run that was killed when its folder held nothing but the recipe."""
        if dataset is None:
            raise ModelError(
                f"{folder}: was stopped before it saved what it is trained on; give its data with dataset= (--data), "
                "and training begins anew from its recipe"
            )
        session = cls(dataset, recipe, on_chunk=on_chunk, threads=threads)
        session.folder, session._anew = Path(folder), True
        session._run_notes = (f"{folder}: nothing was saved; training begins anew from its recipe",)
        return session

    def _set_up(
        self,
        recipe: Recipe,
        dataset: Dataset,
        how: Split | None,
        out: str | Path | None,
        on_chunk: Callable[[ChunkReport], None] | None,
        threads: int | None,
    ) -> None:
        self.recipe, self.folder, self.on_chunk = recipe, None if out is None else Path(out), on_chunk
        self.timings = Timings()
        self.evaluation: AnyEvaluation | None = None
        self.learned_nothing: str | None = None
        self.train, self.test, self._data_notes = dataset, None, dataset.notes
        if how is not None:
            self.train, self.test = divide(dataset, how)
            self._data_notes += notes_on_small_classes(dataset, self.train, self.test)
        if recipe.per_class is not None:
            self.train = per_class(self.train, recipe.per_class, recipe.seed if how is None else how.seed)
        validation = dataset.validation
        if self._starting is not None:
            match, seen = self._starting.match, len(self.train.notes)
            self.train = match(self.train)
            self._data_notes += (*self.train.notes[seen:], *self._starting.notes(self.train))
            self.test, validation = (None if part is None else match(part) for part in (self.test, validation))
        self.names = self.train.names
        if validation is not None:
            self.train = replace(self.train, validation=validation)
            if not recipe.validation_fraction:
                unused = f"the {len(validation):,} samples of its validation set are not used"
                self._data_notes += (f"{unused}; with --validation-fraction they select the best epoch",)
        self._run_notes: tuple[str, ...] = ()
        self._anew = False
        self.scheduler: str | None = None
        self._threads = min(recipe.ensemble, thread_count(threads))
        self._stop, self._warm, self._done = StopFlag(), False, False
        self._iterating = threading.Lock()

    def _start(self, saved: Sequence[SavedNetwork | None] = ()) -> None:
        """Set up the networks, untrained or as saved."""
        recipe, n_inputs = self.recipe, self.train.n_inputs
        # After the largest seed comes 0.
        seeds = [(recipe.seed + number) % (1 << 63) for number in range(recipe.ensemble)]
        self._recipes = [recipe.replace(seed=seed) for seed in seeds]
        self._snapshots = [
            Snapshot.of_saved(one or SavedNetwork(0, own.network(n_inputs, len(self.names), self.train.task)), own)
            for own, one in zip(self._recipes, saved or [None] * recipe.ensemble, strict=True)
        ]
        self._trainers: list[Trainer | None] = [None] * recipe.ensemble
        self._first = self._trainer(0)
        for number, one in enumerate(self._snapshots):
            if one.epochs:
                self._snapshots[number] = Snapshot.of(self._trainer(number), one.epochs, recipe)
                _check_same_state(one, self._snapshots[number])

    def _trainer(self, number: int) -> Trainer:
        """Return the trainer of a network, made from the network's snapshot when first needed."""
        trainer = self._trainers[number]
        if trainer is None:
            snapshot = self._snapshots[number]
            trainer = Trainer(
                snapshot.network.copy(),
                self.train,
                self._recipes[number],
                self.test,
                like=self._trainers[0] or self._start_model,
            )
            trainer.load_state_dict(*snapshot.state)
            self._trainers[number] = trainer
        return trainer

    @property
    def _start_model(self) -> Model | None:
        """The model that training starts from, with outputs for all classes; None without one."""
        return None if self._starting is None else self._starting.model

    @property
    def first_layer(self) -> str:
        """How the first layer is computed: "sparse" or "dense"."""
        return self._first.first_layer

    @property
    def density(self) -> float:
        """Mean share of the inputs that are not at the baseline; of images the pixels that are not white."""
        return self._first.density

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the data and, if nothing of a resumed run was saved, about the run."""
        return (*self._run_notes, *self._data_notes, *self._first.notes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Layer sizes of each network."""
        return self._snapshots[0].network.sizes

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; the same as `names`."""
        return self.names

    @property
    def epochs(self) -> int:
        """Number of epochs that all networks are trained for, except those that ended earlier."""
        unfinished = [one.epochs for one in self._snapshots if not one.finished]
        return min(unfinished) if unfinished else max(one.epochs for one in self._snapshots)

    @property
    def member_epochs(self) -> tuple[int, ...]:
        """Number of epochs that each network is trained for."""
        return tuple(one.epochs for one in self._snapshots)

    @property
    def best(self) -> tuple[int, float] | None:
        """The best epoch and its validation accuracy; None for an ensemble or without a validation set."""
        return self._snapshots[0].best if len(self._snapshots) == 1 else None

    @property
    def reached(self) -> bool:
        """Whether every network has ended with the recipe's `until` on the test set."""
        return all(one.reached for one in self._snapshots)

    @property
    def finished(self) -> bool:
        """Whether all networks are trained, and the model is measured and written."""
        return self._done

    @property
    def model(self) -> Model:
        """The model with the networks after their last whole epochs."""
        metrics = {}
        if self.evaluation is not None:
            metrics = self.evaluation.metrics
        card = msgspec.structs.replace(self.card, epochs=self.epochs, metrics=metrics)
        networks = [one.network.copy() for one in self._snapshots]
        return as_model(networks, self.train, self.recipe, card, like=self._start_model)

    @property
    def failure(self) -> str | None:
        """Message that the finished model is no better than chance, with a learning rate to try; None if it is."""
        if self.learned_nothing is None:
            return None
        kept = "" if self.folder is None else f"; {self.folder} keeps the model"
        return f"the network learned nothing ({self.learned_nothing}); {other_rate(self.recipe.lr)}{kept}"

    def stop(self) -> None:
        """Ask the iteration to end within about 20 ms; may be called from any thread or a signal handler."""
        self._stop.set()

    def open(self) -> None:
        """Create the run folder if one was asked for; iterating does it too.

        Raises
        ------
        FastnnError
            If the folder exists or cannot be written, or the scheduler cannot be used.
        """
        if self.folder is not None and self._run is None:
            if self.scheduler is not None:
                from fastnn.cluster import Cluster

                # Or the folder would be in the way of the next start.
                Cluster(self.scheduler).close()
            self._run = Run.create(self.folder, self.recipe, self.model, anew=self._anew)

    def warm_up(self) -> None:
        """Compile or load the kernels before several threads need them; iterating does it too."""
        if not self._warm:
            self.timings.compiling = self._first.warm_up()
            self._warm = True

    def __iter__(self) -> Iterator[EpochReport]:
        """Train; see the class.

        Raises
        ------
        TrainingError
            If training diverges or the run folder cannot be written. The last checkpoint is kept.
        FastnnError
            If another iterator of the session is in use: both would change the same weights.
        """
        if not self._iterating.acquire(blocking=False):
            raise FastnnError("this session is already being iterated over")
        try:
            if not self._done:
                yield from self._iterate()
        finally:
            self._iterating.release()

    def _iterate(self) -> Iterator[EpochReport]:
        self.open()
        self.warm_up()
        try:
            yield from self._epochs()
            if all(one.finished for one in self._snapshots):
                self._finish()
            else:
                self._checkpoint()
        except TrainingError as error:
            self._checkpoint()
            kept = "" if self.folder is None else f"; {self.folder} keeps epoch {self.epochs}"
            raise TrainingError(f"{error}{kept}") from error
        except BaseException:
            self._checkpoint()
            raise
        finally:
            self._stop.clear()

    def _epochs(self) -> Iterator[EpochReport]:
        """Train until all networks have finished, or the session is asked to stop."""
        for trainer, snapshot in zip(self._trainers, self._snapshots, strict=True):
            # It may have stopped in the middle of an epoch, or be ahead of the last report.
            if trainer is not None:
                trainer.load_state_dict(*snapshot.state)
        if self.scheduler is not None:
            yield from self._epochs_on_cluster(self.scheduler)
            return
        waiting = _Queue((one.epochs, number) for number, one in enumerate(self._snapshots) if not one.finished)

        def put_back(job: tuple[int, int], result: tuple[EpochReport, Snapshot]) -> None:
            waiting.put_back(result[1].epochs, job[1], finished=result[1].finished)

        start, before = time.perf_counter(), self.timings.training
        for (_, number), (report, snapshot) in map_threads(
            self._train_epoch, waiting, self._threads, self._stop, queued=put_back
        ):
            self._snapshots[number] = snapshot
            several = len(self._snapshots) > 1
            self.timings.training = before + time.perf_counter() - start if several else before + report.seconds
            before = before if several else self.timings.training
            self.timings.samples += self._trainer(number).samples
            if self._run is not None:
                self._run.record(report)
            yield report
            if self._run is not None and self._run.is_due() and not all(one.finished for one in self._snapshots):
                self._checkpoint()

    def _epochs_on_cluster(self, scheduler: str) -> Iterator[EpochReport]:
        """Train each network on a worker; reports come when a network has all its epochs."""
        from fastnn.cluster import Cluster, Lost

        if self._starting is not None:
            raise RecipeError("networks that start from a trained model cannot be trained by a scheduler; drop it")
        jobs = [
            (number, self._recipes[number], one.network, one.state, one.epochs)
            for number, one in enumerate(self._snapshots)
            if not one.finished
        ]
        data = replace(self.train, test=self.test, notes=())
        start, before = time.perf_counter(), self.timings.training
        with (
            Cluster(scheduler) as cluster,
            contextlib.closing(cluster.map(_train_member, jobs, data, self._stop)) as done,
        ):
            for job, result in done:
                if isinstance(result, Lost):
                    raise TrainingError(f"{scheduler}: network {job[0] + 1} could not be trained ({result.reason})")
                reports, self._snapshots[job[0]] = result
                self.timings.training = before + time.perf_counter() - start
                self.timings.samples += self._first.samples * len(reports)
                for report in reports:
                    own = replace(report, member=job[0])
                    if self._run is not None:
                        self._run.record(own)
                    yield own
                if self._run is not None and not all(one.finished for one in self._snapshots):
                    self._checkpoint()

    def _train_epoch(self, job: tuple[int, int], stop: StopFlag) -> tuple[EpochReport, Snapshot]:
        """Train a network, given as (epochs done, number), for one more epoch."""
        epoch, number = job[0] + 1, job[1]
        trainer = self._trainer(number)

        def after_chunk(chunk: ChunkReport) -> None:
            if self.on_chunk is not None:
                self.on_chunk(replace(chunk, member=number))
            stop.check()

        try:
            report = trainer.epoch(epoch, after_chunk)
        except TrainingError as error:
            raise TrainingError(f"network {number + 1}: {error}" if len(self._snapshots) > 1 else str(error)) from None
        return replace(report, member=number), Snapshot.of(trainer, epoch, self.recipe)

    def _finish(self) -> None:
        """Measure the model, and write it."""
        if self.test is not None:
            self.evaluation = evaluate(self.model, self.test)
            self.card = msgspec.structs.replace(self.card, least_evidence=_least_evidence(self.model, self.test))
            if max(self.member_epochs) * len(self.train) >= LEAST_SAMPLES:
                self.learned_nothing = learned_nothing(self.evaluation)
        if self._run is not None:
            self._run.finish(self.model, self.recipe, self._state())
        self._done = True

    def _checkpoint(self) -> None:
        if self._run is not None:
            self._run.checkpoint(self.model, self._state())

    def _state(self) -> State | None:
        """Return what resuming needs beyond the model's weights and number of epochs."""
        needed = self.recipe.needs_state
        if len(self._snapshots) == 1:
            return self._snapshots[0].state if needed else None
        if not needed and len({one.epochs for one in self._snapshots}) == 1:
            return None
        ahead = [] if self._run is None else self._run.reports_after(self.epochs)
        networks = [SavedNetwork(one.epochs, one.network, one.state if needed else None) for one in self._snapshots]
        return ensemble_state(networks, ahead)


def _train_member(
    dataset: Dataset, job: tuple[int, Recipe, Network, State, int], stop: StopFlag
) -> tuple[list[EpochReport], Snapshot]:
    """Train one network to its last epoch on a worker of a cluster; return its reports and its snapshot."""
    number, recipe, network, state, epochs = job
    trainer = Trainer(network.copy(), replace(dataset, test=None), recipe, dataset.test)
    trainer.load_state_dict(*state)
    reports: list[EpochReport] = []
    try:
        while epochs < recipe.epochs and not trainer.stopped:
            epochs += 1
            reports.append(trainer.epoch(epochs, lambda _: stop.check()))
    except TrainingError as error:
        raise TrainingError(f"network {number + 1}: {error}") from None
    return reports, Snapshot.of(trainer, epochs, recipe)


class _Queue:
    """Yields the next network to train as (epochs done, number): the one with the fewest epochs.

    The networks of an ensemble advance evenly while no core is idle: none begins epoch k + 2 before all others have
    finished epoch k.
    """

    def __init__(self, entries: Iterable[tuple[int, int]]) -> None:
        self._heap = sorted(entries)
        self._training: dict[int, int] = {}
        self._lock = threading.Lock()

    def put_back(self, epochs: int, number: int, *, finished: bool) -> None:
        """Return a network to the queue after an epoch, unless it has finished."""
        with self._lock:
            del self._training[number]
            if not finished:
                heapq.heappush(self._heap, (epochs, number))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[int, int] | Later:
        with self._lock:
            if not self._heap:
                raise StopIteration
            epochs, number = self._heap[0]
            if self._training and epochs > min(self._training.values()) + 1:
                return LATER
            self._training[number] = epochs
            return heapq.heappop(self._heap)


def fit(
    dataset: Dataset | str | Path,
    recipe: Recipe | str | Path | None = None,
    out: str | Path | None = None,
    *,
    start: Model | str | Path | None = None,
    progress: bool = True,
    on_epoch: Callable[[EpochReport], None] | None = None,
    threads: int | None = None,
) -> Model:
    """Train a model on a data set; the short form of :class:`Session`.

    Parameters
    ----------
    dataset : Dataset, str or Path
        The data, or what :func:`fastnn.load_dataset` takes.
    recipe : Recipe, str or Path, optional
        A recipe, the name of a preset (original, modern, mnist, best; table), or a TOML file; by default original for
        images and table for tables.
    out : path-like, optional
        A run folder to write, which must not exist, or be empty. Without one, nothing is written.
    start : Model, str or Path, optional
        A trained model that training starts from, see :meth:`Session.from_model`.
    progress : bool
        Whether to show a progress bar in a terminal or a notebook.
    on_epoch : callable, optional
        Called with an :class:`fastnn.training.EpochReport` after each epoch of each network.
    threads : int, optional
        How many networks of an ensemble train at a time; by default as many as there are cores.

    Returns
    -------
    Model
        Its card has the metrics on the test set that the recipe holds out.

    Warns
    -----
    UserWarning
        If the data have blank images or other problems, or the network has learned nothing.

    Raises
    ------
    FastnnError
        If data or recipe do not fit, training diverges, or the run folder cannot be written.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.fit("drawn:200", fastnn.Recipe(hidden=(16,), epochs=2), progress=False)
    >>> model.sizes
    (784, 16, 10)
    """
    if start is None:
        session = Session(dataset, recipe, out, threads=threads)
    else:
        session = Session.from_model(start, dataset, recipe, out, threads=threads)
    for text in session.notes:
        warnings.warn(text, stacklevel=2)
    with contextlib.ExitStack() as stack:
        bars = None
        if progress:
            from fastnn.progress import show

            bars = stack.enter_context(show())
        if bars is not None:
            session.open()
            session.warm_up()
            bars.start(session.member_epochs, session.recipe.epochs)
            session.on_chunk = bars.chunk
        for report in session:
            if bars is not None:
                bars.epoch(report)
            if on_epoch is not None:
                on_epoch(report)
    failure = session.failure
    if failure is not None:
        warnings.warn(failure, stacklevel=2)
    return session.model


def default_recipe(dataset: Dataset) -> Recipe:
    """Return the preset for data for which no recipe is given: original for images, table for tables."""
    return presets["original" if dataset.is_images else "table"]


def _extended(recipe: Recipe, epochs: int | None, folder: str) -> Recipe:
    """Return the recipe of a run with another number of epochs."""
    if epochs is None or epochs == recipe.epochs:
        return recipe
    extended = recipe.replace(epochs=epochs)
    if recipe.needs_total:
        raise RecipeError(
            f"{folder}: its learning rates or averages depend on its {recipe.epochs} epochs; drop epochs= (--epochs), "
            "or start a new run from its networks with Session.from_model (--from)"
        )
    return extended


def _check_same_state(saved: Snapshot, loaded: Snapshot) -> None:
    """Raise ModelError if the network of a checkpoint is not the one that its training state selects."""
    same = np.array_equal(saved.network.parameters, loaded.network.parameters)
    if not same or saved.epochs != loaded.state[1]["epoch"]:
        raise ModelError("the model and the training state contradict each other; the checkpoint is damaged")


def _reload(dataset: Dataset | str | Path | None, about: DataCard, folder: str | Path) -> Dataset:
    """Load the data of a run, from their old place or from `dataset`; DataError if they have changed."""
    if not isinstance(dataset, Dataset):
        try:
            source = about.source if dataset is None else dataset
            dataset = load_source(source, about.options)
        except DataError as error:
            if dataset is not None:
                raise
            raise DataError(
                f"{folder}: its data cannot be loaded ({error}); give them with dataset= (--data)"
            ) from None
    if dataset.content_hash != about.hash:
        raise DataError(
            f"{dataset.source}: is not the data that {folder} was trained on ({about.description}); to train its "
            f"networks on other data, start a new run from them with Session.from_model (--from {folder})"
        )
    return dataset


def _least_evidence(model: Model, test: Dataset) -> float | None:
    """Return the evidence that 99 of 100 test images exceed; None for rows and two classes, and for few images."""
    some = test.images[:_MOST_EVIDENCE] if test.is_images else ()
    if model.task != "classification" or len(some) < _LEAST_EVIDENCE or len(model.classes) < 3:
        return None
    # Rounded, since processors compute logarithms in different ways.
    return round(float(np.quantile(evidence(as_probabilities(model.outputs(some))), 0.01)), 3)


def _polarity_option(dataset: Dataset) -> Literal["dark-on-light", "light-on-dark"] | None:
    """Return the polarity that was asked for; None if the images decided, or there are none."""
    if not dataset.is_images or dataset.options is None or dataset.options.polarity == "auto":
        return None
    return dataset.options.polarity


def _printable(source: str) -> str:
    """Return a source without a database's password: it is written to the model file, which may be shared."""
    if "://" not in source:
        return source
    from fastnn.datasets.database import without_password

    return without_password(source)
