"""``fastnn export``: write a model as a file that other programs run."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from fastnn.cli._console import command, note, out, print_json
from fastnn.errors import ModelError
from fastnn.progress import score_text

if TYPE_CHECKING:
    from fastnn.datasets import Dataset
    from fastnn.evaluation.agreement import Agreement
    from fastnn.formats.export import Exported
    from fastnn.model import Model


@command
def export_model(
    model: Annotated[str, typer.Argument(help="A run folder, a model file or the original's NN.json.")],
    target: Annotated[
        str,
        typer.Argument(
            help="The file to write; its ending is the format: .onnx, .html, .h (C), .json (the original's), .npz "
            "(NumPy), .pt (PyTorch), .skops (scikit-learn) or .safetensors.",
            metavar="OUT",
        ),
    ],
    precision: Annotated[
        Literal["float64", "float32", "float16", "int8"] | None,
        typer.Option(help="Type of the weights in the file; by default the format's own choice."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Run the file beside the model on test data, and compare the answers.")
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="Data for --verify; by default the test part of the model's own data.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Write a model as a file that other programs run.

    The file holds all that the model does with its inputs: scaling, polarity, standardisation, the mean of an ensemble
    and calibration. See: fastnn guide export.
    """
    from fastnn.evaluation.agreement import check_export
    from fastnn.evaluation.saved_model import evaluation_samples
    from fastnn.formats import load_model
    from fastnn.formats.export import export

    loaded = load_model(model)
    samples: Dataset | None = None
    notes: tuple[str, ...] = ()
    if verify:  # before the file is written, so that no file is left if there are no data
        _, _, samples, notes = evaluation_samples(model, loaded, data)
    exported = export(loaded, target, precision=precision, force=force)
    for text in notes:
        note(text)
    try:
        agreement = None if samples is None else check_export(exported.path, loaded, samples)
    except ModelError as error:
        raise ModelError(f"{error}; the file is written, but not verified") from None
    if as_json:
        print_json(
            {
                **asdict(exported),
                "path": str(exported.path),
                "agreement": None if agreement is None else agreement.as_dict(),
            }
        )
        return
    _show(loaded, exported, agreement)


def _show(model: Model, exported: Exported, agreement: Agreement | None) -> None:
    console = out()
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("wrote", escape(str(exported.path)))
    table.add_row("format", f"{exported.format}, weights in {exported.precision}, {exported.size:,} bytes")
    if agreement is not None:
        what = {"classification": "the same class", "multilabel": "the same labels", "regression": "the same numbers"}
        difference = f"largest difference {agreement.largest_difference:.2g}"
        table.add_row(
            "verified", f"{agreement.same:,} of {agreement.total:,} samples get {what[model.task]}; {difference}"
        )
        of_file, of_model = (score_text(score, model.task) for score in (agreement.score, agreement.model_score))
        table.add_row("score", f"{of_file} of the file, {of_model} of the model")
    console.print(table)
