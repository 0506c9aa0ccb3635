"""Options of the commands that read data sets."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

_Task = Literal["classification", "multilabel", "regression"]

Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="COLUMN",
        help="The column of a table (.csv, .tsv) to learn: its name, or its number from 1 in a table without names. "
        "Several times for several targets.",
        show_default="the column named target, label, class or y",
    ),
]
TaskOption = Annotated[
    _Task | None, typer.Option("--task", help="What is learned from a table.", show_default="decided by the target")
]

TargetOfModel = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="COLUMN",
        help="The column of a table (.csv, .tsv) that the model predicts. Several times for several targets.",
        show_default="that of the training data",
    ),
]
TaskOfModel = Annotated[
    _Task | None, typer.Option("--task", help="What the model predicts.", show_default="that of the training data")
]

PolarityOption = Annotated[
    Literal["auto", "dark-on-light", "light-on-dark"],
    typer.Option(
        "--polarity", help="Whether the ink of images is darker or lighter than the paper; auto decides by the images."
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Stop at a damaged file of a folder, instead of leaving it out.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Work on the workers of this Dask scheduler, such as tcp://host:8786, instead of on this machine. "
        "Give only one that you trust.",
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="LIST",
        help="Take only these classes, such as 0-9, A-Z or 0,1,7; the network has an output for each.",
        show_default="all classes of the data",
    ),
]
