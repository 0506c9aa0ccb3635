"""``fastnn data clean``: find wrong labels, drawings that are not digits, and copies; write corrected data."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fastnn.cli._console import command, note, out, print_json
from fastnn.cli._data_options import (  # noqa: TC001 - typer reads the annotations
    PolarityOption,
    SchedulerOption,
    StrictOption,
    Target,
    TaskOption,
)
from fastnn.cli._downloads import load_with_progress
from fastnn.cli._fold_progress import fold_progress
from fastnn.cli.data._app import app
from fastnn.errors import FastnnError

if TYPE_CHECKING:
    from fastnn.datasets import Dataset
    from fastnn.label_issues import Findings

_SHOWN = 15


@app.command()
@command
def clean(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, a file or a folder, of images or a table.")],
    target: Target = None,
    task: TaskOption = None,
    polarity: PolarityOption = "auto",
    strict: StrictOption = False,
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.csv", readable=False, help="Write the issues: index,label,suggested,score,reason."
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", readable=False, help="Draw the worst images; not of a table.")
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            readable=False,
            help="Do not search; apply this list to SOURCE and write the result to --to: each listed image or row gets "
            "the suggested label, and is left out if there is none. Edit or delete lines first where you disagree.",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="OUT", readable=False, help="With --apply: output, as for data convert.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Number of cross-validation folds.")] = 5,
    repeats: Annotated[int, typer.Option(help="Number of cross-validations, each with other folds.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each training.", show_default="10")] = None,
    seed: Annotated[int, typer.Option(help="Random seed for folds and weights.")] = 0,
    threads: Annotated[
        int | None, typer.Option(help="Folds trained at a time.", show_default="one on each core")
    ] = None,
    scheduler: SchedulerOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files (never SOURCE).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Find wrong labels, drawings that are not digits, and copies; in a table wrong labels and copies.

    SOURCE is never changed.
    """
    from fastnn.datasets import ReadOptions
    from fastnn.storage import check_target

    reading = ReadOptions.of(target, task, polarity, strict=strict)
    if (apply is None) != (to is None):
        raise FastnnError("--apply FILE.csv and --to OUT go together: the list, and where to write the corrected data")
    if apply is not None and to is not None:
        if out_file is not None or sheet is not None:
            raise FastnnError("--apply does not search; drop --out and --sheet")
        check_target(to)
        _show_applied(_apply(load_with_progress(source, reading), source, apply, to, force=force), as_json)
        return
    options: dict[str, Any] = {"folds": folds, "repeats": repeats, "epochs": epochs, "seed": seed}
    options |= {"threads": threads, "scheduler": scheduler}
    dataset = load_with_progress(source, reading)
    findings = _search(dataset, source, out_file, sheet, force=force, show=not as_json, **options)
    if sheet is not None and not findings.issues:
        note(f"{sheet}: not written, as no issues were found")
        sheet = None
    for text in _notes(dataset):
        note(text)
    if as_json:
        print_json(_as_dict(dataset, findings, out_file, sheet))
    else:
        _show(dataset, findings, out_file, sheet)


def _search(
    dataset: Dataset, source: str, out_file: Path | None, sheet: Path | None, *, force: bool, show: bool, **options: Any
) -> Findings:
    """Find issues in a data set and write the files that were asked for; `options` are those of `find_issues`."""
    from fastnn.datasets.writers import check_not_source
    from fastnn.label_issues import draw_issues, find_issues, write_issues
    from fastnn.storage import check_new_file, remove_file

    if sheet is not None and not dataset.is_images:
        raise FastnnError(f"{source}: is a table; --sheet draws images, drop it")
    for path, ending in ((out_file, ".csv"), (sheet, ".png")):
        if path is not None:
            check_new_file(path, ending, force=force)
            if path.exists():
                check_not_source(path, dataset, source)
    with fold_progress(show) as progress_of_folds:
        findings = find_issues(dataset, progress=progress_of_folds, **options)
    if sheet is not None:
        # The sheet of an earlier search would look like the result of this one, also if this one is interrupted.
        remove_file(sheet)
    if out_file is not None:
        write_issues(findings.issues, out_file)
    if sheet is not None and findings.issues:
        draw_issues(dataset, findings.issues, sheet)
    return findings


def _apply(dataset: Dataset, source: str, listed: Path, target: Path, *, force: bool) -> dict[str, Any]:
    """Write a data set with a list of issues applied; return what ``--json`` prints."""
    from fastnn.datasets.writers import check_not_source, write_dataset
    from fastnn.label_issues import apply_issues

    check_not_source(target, dataset, source)
    cleaned, relabelled, left_out = apply_issues(dataset, listed)
    written, notes = write_dataset(cleaned, target, force=force)
    return {
        "source": dataset.source,
        "written": [str(path) for path in written],
        "n_before": len(dataset),
        "n_after": len(cleaned),
        "relabelled": relabelled,
        "left_out": left_out,
        "samples": _samples(dataset),
        "notes": notes,
    }


def _samples(dataset: Dataset) -> str:
    return "images" if dataset.is_images else "rows"


def _notes(dataset: Dataset) -> tuple[str, ...]:
    if dataset.test is None:
        return dataset.notes
    return (*dataset.notes, f"the {len(dataset.test):,} {_samples(dataset)} of its test set are not searched")


def _as_dict(dataset: Dataset, findings: Findings, out_file: Path | None, sheet: Path | None) -> dict[str, Any]:
    from fastnn.label_issues import KINDS

    return {
        "source": dataset.source,
        "hash": dataset.content_hash,
        "n": len(dataset),
        "agreement": findings.accuracy,
        "counts": {kind: findings.count(kind) for kind in KINDS},
        "out": None if out_file is None else str(out_file),
        "sheet": None if sheet is None else str(sheet),
        "issues": [
            {
                "index": issue.index,
                "label": issue.label,
                "suggested": issue.suggested,
                "score": issue.score,
                "reason": issue.reason,
            }
            for issue in findings.issues
        ],
    }


def _show(dataset: Dataset, findings: Findings, out_file: Path | None, sheet: Path | None) -> None:
    from fastnn.label_issues import KINDS

    console, samples = out(), _samples(dataset)
    summary = Table.grid(padding=(0, 2))
    summary.add_row("[bold]data[/bold]", escape(f"{dataset.source}, {len(dataset):,} {samples}"))
    summary.add_row("[bold]labels confirmed[/bold]", f"{findings.accuracy:.2%}, by networks trained on other {samples}")
    for kind in KINDS if dataset.is_images else (kind for kind in KINDS if kind != "not a digit"):
        summary.add_row(f"[bold]{kind}[/bold]", f"{findings.count(kind):,}")
    console.print(summary)
    pairs = Counter(
        (issue.label, issue.suggested) for issue in findings.issues if issue.kind == "wrong label" and issue.suggested
    )
    if pairs:
        table = Table(title="most frequent wrong labels", title_justify="left")
        for name, side in (("label", "left"), ("suggested", "left"), (samples, "right")):
            table.add_column(name, justify="right" if side == "right" else "left")
        for (label, suggested), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]:
            table.add_row(escape(label), escape(suggested), f"{count:,}")
        console.print(table)
    for path in (out_file, sheet):
        if path is not None:
            console.print(str(path), markup=False, soft_wrap=True)
    if out_file is not None:
        options = "".join(f" --target {shlex.quote(name)}" for name in dataset.target or ())
        # Numbers of many classes would be a regression.
        options += "" if dataset.target is None else " --task classification"
        source, listed = shlex.quote(dataset.source), shlex.quote(str(out_file))
        note(f"check the list, then: fastnn data clean {source}{options} --apply {listed} --to OUT")


def _show_applied(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    for text in result["notes"]:
        note(text)
    note(
        f"{result['relabelled']:,} labels changed, {result['left_out']:,} {result['samples']} left out; "
        f"{result['n_after']:,} of {result['n_before']:,} remain"
    )
    for path in result["written"]:
        out().print(path, markup=False, soft_wrap=True)
