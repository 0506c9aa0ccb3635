"""``fastnn data clean``: find wrong labels, drawings that are no digits, and copies; write a set without them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fastnn.cli._console import command, err, note, out, print_json
from fastnn.cli._downloads import download_progress
from fastnn.cli.data._app import app

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnn.datasets import Dataset
    from fastnn.label_issues import Findings

_SHOWN = 15
_ON_SHEET = 120


@app.command()
@command
def clean(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, or a file or folder.")],
    out_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.csv", help="Write what was found: index,label,suggested,score,reason."),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the worst.")] = None,
    apply: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Search nothing; write SOURCE as this list mends it to --to: images get the suggested label, and "
            "those without a suggestion are left out. Lines may be changed or deleted first.",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="OUT", help="With --apply: where to, as data convert takes it.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts that each in turn are judged by networks trained on the rest.")] = 5,
    repeats: Annotated[int, typer.Option(help="How often that is done, with other parts.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Of each training; by default 10.")] = None,
    seed: Annotated[int, typer.Option(help="Of parts and networks.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one a core.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there (never SOURCE).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Find wrong labels, drawings that are no digits, and copies. SOURCE is never changed."""
    from fastnn.errors import FastnnError

    if (apply is None) != (to is None):
        raise FastnnError("--apply FILE.csv and --to OUT go together: the list, and where the mended data go")
    if apply is not None and to is not None:
        if out_file is not None or sheet is not None:
            raise FastnnError("--apply searches nothing, so there is nothing for --out and --sheet")
        _show_applied(apply_list(source, apply, to, force=force), as_json)
        return
    options: dict[str, Any] = {"folds": folds, "repeats": repeats, "epochs": epochs, "seed": seed, "workers": workers}
    dataset, findings = clean_data(source, out_file, sheet, force=force, show=not as_json, **options)
    if sheet is not None and not findings.issues:
        note(f"{sheet}: not drawn, for nothing wrong was found")
        sheet = None
    for text in _notes(dataset):
        note(text)
    if as_json:
        print_json(_as_dict(dataset, findings, out_file, sheet))
    else:
        _show(dataset, findings, out_file, sheet)


def clean_data(
    source: str,
    out_file: Path | None = None,
    sheet: Path | None = None,
    *,
    force: bool = False,
    show: bool = False,
    **options: Any,
) -> tuple[Dataset, Findings]:
    """Find what is wrong with a data set, and write it down where asked to.

    Parameters
    ----------
    source : str
        As :func:`fastnn.datasets.load_dataset` takes it.
    out_file, sheet : Path, optional
        A CSV file, and a PNG file with the worst.
    force : bool
        Replace files that are there.
    show : bool
        Show on standard error how far it is.
    **options
        As :func:`fastnn.label_issues.find_issues` takes them.

    Returns
    -------
    dataset : Dataset
    findings : Findings

    Raises
    ------
    FastnnError
        If a file is there already, or reading, searching or writing fails.
    """
    from fastnn.datasets import load_dataset
    from fastnn.label_issues import find_issues, write_issues

    with download_progress() as progress:
        dataset = load_dataset(source, progress=progress)
    for path, ending in ((out_file, ".csv"), (sheet, ".png")):
        if path is not None:
            _check_target(path, ending, dataset, source, force=force)
    with _training_progress(show) as told:
        findings = find_issues(dataset, progress=told, **options)
    if out_file is not None:
        write_issues(findings.issues, out_file)
    if sheet is not None:
        if findings.issues:
            _draw(dataset, findings, sheet)
        else:
            # One of an earlier search would be taken for this one's.
            sheet.unlink(missing_ok=True)
    return dataset, findings


def apply_list(source: str, listed: Path, target: Path, *, force: bool = False) -> dict[str, Any]:
    """Write a data set as a list of issues mends it.

    Parameters
    ----------
    source : str
    listed : Path
        A CSV file as :func:`clean_data` writes it.
    target : Path
        As :func:`fastnn.datasets.writers.write_dataset` takes it.
    force : bool
        Replace `target`; never the source itself.

    Returns
    -------
    dict
        What ``--json`` prints: source, written, n_before, n_after, relabelled, left_out, notes.

    Raises
    ------
    FastnnError
        If the list is no list, is of other data, or `target` is the source or cannot be written.
    """
    from fastnn.datasets import load_dataset
    from fastnn.datasets.writers import write_dataset
    from fastnn.label_issues import apply_issues

    with download_progress() as progress:
        dataset = load_dataset(source, progress=progress)
    _refuse_source(target, dataset, source)
    cleaned, relabelled, left_out = apply_issues(dataset, listed)
    written, notes = write_dataset(cleaned, target, force=force)
    return {
        "source": dataset.source,
        "written": [str(path) for path in written],
        "n_before": len(dataset),
        "n_after": len(cleaned),
        "relabelled": relabelled,
        "left_out": left_out,
        "notes": notes,
    }


def _refuse_source(target: Path, dataset: Dataset, source: str) -> None:
    """Raise a DataError if writing `target` would change the source, --force or not."""
    from fastnn.datasets import load_dataset
    from fastnn.errors import DataError, FastnnError

    own = Path(source).expanduser()
    same = own.exists() and (
        own.resolve() == target.resolve()
        or (own.is_dir() and own.resolve() in target.resolve().parents)
        or target.resolve() in own.resolve().parents
    )
    if not same and target.exists():
        # A name such as digits stands for a file that is found in several places.
        try:
            same = load_dataset(target).content_hash == dataset.content_hash
        except FastnnError:
            same = False
    if same:
        raise DataError(f"{target}: is the source or a part or a copy of it, which is never changed; name another")


def _check_target(path: Path, ending: str, dataset: Dataset, source: str, *, force: bool) -> None:
    """Refuse a path before minutes of work go into what cannot be written there."""
    from fastnn.errors import DataError

    if path.suffix.lower() != ending:
        raise DataError(f"{path}: give a name that ends with {ending}")
    if path.is_dir() or not path.parent.is_dir():
        raise DataError(f"{path}: {'is a folder' if path.is_dir() else 'its folder does not exist'}; name another")
    if path.exists():
        if not force:
            raise DataError(f"{path}: is there already; choose another name or replace it with --force")
        _refuse_source(path, dataset, source)


class _training_progress:  # noqa: N801 - used like a function
    """A bar of the trainings on standard error; `told` is None where nothing is to be shown."""

    def __init__(self, show: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = err()
        columns = (TextColumn("training on parts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console, transient=True) if show and console.is_terminal else None

    def __enter__(self) -> Callable[[int, int], None] | None:
        if self._bars is None:
            return None
        bars = self._bars
        bars.start()
        task = bars.add_task("", total=None)
        return lambda done, total: bars.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()


def _draw(dataset: Dataset, findings: Findings, path: Path) -> None:
    """Write the worst as a picture sheet, copies last."""
    import numpy as np

    from fastnn.errors import DataError
    from fastnn.images.sheets import sheet
    from fastnn.storage import atomic_write

    issues = [issue for issue in findings.issues if issue.kind != "copy"][:_ON_SHEET]
    issues += [issue for issue in findings.issues if issue.kind == "copy"][: _ON_SHEET - len(issues)]
    words = {"wrong label": "unclear", "not a digit": "no digit", "copy": "copy"}
    captions = [
        (f"{issue.label}, {f'rather {issue.suggested}' if issue.suggested else words[issue.kind]}", f"#{issue.index}")
        for issue in issues
    ]
    picture = sheet(dataset.images[np.asarray([issue.index for issue in issues])], captions)
    try:
        with atomic_write(path) as file:
            picture.save(file, format="PNG", optimize=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None


def _notes(dataset: Dataset) -> tuple[str, ...]:
    if dataset.test is None:
        return dataset.notes
    return (*dataset.notes, f"the {len(dataset.test):,} images of its test set are not looked at")


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

    console = out()
    summary = Table.grid(padding=(0, 2))
    summary.add_row("[bold]data[/bold]", escape(f"{dataset.source}, {len(dataset):,} images"))
    summary.add_row("[bold]labels confirmed[/bold]", f"{findings.accuracy:.2%}, by networks trained on other images")
    for kind in KINDS:
        summary.add_row(f"[bold]{kind}[/bold]", f"{findings.count(kind):,}")
    console.print(summary)
    pairs = Counter(
        (issue.label, issue.suggested) for issue in findings.issues if issue.kind == "wrong label" and issue.suggested
    )
    if pairs:
        table = Table(title="most often wrong", title_justify="left")
        for name, side in (("label", "left"), ("suggested", "left"), ("images", "right")):
            table.add_column(name, justify="right" if side == "right" else "left")
        for (label, suggested), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]:
            table.add_row(escape(label), escape(suggested), f"{count:,}")
        console.print(table)
    for path in (out_file, sheet):
        if path is not None:
            console.print(str(path), markup=False, soft_wrap=True)
    if out_file is not None:
        note(f"look it through, then: fastnn data clean {dataset.source} --apply {out_file} --to OUT")


def _show_applied(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    for text in result["notes"]:
        note(text)
    note(
        f"{result['relabelled']:,} labels changed, {result['left_out']:,} images left out; "
        f"{result['n_after']:,} of {result['n_before']:,} are left"
    )
    for path in result["written"]:
        out().print(path, markup=False, soft_wrap=True)
