"""The command that chooses among trained models: select."""

from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import (
    FoldsOption,
    Format,
    FormatOption,
    ReferencesOption,
    ResultsOption,
    TrainedConfigurationsOption,
    TrainedDatasetOption,
    TrainedPlansOption,
    TrainersOption,
    WorkersOption,
    parse_folds,
    required_dataset,
)
from resenc_plans.cli.progress import case_progress
from resenc_plans.cli.render import (
    note,
    print_commands,
    print_json,
    print_table,
    say,
    styled,
)
from resenc_plans.words import counted

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
            help="Try pairs of models too; they need validation with probabilities.",
        ),
    ] = True,
    allow_differences: Annotated[
        bool,
        typer.Option(
            "--allow-differences",
            help="Rank even models that were trained or validated otherwise.",
        ),
    ] = False,
    references: ReferencesOption = None,
    workers: WorkersOption = None,
    results: ResultsOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Find the best trained configuration or ensemble by cross-validation.

    Writes inference_information.json and inference_instructions.txt, as nnU-Net's
    find_best_configuration does. Example: resenc-plans select -d 4 -c 2d -c 3d_fullres
    """
    from resenc_plans.evaluation.selection import instructions, select_models

    selection = select_models(
        required_dataset(dataset),
        trainers=trainers or (), plans=plans or (), configurations=configurations or (),
        folds=parse_folds(folds), ensembles=ensembles, allow_differences=allow_differences,
        references=references, results=results, workers=workers, progress=case_progress,
    )  # fmt: skip
    for remark in selection.notes:
        note(remark)
    _print_differences(selection)
    if format is Format.JSON:
        print_json(selection.to_dict())
        return
    _print_candidates(selection)
    print_commands(instructions(selection))
    information, commands = selection.written
    say(f"Wrote {information} and {commands.name}.")


def _print_differences(selection: "Selection") -> None:
    for comparison in selection.comparisons:
        names = f"{comparison.first.identifier} and {comparison.second.identifier}"
        for difference in (*comparison.of_severity("error"), *comparison.of_severity("warning")):
            note(f"{names}: {difference}")
    unknown = {one.subject for pair in selection.comparisons for one in pair.unknown}
    if unknown:
        note(f"Not recorded of all models, so not compared: {', '.join(sorted(unknown))}.")


def _print_candidates(selection: "Selection") -> None:
    rows = [
        (
            " + ".join(model.identifier for model in candidate.models),
            f"{candidate.dice:.4f}",
            styled("best", "green") if candidate is selection.best else "",
        )
        for candidate in selection.candidates
    ]
    print_table(("model", "mean Dice", ""), rows)
    after = selection.determination.after.foreground_mean["Dice"]
    steps = len(selection.determination.postprocessing.steps)
    say(
        f"Post-processing: {counted(steps, 'step')}, mean Dice {selection.best.dice:.4f} to "
        f"{after:.4f}."
    )
