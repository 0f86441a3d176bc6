"""The command that removes small components where that helps: postprocess."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.commands.evaluate import (
    LabelsDatasetOption,
    PredictionsArgument,
)
from resenc_plans.cli.options import OutputOption, WorkersOption
from resenc_plans.cli.progress import case_progress
from resenc_plans.cli.render import note, print_table, say, styled

if TYPE_CHECKING:
    from resenc_plans.evaluation.postprocessing.postprocess import Postprocessing
    from resenc_plans.evaluation.task import EvaluationTask
    from resenc_plans.execution.cases import CaseProblem


def postprocess(
    predictions: PredictionsArgument,
    references: Annotated[
        Path | None,
        typer.Option(
            "-r",
            "--reference",
            metavar="REFERENCES",
            help="Determine on these references which steps help, and apply them.",
            show_default=False,
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            "--apply",
            "-pp_pkl_file",
            metavar="FILE",
            help="Do what this postprocessing.json (or nnU-Net's .pkl) says.",
            show_default=False,
        ),
    ] = None,
    dataset: LabelsDatasetOption = None,
    workers: WorkersOption = None,
    output: OutputOption = None,
) -> None:
    """Keep the largest component only, of all labels or of single ones, where that helps.

    With -r the steps are determined as nnU-Net does and written to postprocessing.json in
    PREDICTIONS; the results go to PREDICTIONS/postprocessed, or to the folder that -o names. With
    --apply the steps of a file are applied to PREDICTIONS.
    Exit code 1 if a case failed. Example: resenc-plans postprocess validation -r labelsTr -d 4
    """
    from resenc_plans.errors import UsageError
    from resenc_plans.evaluation.postprocessing.files import load_postprocessing
    from resenc_plans.evaluation.postprocessing.postprocess import apply_postprocessing

    if (references is None) == (rules is None):
        raise UsageError(
            "Give either -r REFERENCES, to determine which steps help, or --apply FILE, to apply "
            "the steps of a file."
        )
    problems: dict[str, CaseProblem] = {}
    if references is not None:
        target = output or predictions / "postprocessed"
        steps, task = _determine(predictions, references, dataset, workers, target, problems)
        reader, file_ending = task.reader, task.file_ending
    else:
        if output is None:
            raise UsageError("--apply needs -o, the folder for the results.")
        target, reader, file_ending = output, None, None
        steps = load_postprocessing(rules or "")
    for problem in apply_postprocessing(
        steps, predictions, target, file_ending=file_ending, reader=reader, workers=workers
    ):
        problems[problem.case] = problem
    say(f"Wrote {target}.")
    for problem in problems.values():
        note(f"{problem.case}: failed. {problem.reason}", style="red")
    if problems:
        raise typer.Exit(1)


def _determine(
    predictions: Path,
    references: Path,
    dataset: str | None,
    workers: int | None,
    target: Path,
    problems: "dict[str, CaseProblem]",
) -> "tuple[Postprocessing, EvaluationTask]":
    """Determine, write the files and say what was found; failed cases go into `problems`."""
    from resenc_plans.evaluation.postprocessing.files import save_postprocessing
    from resenc_plans.evaluation.postprocessing.postprocess import determine_postprocessing
    from resenc_plans.evaluation.task import find_task, prediction_names

    task = find_task(predictions, references, dataset=dataset)
    total = len(prediction_names(predictions, task.file_ending))
    with case_progress("Reading", total) as on_case:
        found = determine_postprocessing(
            predictions, references, task, workers=workers, on_case=on_case
        )
    problems.update({problem.case: problem for problem in found.problems})
    save_postprocessing(found, predictions)
    target.mkdir(parents=True, exist_ok=True)
    found.after.moved_to(target).save(target / "summary.json")
    rows = [
        (
            task.describe(trial.step)
            if isinstance(trial.step, int | tuple)
            else "all labels together",
            *(f"{value:.5f}" for value in (trial.before, trial.after)),
            styled("kept", "green") if trial.taken else "no",
        )
        for trial in found.trials
    ]
    print_table(("largest component of", "Dice before", "after", "helps"), rows)
    say(f"Wrote {predictions / 'postprocessing.json'}.")
    return found.postprocessing, task
