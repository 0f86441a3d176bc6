"""Choose among trained configurations and their ensembles by cross-validation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from resenc_plans.errors import DatasetError
from resenc_plans.evaluation.cross_validation import (
    MissingProbabilitiesError,
    ensemble_name,
    merge_ensemble,
    merge_folds,
)
from resenc_plans.evaluation.postprocessing.files import save_postprocessing
from resenc_plans.evaluation.postprocessing.postprocess import (
    Determination,
    apply_postprocessing,
    determine_postprocessing,
)
from resenc_plans.evaluation.task import find_task
from resenc_plans.folders import (
    DATASET_JSON,
    PLANS_JSON,
    POSTPROCESSING_JSON,
    POSTPROCESSING_PKL,
    SUMMARY_JSON,
)
from resenc_plans.plans.plans import Plans
from resenc_plans.runs.model_folder import ModelFolder

NNUNET_ORDER = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
"""The order in which nnU-Net looks at configurations; the first of equals wins."""


@dataclass(frozen=True)
class Candidate:
    """A model, or two as an ensemble, and its mean foreground Dice in the cross-validation."""

    identifier: str
    models: tuple[ModelFolder, ...]
    folder: Path
    """Where its predictions of all folds lie."""
    dice: float


@dataclass(frozen=True)
class Selection:
    """What was considered, and what is best."""

    candidates: tuple[Candidate, ...]
    best: Candidate
    folds: tuple[str, ...]
    ensembles: bool
    """Whether ensembles were allowed."""
    determination: Determination
    """The post-processing that suits the best one."""
    notes: tuple[str, ...]
    """Ensembles that could not be tried, and why."""

    def to_dict(self) -> dict[str, Any]:
        """The document that nnU-Net writes to inference_information.json."""
        models = dict.fromkeys(model for candidate in self.candidates for model in candidate.models)
        return {
            "all_results": {c.identifier: c.dice for c in sorted(self.candidates, key=_name)},
            "best_model_or_ensemble": {
                "postprocessing_file": str(self.best.folder / POSTPROCESSING_PKL),
                "result_on_crossval_post_pp": self.determination.after.foreground_mean["Dice"],
                "result_on_crossval_pre_pp": self.best.dice,
                "selected_model_or_models": [
                    {
                        "configuration": model.configuration,
                        "plans_identifier": model.plans,
                        "trainer": model.trainer,
                    }
                    for model in self.best.models
                ],
                "some_plans_file": str(self.best.folder / PLANS_JSON),
            },
            "considered_models": [
                {
                    "configuration": model.configuration,
                    "plans": model.plans,
                    "trainer": model.trainer,
                }
                for model in models
            ],
            "dataset_name_or_id": self.best.models[0].folder.parent.name,
            "ensembling_allowed": self.ensembles,
            "folds": [int(fold) if fold.isdigit() else fold for fold in self.folds],
        }


def in_nnunet_order(models: Sequence[ModelFolder]) -> tuple[ModelFolder, ...]:
    """Models by configuration as nnU-Net orders them, other configurations last, then by name."""

    def place(model: ModelFolder) -> tuple[str, int, str]:
        known = model.configuration in NNUNET_ORDER
        position = NNUNET_ORDER.index(model.configuration) if known else len(NNUNET_ORDER)
        return model.trainer, position, model.identifier

    return tuple(sorted(models, key=place))


def select_configuration(
    models: Sequence[ModelFolder],
    references: Path,
    folds: Sequence[str],
    *,
    ensembles: bool = True,
    workers: int | None = None,
    on_candidate: Callable[[str], object] = lambda _: None,
) -> Selection:
    """Find the model, or the pair as an ensemble, with the highest mean foreground Dice.

    The models' validation predictions of the folds are collected and scored, pairs are averaged,
    and for the best one post-processing is determined and applied, as in nnU-Net's
    `find_best_configuration`; the folders that it writes are written. Of equals the first wins, and
    single models come before ensembles. Pairs without probabilities are passed over with a note.
    `on_candidate` is called with each identifier that is done.

    Raises
    ------
    DatasetError
        A fold has no validation predictions, a case cannot be scored, or no Dice is defined.
    """
    candidates: list[Candidate] = []
    notes: list[str] = []
    for model in models:
        folder, summary = merge_folds(model, references, folds, workers=workers)
        dice = summary.foreground_mean["Dice"]
        candidates.append(Candidate(model.identifier, (model,), folder, dice))
        on_candidate(model.identifier)
    for first, second in combinations(models, 2) if ensembles else ():
        name = ensemble_name(first, second, folds)
        try:
            folder, summary = merge_ensemble(first, second, references, folds, workers=workers)
        except MissingProbabilitiesError as error:
            if str(error) not in notes:
                notes.append(str(error))
        else:
            dice = summary.foreground_mean["Dice"]
            candidates.append(Candidate(name, (first, second), folder, dice))
        on_candidate(name)
    scored = [candidate for candidate in candidates if not math.isnan(candidate.dice)]
    if not scored:
        raise DatasetError("No candidate has a mean Dice: a label is in none of the cases.")
    best = max(scored, key=lambda candidate: candidate.dice)
    determination = _postprocess(best, references, workers)
    return Selection(tuple(candidates), best, tuple(folds), ensembles, determination, tuple(notes))


def instructions(selection: Selection) -> str:
    """The commands that predict new cases with what was selected, to be pasted into a shell."""
    models, dataset = selection.best.models, selection.best.models[0].folder.parent.name
    folds = " ".join(selection.folds)
    outputs = [f"OUTPUT_FOLDER_MODEL_{n}" for n in range(1, len(models) + 1)]
    if len(models) == 1:
        outputs = ["OUTPUT_FOLDER"]
    lines = ["# Predict like this:"]
    for model, output in zip(models, outputs, strict=True):
        of_model = f"-d {dataset} -p {model.plans} -f {folds} -tr {model.trainer}"
        options = " --probabilities" if len(models) > 1 else ""
        plan = Plans.load(model.plans_json)
        if model.configuration in plan.configurations:
            previous = plan.resolve(model.configuration).previous_stage
            if previous is not None:
                stage = f"{output}_PREVIOUS_STAGE"
                lines.append(
                    f"resenc-plans predict -i INPUT_FOLDER -o {stage} -c {previous} {of_model}"
                )
                options += f" -prev_stage_predictions {stage}"
        lines.append(
            f"resenc-plans predict -i INPUT_FOLDER -o {output} -c {model.configuration} "
            f"{of_model}{options}"
        )
    if len(models) > 1:
        lines += [
            "# An ensemble is best; average the predictions:",
            f"resenc-plans ensemble {' '.join(outputs)} -o OUTPUT_FOLDER",
        ]
    if selection.determination.postprocessing.steps:
        rules = selection.best.folder / POSTPROCESSING_JSON
        lines += [
            "# Then post-process them:",
            f"resenc-plans postprocess OUTPUT_FOLDER --apply {rules} -o OUTPUT_FOLDER_PP",
        ]
    else:
        lines.append("# No post-processing: it did not raise the Dice.")
    return "\n".join(lines) + "\n"


def _name(candidate: Candidate) -> str:
    return candidate.identifier


def _postprocess(best: Candidate, references: Path, workers: int | None) -> Determination:
    task = find_task(best.folder, dataset=best.folder / DATASET_JSON)
    found = determine_postprocessing(best.folder, references, task, workers=workers)
    save_postprocessing(found, best.folder)
    target = best.folder / "postprocessed"
    apply_postprocessing(
        found.postprocessing, best.folder, target,
        file_ending=task.file_ending, reader=task.reader, workers=workers,
    )  # fmt: skip
    found.after.moved_to(target).save(target / SUMMARY_JSON)
    return found
