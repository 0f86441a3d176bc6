"""The command that chooses among trained models: select."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import Format, FormatOption, WorkersOption
from resenc_plans.cli.progress import case_progress
from resenc_plans.cli.render import note, print_json, print_table, say, styled
from resenc_plans.cli.trained_models import (
    FoldsOption,
    ResultsOption,
    TrainedConfigurationsOption,
    TrainedDatasetOption,
    TrainedPlansOption,
    TrainersOption,
)

if TYPE_CHECKING:
    from resenc_plans.evaluation.selection import Selection


def select(
    dataset: TrainedDatasetOption = None,
    plans: TrainedPlansOption = None,
    configurations: TrainedConfigurationsOption = None,
    trainers: TrainersOption = None,
    folds: FoldsOption = None,
    ensembles: Annotated[
        bool,
        typer.Option(
            "--ensembles/--no-ensembles",
            " /--disable_ensembling",
            help="Try pairs of models as well; they need validation with probabilities.",
        ),
    ] = True,
    references: Annotated[
        Path | None,
        typer.Option(
            "-r",
            "--reference",
            metavar="GT",
            help="Folder of references. Without it: labelsTr of the dataset, or "
            "gt_segmentations of its preprocessed folder.",
            show_default=False,
        ),
    ] = None,
    workers: WorkersOption = None,
    results: ResultsOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Find the best of the trained configurations and their ensembles by cross-validation.

    Writes inference_information.json and inference_instructions.txt, as nnU-Net's
    find_best_configuration. Example: resenc-plans select -d 4 -c 2d -c 3d_fullres
    """
    from resenc_plans.cli.trained_models import chosen_folds, required_dataset
    from resenc_plans.evaluation.selection import (
        in_nnunet_order,
        instructions,
        select_configuration,
    )
    from resenc_plans.files import replace_file, write_json
    from resenc_plans.folders import INFERENCE_INFORMATION, INFERENCE_INSTRUCTIONS
    from resenc_plans.runs.find_model import find_dataset_results, find_models

    folder = find_dataset_results(required_dataset(dataset), results)
    models = in_nnunet_order(
        find_models(
            folder,
            trainers=trainers or (), plans=plans or (), configurations=configurations or (),
        )
    )  # fmt: skip
    total = len(models) + (len(models) * (len(models) - 1) // 2 if ensembles else 0)
    with case_progress("Comparing", total) as on_candidate:
        found = select_configuration(
            models, references or _references(folder.name), chosen_folds(folds, models),
            ensembles=ensembles, workers=workers, on_candidate=on_candidate,
        )  # fmt: skip
    for remark in found.notes:
        note(remark)
    write_json(folder / INFERENCE_INFORMATION, found.to_dict())
    text = instructions(found)
    with replace_file(folder / INFERENCE_INSTRUCTIONS) as stream:
        stream.write(text.encode())
    if format is Format.JSON:
        print_json(found.to_dict())
        return
    _print_candidates(found)
    say(text.rstrip())
    say(f"Wrote {folder / INFERENCE_INFORMATION} and {INFERENCE_INSTRUCTIONS}.")


def _print_candidates(found: "Selection") -> None:
    rows = [
        (
            " + ".join(model.identifier for model in candidate.models),
            f"{candidate.dice:.4f}",
            styled("best", "green") if candidate is found.best else "",
        )
        for candidate in found.candidates
    ]
    print_table(("model", "mean Dice", ""), rows)
    after = found.determination.after.foreground_mean["Dice"]
    steps = len(found.determination.postprocessing.steps)
    say(f"Post-processing: {steps} steps, mean Dice {found.best.dice:.4f} to {after:.4f}.")


def _references(dataset: str) -> Path:
    """The dataset's references, in its raw folder or else beside its preprocessed data."""
    from resenc_plans.errors import DatasetError
    from resenc_plans.folders import GROUND_TRUTH, PREPROCESSED, RAW, environment_folder

    places = ((RAW, "labelsTr"), (PREPROCESSED, GROUND_TRUTH))
    for variable, name in places:
        root = environment_folder(variable)
        if root is not None and (root / dataset / name).is_dir():
            return root / dataset / name
    raise DatasetError(
        f"{dataset}: its references are neither in {RAW} (labelsTr) nor in {PREPROCESSED} "
        f"({GROUND_TRUTH}). Name their folder with -r."
    )
