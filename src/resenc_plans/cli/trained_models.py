"""Options that say which trained models a command is about."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.errors import DatasetError, ResencPlansError
from resenc_plans.folders import RESULTS, environment_folder

if TYPE_CHECKING:
    from resenc_plans.runs.find_model import TrainedModel

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


def results_folder(results: Path | None) -> Path:
    """The folder of all results.

    Raises
    ------
    DatasetError
        It is not given and the variable is not set, or it is not there.
    """
    folder = results or environment_folder(RESULTS)
    if folder is None:
        raise DatasetError(f"Set {RESULTS}, or name the results folder with --results.")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder.")
    return folder


def dataset_results(dataset: str | None, results: Path | None) -> Path:
    """The folder of one dataset's results.

    Raises
    ------
    DatasetError
        There is none, or several have the id.
    """
    if dataset is None:
        raise ResencPlansError("Name the dataset with -d.")
    if Path(dataset).is_dir() and (len(Path(dataset).parts) > 1 or results is None):
        return Path(dataset)
    from resenc_plans.folders import dataset_id

    root = results_folder(results)
    wanted = int(dataset) if dataset.isdigit() else None
    names = sorted(path.name for path in root.iterdir() if path.is_dir())
    found = [
        name
        for name in names
        if name == dataset or (wanted is not None and dataset_id(name) == wanted)
    ]
    if len(found) != 1:
        there = ", ".join(name for name in names if dataset_id(name)) or "none"
        what = "several folders fit" if found else "no results"
        raise DatasetError(f"Dataset {dataset!r}: {what} in {root}. There is: {there}.")
    return root / found[0]


def chosen_folds(folds: list[str] | None, models: "tuple[TrainedModel, ...]") -> tuple[str, ...]:
    """The folds asked for, or those that all models have; `all` only where it is asked for.

    Raises
    ------
    ResencPlansError
        What was asked for is no fold, or the models have no fold in common.
    """
    if folds:
        names = [name for text in folds for name in text.replace(",", " ").split()]
        bad = next((name for name in names if name != "all" and not name.isdigit()), None)
        if bad is not None or not names:
            raise ResencPlansError(
                f"-f {bad or folds[0]!r}: folds are numbers, such as 0,1,2, or all."
            )
        return tuple(dict.fromkeys(names))
    common = [f for f in models[0].folds() if all(f in model.folds() for model in models)]
    numbered = tuple(fold for fold in common if fold.isdigit())
    chosen = numbered or tuple(common)
    if not chosen:
        there = ", ".join(model.identifier for model in models)
        raise ResencPlansError(f"No fold is trained of all of {there}. Choose with -f.")
    return chosen
