"""The end of `train`: held-out cases are predicted and scored, as nnU-Net does."""

from typing import TYPE_CHECKING

from resenc_plans.cli.render import note, say
from resenc_plans.errors import DatasetError

if TYPE_CHECKING:
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.plans.models import ResolvedConfiguration
    from resenc_plans.training.run_folder import RunFolder


def validate(
    folder: "RunFolder",
    config: "ResolvedConfiguration",
    dataset: "Dataset",
    device: str | None,
    allow_import: tuple[str, ...],
) -> None:
    """Predict the fold's held-out cases from their images, score them, prepare a next stage."""
    from resenc_plans.evaluation.next_stage import predict_next_stages
    from resenc_plans.evaluation.validation import validate_fold
    from resenc_plans.inference.predictor import Predictor
    from resenc_plans.preprocessing.ground_truth import GROUND_TRUTH
    from resenc_plans.training.folds import fold_cases
    from resenc_plans.training.usual_parts import open_store, preprocessed_folder

    preprocessed = preprocessed_folder(config)
    held_out = fold_cases(preprocessed, open_store(config), folder.fold).val
    cases = [case for case in dataset.cases if case.name in set(held_out) and case.images]
    if config.previous_stage is not None:
        note("A cascade's second stage is not validated yet; predict and evaluate it by hand.")
        return
    if not cases:
        raise DatasetError(
            f"{dataset.folder}: has no images, so the held-out cases cannot be predicted. Name the "
            "raw dataset, or train with --no-validation."
        )
    predictor = Predictor.from_folder(
        folder.model, (folder.fold,), device=device, allow_import=allow_import, on_note=note
    )
    references = preprocessed / GROUND_TRUTH
    if not references.is_dir():
        references = dataset.folder / "labelsTr"
    found = validate_fold(folder.model, folder.fold, cases, references, predictor)
    for problem in found.problems:
        note(f"{problem.case}: {problem.reason}")
    if found.summary is not None:
        mean = found.summary.foreground_mean["Dice"]
        target = folder.path / "validation" / "summary.json"
        say(f"Dice of {len(cases)} held-out cases: {mean:.4f} ({target})")
    for stage in predict_next_stages(predictor, preprocessed, folder.model, held_out):
        say(f"Predicted {len(held_out)} cases for {stage}.")
