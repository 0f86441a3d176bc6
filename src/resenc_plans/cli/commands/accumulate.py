"""The command that collects and evaluates a cross-validation: accumulate."""

from pathlib import Path
from typing import Annotated

import typer

from resenc_plans.cli.options import (
    FoldsOption,
    ReferencesOption,
    ResultsOption,
    WorkersOption,
    output_option,
    parse_folds,
)
from resenc_plans.cli.render import say
from resenc_plans.words import counted


def accumulate(
    dataset: Annotated[
        str,
        typer.Option(
            "-d",
            "--dataset",
            metavar="DATASET",
            help="Dataset by id or name in the results folder, or the path of its folder there.",
            show_default=False,
        ),
    ],
    configuration: Annotated[
        str | None,
        typer.Option(
            "-c",
            "--configuration",
            metavar="CONFIGURATION",
            help="Configuration by name. Default: the only one that is trained.",
            show_default=False,
        ),
    ] = None,
    plans: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--plans",
            metavar="PLANS",
            help="Plans by name. Default: the only ones that are trained.",
            show_default=False,
        ),
    ] = None,
    trainer: Annotated[
        str | None,
        typer.Option(
            "-tr",
            "--trainer",
            metavar="TRAINER",
            help="Trainer by name. Default: nnUNetTrainer, or the only one.",
            show_default=False,
        ),
    ] = None,
    folds: FoldsOption = None,
    output: Annotated[
        Path | None,
        output_option(
            "FOLDER",
            "New folder for the segmentations and their summary.json. Default: "
            "crossval_results_folds_… in the model's folder.",
        ),
    ] = None,
    references: ReferencesOption = None,
    workers: WorkersOption = None,
    results: ResultsOption = None,
) -> None:
    """Collect the validation predictions of a model's folds, and evaluate them as one set.

    They go to crossval_results_folds_… in the model's folder, or to a new folder.
    Example: resenc-plans accumulate -d 4 -c 3d_fullres
    """
    from resenc_plans.evaluation.cross_validation import merge_folds
    from resenc_plans.evaluation.selection import find_references
    from resenc_plans.runs.find_model import common_folds, find_model

    model = find_model(dataset, configuration, plans=plans, trainer=trainer, results=results)
    chosen = parse_folds(folds) or common_folds([model])
    where = find_references(model.folder.parent.name) if references is None else Path(references)
    target, summary = merge_folds(model, where, chosen, output=output, workers=workers)
    dice = summary.foreground_mean["Dice"]
    say(
        f"{model.identifier}: {counted(len(summary.cases), 'case')} of folds {', '.join(chosen)}, "
        f"mean Dice {dice:.4f}."
    )
    say(f"Wrote {target}.")
