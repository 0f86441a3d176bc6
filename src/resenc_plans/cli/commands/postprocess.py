"""The command that removes small components where that helps: postprocess."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import (
    EvaluatedDatasetOption,
    PredictionsArgument,
    WorkersOption,
    output_option,
    reference_option,
)
from resenc_plans.cli.progress import case_progress
from resenc_plans.cli.render import note, print_table, say, styled
from resenc_plans.errors import UsageError
from resenc_plans.execution.exit_codes import ExitCode

if TYPE_CHECKING:
    from resenc_plans.evaluation.postprocessing.postprocess import Determination


def postprocess(
    predictions: PredictionsArgument,
    references: Annotated[
        Path | None,
        reference_option("Determine on these references which steps help, and apply them."),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            "--apply",
            "-pp_pkl_file",
            metavar="FILE",
            help="Apply the steps of this postprocessing.json (or nnU-Net's .pkl).",
            show_default=False,
        ),
    ] = None,
    dataset: EvaluatedDatasetOption = None,
    workers: WorkersOption = None,
    output: Annotated[
        Path | None,
        output_option(
            "FOLDER", "Folder for the results. Default, with -r: PREDICTIONS/postprocessed."
        ),
    ] = None,
) -> None:
    """Keep only the largest component of all labels, or of single ones, where that helps.

    With -r the steps are determined as nnU-Net does and written to postprocessing.json in
    PREDICTIONS; the results go to PREDICTIONS/postprocessed, or to the folder that -o names. With
    --apply the steps of a file are applied to PREDICTIONS.
    Exit code 1 if a case failed. Example: resenc-plans postprocess validation -r labelsTr -d 4
    """
    from resenc_plans.evaluation.postprocessing.postprocess import (
        Postprocessing,
        apply_postprocessing,
    )
    from resenc_plans.evaluation.postprocessing.postprocess import (
        postprocess as determine_and_apply,
    )

    if references is not None and rules is None:
        determination = determine_and_apply(
            predictions, references,
            dataset=dataset, output=output, workers=workers, progress=case_progress,
        )  # fmt: skip
        _print_trials(determination)
        problems = determination.problems
    elif rules is not None and references is None:
        if output is None:
            raise UsageError("--apply needs -o, the folder for the results.")
        steps = Postprocessing.load(rules)
        problems = apply_postprocessing(steps, predictions, output, workers=workers)
        say(f"Wrote {output}.")
    else:
        raise UsageError(
            "Give either -r REFERENCES, to determine which steps help, or --apply FILE, to apply "
            "the steps of a file."
        )
    for problem in problems:
        note(f"{problem.case}: failed. {problem.reason}", style="red")
    if problems:
        raise typer.Exit(ExitCode.FAILED)


def _print_trials(determination: "Determination") -> None:
    rows = [
        (
            determination.task.describe(trial.step),
            *(f"{value:.5f}" for value in (trial.before, trial.after)),
            styled("kept", "green") if trial.accepted else "no",
        )
        for trial in determination.trials
    ]
    print_table(("largest component of", "Dice before", "after", "helps"), rows)
    for path in determination.written:
        say(f"Wrote {path}.")
