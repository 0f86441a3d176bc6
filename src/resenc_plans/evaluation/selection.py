"""Choose among trained configurations and their ensembles by cross-validation."""

import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from resenc_plans.errors import EvaluationError, MissingProbabilitiesError
from resenc_plans.evaluation.cross_validation import (
    ensemble_name,
    fault_of_validation,
    merge_ensemble,
    merge_folds,
    raise_problems,
)
from resenc_plans.evaluation.postprocessing.postprocess import Determination, postprocess
from resenc_plans.evaluation.summary import Summary
from resenc_plans.execution.cases import Progress, no_progress
from resenc_plans.files import replace_file, write_json
from resenc_plans.folders import (
    DATASET_JSON,
    GROUND_TRUTH,
    INFERENCE_INFORMATION,
    INFERENCE_INSTRUCTIONS,
    PLANS_JSON,
    POSTPROCESSING_JSON,
    POSTPROCESSING_PKL,
    PREPROCESSED,
    RAW,
    environment_folder,
)
from resenc_plans.plans.plans import Plans
from resenc_plans.reprs import card, listed
from resenc_plans.runs.comparability import RunComparison, compare_all_runs
from resenc_plans.runs.find_model import common_folds, find_dataset_results, find_models
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.words import counted

NNUNET_ORDER = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
"""The order in which nnU-Net looks at configurations; the first of equals wins."""


@dataclass(frozen=True)
class Candidate:
    """A model, or two as an ensemble, and its mean foreground Dice in the cross-validation."""

    identifier: str
    models: tuple[ModelFolder, ...]
    folder: Path
    """The folder of its predictions of all folds."""
    dice: float


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was compared, and what is best."""

    candidates: tuple[Candidate, ...]
    best: Candidate
    folds: tuple[str, ...]
    ensembles: bool
    """Whether ensembles were allowed."""
    determination: Determination
    """The post-processing that suits the best one."""
    notes: tuple[str, ...]
    """Ensembles that could not be tried, and why."""
    comparisons: tuple[RunComparison, ...] = ()
    """How the runs of each two models differ."""
    written: tuple[Path, ...] = ()
    """The files that `select_models` wrote."""

    def __repr__(self) -> str:
        others = {c.identifier: f"Dice {c.dice:.4f}" for c in self.candidates if c != self.best}
        return card(
            f"Selection among {counted(len(self.candidates), 'candidate')}, folds "
            f"{listed(self.folds)}",
            {f"best: {self.best.identifier}": f"Dice {self.best.dice:.4f}", **others},
        )

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


def select_models(
    dataset: int | str | os.PathLike[str],
    *,
    trainers: Collection[str] = (),
    plans: Collection[str] = (),
    configurations: Collection[str] = (),
    folds: Sequence[int | str] = (),
    ensembles: bool = True,
    allow_differences: bool = False,
    references: str | os.PathLike[str] | None = None,
    results: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> Selection:
    """Find a dataset's best trained model, or pair of models, and write how to predict with it.

    Equals nnU-Net's `find_best_configuration`: inference_information.json and
    inference_instructions.txt are written into the dataset's folder of results, and the folders
    that `compare_models` makes.

    Parameters
    ----------
    dataset
        Its id or name in the results folder, or a path, see `find_dataset_results`.
    trainers, plans, configurations
        Names that restrict the models; by default all that are trained are compared.
    folds
        The folds to compare on; by default those that all of the models have.
    ensembles
        Whether to try pairs of models as well; they need validation with probabilities.
    allow_differences
        Whether to rank models that are not comparable, see `compare_runs`.
    references
        The folder of references; by default labelsTr of the raw dataset, or gt_segmentations of
        the preprocessed one.
    results
        The folder of all results; by default the one that nnUNet_results names.
    workers
        Threads to use; by default one per usable CPU.
    progress
        Shows how far the comparison is, see `resenc_plans.execution.cases.Progress`.

    Raises
    ------
    ModelError
        No model fits, or the models have no fold in common.
    EvaluationError
        The models are not comparable, there are no references, a fold has no validation
        predictions, or not of just the cases that it held out, a case cannot be evaluated, or no
        Dice is defined.
    FileError
        A result cannot be written.
    """
    folder = find_dataset_results(str(dataset), results)
    models = in_nnunet_order(
        find_models(folder, trainers=trainers, plans=plans, configurations=configurations)
    )
    if references is None:
        references = find_references(folder.name)
    names = [str(fold) for fold in folds] or common_folds(models)
    refuse_unpredicted(models, names)
    pairs = len(models) * (len(models) - 1) // 2 if ensembles else 0
    with progress("Comparing", len(models) + pairs) as on_candidate:
        selection = compare_models(
            models, Path(references), names,
            ensembles=ensembles, allow_differences=allow_differences,
            workers=workers, on_candidate=on_candidate,
        )  # fmt: skip
    written = folder / INFERENCE_INFORMATION, folder / INFERENCE_INSTRUCTIONS
    write_json(written[0], selection.to_dict())
    with replace_file(written[1]) as stream:
        stream.write(instructions(selection).encode())
    return replace(selection, written=written)


def refuse_unpredicted(models: Sequence[ModelFolder], folds: Sequence[str]) -> None:
    """Refuse folds that are not validated as a whole, before any work; name those that could be.

    Raises
    ------
    EvaluationError
        A fold of a model has no validation predictions, or not of just the cases that it held out.
    """
    faults = {fold: [fault_of_validation(model, fold) for model in models] for fold in folds}
    complete = [fold for fold in folds if not any(faults[fold])]
    alternative = f", or compare on `folds=` {','.join(complete)}" if complete else ""
    for of_models in faults.values():
        for fault in filter(None, of_models):
            raise EvaluationError(f"{fault}{alternative}.")


def refuse_differences(comparisons: Sequence[RunComparison]) -> None:
    """Refuse to rank models that are not comparable.

    Raises
    ------
    EvaluationError
        Two are not; the message lists how they differ.
    """
    lines = [
        f"{comparison.first.identifier} and {comparison.second.identifier}: {difference}"
        for comparison in comparisons
        for difference in comparison.of_severity("error")
    ]
    if lines:
        raise EvaluationError(
            "The models are not comparable:\n"
            + "\n".join(lines)
            + "\nTrain and validate them alike, or rank them knowingly (`allow_differences=`)."
        )


def find_references(dataset_name: str) -> Path:
    """The folder of a dataset's references, in its raw folder or else in its preprocessed one.

    Raises
    ------
    EvaluationError
        There is neither.
    """
    for variable, name in ((RAW, "labelsTr"), (PREPROCESSED, GROUND_TRUTH)):
        root = environment_folder(variable)
        if root is not None and (root / dataset_name / name).is_dir():
            return root / dataset_name / name
    raise EvaluationError(
        f"{dataset_name}: its references are neither in {RAW} (labelsTr) nor in {PREPROCESSED} "
        f"({GROUND_TRUTH}). Name their folder with `references=`."
    )


def in_nnunet_order(models: Sequence[ModelFolder]) -> tuple[ModelFolder, ...]:
    """Models by configuration as nnU-Net orders them, other configurations last, then by name."""

    def position(model: ModelFolder) -> tuple[str, int, str]:
        is_known = model.configuration in NNUNET_ORDER
        place = NNUNET_ORDER.index(model.configuration) if is_known else len(NNUNET_ORDER)
        return model.trainer, place, model.identifier

    return tuple(sorted(models, key=position))


def compare_models(
    models: Sequence[ModelFolder],
    references: Path,
    folds: Sequence[str],
    *,
    ensembles: bool = True,
    allow_differences: bool = False,
    workers: int | None = None,
    on_candidate: Callable[[str], object] = lambda _: None,
) -> Selection:
    """Find the model, or the pair as an ensemble, with the highest mean foreground Dice.

    The models' validation predictions of the folds are collected and evaluated, pairs are averaged,
    and for the best one post-processing is determined and applied, as in nnU-Net's
    `find_best_configuration`, into the same folders. Of equals the first wins, and single models
    come before ensembles. Pairs without probabilities are skipped with a note.

    Parameters
    ----------
    models
        The trained models, of one dataset.
    references
        The folder of references.
    folds
        The folds whose validation predictions count.
    ensembles
        Whether to try pairs of models as well.
    allow_differences
        Whether to rank models that are not comparable, see `compare_runs`.
    workers
        Threads to use; by default one per usable CPU.
    on_candidate
        Called with the identifier of each finished candidate.

    Raises
    ------
    EvaluationError
        The models are not comparable, a fold has no validation predictions, or not of just the
        cases that it held out, a case cannot be evaluated, or no Dice is defined.
    """
    comparisons = compare_all_runs(models, folds)
    if not allow_differences:
        refuse_differences(comparisons)
    candidates: list[Candidate] = []
    notes: list[str] = []

    def add(name: str, pair: tuple[ModelFolder, ...], merged: tuple[Path, Summary]) -> None:
        folder, summary = merged
        candidates.append(Candidate(name, pair, folder, summary.foreground_mean["Dice"]))

    for model in models:
        add(model.identifier, (model,), merge_folds(model, references, folds, workers=workers))
        on_candidate(model.identifier)
    for pair in combinations(models, 2) if ensembles else ():
        name = ensemble_name(*pair, folds)
        try:
            add(name, pair, merge_ensemble(*pair, references, folds, workers=workers))
        except MissingProbabilitiesError as error:
            if str(error) not in notes:
                notes.append(str(error))
        on_candidate(name)
    scored = [candidate for candidate in candidates if not math.isnan(candidate.dice)]
    if not scored:
        raise EvaluationError("No candidate has a mean Dice: a label is in none of the cases.")
    best = max(scored, key=lambda candidate: candidate.dice)
    determination = postprocess(
        best.folder, references, dataset=best.folder / DATASET_JSON, workers=workers
    )
    raise_problems(best.folder, "post-processed", determination.problems)
    return Selection(
        candidates=tuple(candidates), best=best, folds=tuple(folds), ensembles=ensembles,
        determination=determination, notes=tuple(notes), comparisons=comparisons,
    )  # fmt: skip


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
