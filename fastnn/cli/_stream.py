"""``fastnn train --data -``: training on rows from standard input."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from fastnn.cli._console import err, note, out, print_json
from fastnn.cli._signals import Interrupted, signals
from fastnn.threads import StopFlag, TrainingInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from fastnn.datasets import Dataset, ReadOptions
    from fastnn.recipe import Recipe
    from fastnn.starting_model import StartingModel

_PIECE = 1 << 16
_WAIT = 0.1
"""Seconds between two looks at signals and the clock while there is no input."""


class Beginning(NamedTuple):
    """What training on a stream begins with: the recipe, the run folder, and a model to start from, if there is one."""

    recipe: Recipe
    folder: Path
    starting: StartingModel | None


def train_stream(
    options: ReadOptions,
    begin: Callable[[Dataset], Beginning],
    known: Sequence[str] = (),
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train on the rows of standard input, and write a checkpoint now and then.

    Parameters
    ----------
    options : ReadOptions
        How the rows are read.
    begin : callable
        Returns what training begins with, for data like the first rows.
    known : sequence of str
        Classes that rows may have besides those of the first ones.
    quiet, as_json : bool
        Whether progress is not shown, and the result is printed as JSON.

    Raises
    ------
    Interrupted
        On a signal; the model is saved.
    FastnnError
        If a row is wrong; the model is saved as it was after the last batch.
    """
    from fastnn import __version__
    from fastnn.model import ModelCard
    from fastnn.row_stream import FIRST_ROWS, batches_of
    from fastnn.runs import Run
    from fastnn.training_loops import BatchTrainer, stream_recipe

    stop = StopFlag()
    run: Run | None = None
    with signals(stop.set) as signalled:
        batches = batches_of(_pieces(stop), options, known)
        try:
            first = next(batches)
        except TrainingInterrupted:
            err().print(f"stopped: fewer than {FIRST_ROWS:,} rows had come, and none was trained on")
            raise Interrupted(signalled.number) from None
        for text in first.notes:
            note(text)
        given, folder, starting = begin(first)
        recipe, notes = stream_recipe(given)
        if starting is None:
            network, like, start = recipe.network(first.n_inputs, len(first.names), first.task), None, None
        else:
            network, like, start = starting.model.network.copy(), starting.model, starting.card
            notes = (*notes, *starting.notes(starting.match(first)))
        for text in notes:
            note(text)
        trainer = BatchTrainer(network, recipe, like)

        def card() -> ModelCard:
            return ModelCard(recipe=recipe, epochs=trainer.batches, seed=recipe.seed, version=__version__, start=start)

        seen = correct = 0.0
        try:
            batch: Dataset | None = first
            while batch is not None:
                if starting is not None:
                    batch = starting.match(batch)
                report = trainer.train(batch, lambda _: stop.check())
                seen, correct = seen + len(batch), correct + report.accuracy * len(batch)
                run = run or Run.create(folder, recipe, trainer.model(card()))
                run.record(report)
                if run.is_due():
                    run.checkpoint(trainer.model(card()))
                if not quiet and not as_json:
                    err().print(f"{trainer.samples:,} rows, loss {report.loss:.4f}, score {report.accuracy:.4f}")
                batch = next(batches, None)
        except TrainingInterrupted:
            if run is not None:
                run.checkpoint(trainer.model(card()))
                err().print(f"stopped: {folder} keeps the model after {trainer.samples:,} rows", markup=False)
            raise Interrupted(signalled.number) from None
        except BaseException:
            if run is not None:
                run.checkpoint(trainer.model(card()))
            raise
        path = cast("Run", run).finish(trainer.model(card()), recipe)
    result: dict[str, Any] = {
        "run": str(folder),
        "model": str(path),
        "recipe": recipe.name,
        "task": first.task,
        "rows": trainer.samples,
        "batches": trainer.batches,
        "progressive_score": correct / seen,
        "weights_sha256": trainer.network.sha256(),
    }
    if as_json:
        print_json(result)
    elif not quiet:
        out().print(
            f"{trainer.samples:,} rows in {trainer.batches:,} batches; score before training on each row "
            f"{correct / seen:.4f}; {path}",
            markup=False,
            soft_wrap=True,
        )


def _pieces(stop: StopFlag) -> Iterator[bytes]:
    """Yield what standard input holds, and nothing now and then while it waits."""
    stream = sys.stdin.buffer
    try:
        waits = hasattr(select, "poll") and stream.fileno() >= 0
    except (OSError, ValueError):  # not a file
        waits = False
    while True:
        stop.check()
        if waits and not select.select([stream], [], [], _WAIT)[0]:
            yield b""
            continue
        piece = stream.read1(_PIECE) if hasattr(stream, "read1") else stream.read(_PIECE)
        if not piece:
            return
        yield piece
