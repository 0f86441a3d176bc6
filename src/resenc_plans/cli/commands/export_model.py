"""The command that writes trained models into an archive: export-model."""

from pathlib import Path
from typing import Annotated

import typer

from resenc_plans.cli.options import (
    FoldsOption,
    OverwriteOption,
    ResultsOption,
    TrainedConfigurationsOption,
    TrainedDatasetOption,
    TrainedPlansOption,
    TrainersOption,
    output_option,
    parse_folds,
    required_dataset,
)
from resenc_plans.cli.render import say
from resenc_plans.words import counted


def export_model(
    output: Annotated[
        Path,
        output_option("ZIP", "Archive to write."),
    ],
    dataset: TrainedDatasetOption = None,
    plans: TrainedPlansOption = None,
    configurations: TrainedConfigurationsOption = None,
    trainers: TrainersOption = None,
    folds: FoldsOption = None,
    checkpoints: Annotated[
        list[str] | None,
        typer.Option(
            "-chk",
            "--checkpoint",
            metavar="FILE",
            help="Checkpoint in each fold's folder. Repeatable. Default: checkpoint_final.pth.",
            show_default=False,
        ),
    ] = None,
    model_folders: Annotated[
        list[Path] | None,
        typer.Option(
            "-m",
            "--model",
            metavar="FOLDER",
            help="Folder of a model, instead of -d -p -c. Repeatable.",
            show_default=False,
        ),
    ] = None,
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions",
            "--exp_cv_preds",
            help="Include the segmentations of the cross-validation.",
        ),
    ] = False,
    overwrite: OverwriteOption = False,
    results: ResultsOption = None,
) -> None:
    """Put trained models of a dataset into a zip archive that nnU-Net installs too.

    Example: resenc-plans export-model -d 4 -c 3d_fullres -o hippocampus.zip
    """
    from resenc_plans.errors import UsageError
    from resenc_plans.folders import FINAL_CHECKPOINT
    from resenc_plans.runs.archive import ExportRequest
    from resenc_plans.runs.archive import export_model as write_archive
    from resenc_plans.runs.find_model import common_folds, find_dataset_results, find_models
    from resenc_plans.runs.model_folder import ModelFolder

    if model_folders and dataset is not None:
        raise UsageError("Give either -d or -m, not both.")
    if model_folders:
        models = tuple(ModelFolder(folder.resolve()) for folder in model_folders)
    else:
        models = find_models(
            find_dataset_results(required_dataset(dataset), results),
            trainers=trainers or (), plans=plans or (), configurations=configurations or (),
        )  # fmt: skip
    chosen = parse_folds(folds) or common_folds(models)
    request = ExportRequest(chosen, tuple(checkpoints or (FINAL_CHECKPOINT,)), predictions)
    names = write_archive(models, output, request, overwrite=overwrite)
    for model in models:
        say(f"{model.identifier}: folds {', '.join(chosen)}")
    say(f"Wrote {output}: {counted(len(names), 'file')}, {output.stat().st_size / 1e6:.1f} MB.")
