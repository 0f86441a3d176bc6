"""Made-up folders of trained models, as far as comparisons look at them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resenc_plans.runs.folds import FoldCases
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_record import OwnCode, RunRecord
from resenc_plans.runs.validation_record import ValidationRecord

CONFIGURATION: dict[str, Any] = {
    "patch_size": [8, 16, 16],
    "spacing": [1.0, 1.0, 1.0],
    "batch_size": 2,
    "normalization_schemes": ["ZScoreNormalization"],
}
DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "liver": 1},
    "file_ending": ".nii.gz",
}
CASES = FoldCases(train=("a", "b"), val=("c", "d"))


def write_model(
    parent: Path,
    name: str = "nnUNetTrainer__P__3d_fullres",
    *,
    folds: Sequence[int | str] = (0,),
    settings: Mapping[str, Any] | None = None,
    precision: str = "float32",
    code: Mapping[str, OwnCode] | None = None,
    configuration: Mapping[str, Any] | None = None,
    cases: FoldCases = CASES,
    predicted: Sequence[str] = ("c", "d"),
    reference_voxels: int = 10,
    mirror_axes: Sequence[int] = (0, 1, 2),
    step_size: float = 0.5,
    postprocessing: Sequence[Any] = (),
    labels: Mapping[str, int] | None = None,
) -> ModelFolder:
    """A model whose folds were all trained and validated like that, by us."""
    model = _described(parent / name, labels)
    for fold in folds:
        run = model.run(fold)
        write_validation(run.validation, predicted, reference_voxels)
        RunRecord(
            name=model.trainer,
            configuration={**CONFIGURATION, **(configuration or {})},
            settings=dict(settings or {}),
            precision=precision,
            code=dict(code or {}),
        ).save(run.path)
        cases.save(run.path)
        ValidationRecord(
            mirror_axes=tuple(mirror_axes),
            step_size=step_size,
            checkpoint="checkpoint_final.pth",
            precision=precision,
            postprocessing=tuple(postprocessing),
        ).save(run.validation)
    return model


def write_nnunets_model(parent: Path, name: str, debug: Mapping[str, str]) -> ModelFolder:
    """A model with one fold, as nnU-Net leaves it."""
    model = _described(parent / name)
    run = model.run(0)
    write_validation(run.validation, ("c", "d"), 10)
    (run.path / "debug.json").write_text(json.dumps(debug))
    return model


def write_validation(folder: Path, cases: Sequence[str], voxels: int) -> None:
    """Predictions, and a summary.json whose references have so many voxels of label 1."""
    folder.mkdir(parents=True)
    for case in cases:
        (folder / f"{case}.nii.gz").touch()
    entries = [
        {
            "prediction_file": f"pred/{case}.nii.gz",
            "reference_file": f"ref/{case}.nii.gz",
            "metrics": {"1": {"n_ref": voxels}},
        }
        for case in cases
    ]
    (folder / "summary.json").write_text(json.dumps({"metric_per_case": entries}))


def _described(folder: Path, labels: Mapping[str, int] | None = None) -> ModelFolder:
    folder.mkdir(parents=True)
    document = DATASET if labels is None else DATASET | {"labels": labels}
    (folder / "dataset.json").write_text(json.dumps(document))
    (folder / "plans.json").write_text('{"configurations": {}}')
    return ModelFolder(folder)
