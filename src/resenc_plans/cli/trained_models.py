"""Options that say which trained models a command is about."""

from pathlib import Path
from typing import Annotated

import typer

from resenc_plans.errors import UsageError

TrainedDatasetOption = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        metavar="DATASET",
        help="Dataset by id or name, in the results folder; or its folder there.",
        show_default=False,
    ),
]
TrainedPlansOption = Annotated[
    list[str] | None,
    typer.Option(
        "-p", "--plans", help="Name of the plans; may be given several times.", show_default=False
    ),
]
TrainedConfigurationsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        "--configuration",
        help="May be given several times. Without it: all that are trained.",
        show_default=False,
    ),
]
TrainersOption = Annotated[
    list[str] | None,
    typer.Option("-tr", "--trainer", help="May be given several times.", show_default=False),
]
FoldsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-f",
        "--folds",
        metavar="FOLDS",
        help="Such as 0,1,2 or all. Without it: the folds that are trained.",
        show_default=False,
    ),
]
ResultsOption = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="FOLDER",
        help="Results folder. Without it: the environment variable nnUNet_results.",
        show_default=False,
    ),
]


def required_dataset(dataset: str | None) -> str:
    """The dataset of `-d`, without which there are no models to choose among.

    Raises
    ------
    UsageError
        It was omitted.
    """
    if dataset is None:
        raise UsageError("Name the dataset with -d.")
    return dataset


def parse_folds(folds: list[str] | None) -> tuple[str, ...]:
    """The folds of `-f 0,1 -f all`; none where the option is omitted.

    Raises
    ------
    UsageError
        One of them is not a fold.
    """
    names = [name for text in folds or () for name in text.replace(",", " ").split()]
    bad = next((name for name in names if name != "all" and not name.isdigit()), None)
    if folds and (bad is not None or not names):
        raise UsageError(f"-f {bad or folds[0]!r}: folds are numbers, such as 0,1,2, or all.")
    return tuple(dict.fromkeys(names))
