"""The final validation of both stages of a cascade is nnU-Net's."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.images.images import read_label
from resenc_plans.evaluation.summary import Summary
from resenc_plans.evaluation.validation import validate_fold
from resenc_plans.inference.predictor import Predictor
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.runs.stages import open_prediction
from resenc_plans.training.batches.batches import PatchBatches
from resenc_plans.training.trainer import Trainer
from resenc_plans.workflows.next_stage import next_stages
from resenc_plans.workflows.stored_prediction import StoredPredictor
from tests.inference.models import CPU_IN_FP32
from tests.interop.conftest import store

SCRIPT = Path(__file__).parent / "validate_with_nnunet.py"
SETTINGS = TrainingSettings(
    epochs=1, iterations=4, validation_iterations=1, workers=0, precision="fp32"
)
TIES = 1e-4
"""Share of voxels where two labels are equally likely, but for rounding."""


@pytest.mark.parametrize(
    ("first", "second"),
    [((1.3, 1.4, 1.5), (1, 1, 1)), ((3.3, 1.65, 1.65), (4, 1, 1))],
    ids=["isotropic", "anisotropic in the second"],
)
def test_both_stages_are_validated_as_nnunet_does(
    peer: Callable[..., str],
    hippocampus: tuple[Path, Plans, Dataset],
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[float, float, float],
    second: tuple[int, int, int],
) -> None:
    folder, plan, dataset = hippocampus
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "nnUNet_results"))
    raw = Dataset.load(str(shared / "data" / folder.name))
    names = [
        path.stem
        for path in (folder / plan.resolve("3d_fullres_small").data_identifier).glob("*.pkl")
    ]
    (folder / "gt_segmentations").mkdir()
    for name in names:
        shutil.copy(
            raw.folder / "labelsTr" / f"{name}{raw.json.file_ending}", folder / "gt_segmentations"
        )
    document = plan.to_dict()
    document["configurations"] |= {
        "first": {
            "inherits_from": "3d_fullres_small",
            "data_identifier": "first",
            "spacing": first,
            "next_stage": "second",
        },
        "second": {
            "inherits_from": "3d_fullres_small",
            "data_identifier": "second",
            "spacing": second,
            "previous_stage": "first",
        },
    }
    path = folder / "nnUNetResEncUNetMPlans.json"
    Plans.from_dict(document).save(path)
    plan = Plans.load(path)
    for stage in ("first", "second"):
        store(plan.resolve(stage), raw, names, folder)

    models = tmp_path / "nnUNet_results" / folder.name
    for configuration, fold in (("first", "all"), ("second", 0)):
        config = plan.resolve(configuration)
        model = models / f"nnUNetTrainer__nnUNetResEncUNetMPlans__{configuration}"
        run = Trainer(config, dataset, fold, SETTINGS, run_folder=RunFolder(model, fold))
        run.fit()
        predicted = (
            models / "nnUNetTrainer__nnUNetResEncUNetMPlans__first/predicted_next_stage/second"
        )
        assert isinstance(run.validation_batches, PatchBatches)
        cases = names if fold == "all" else run.validation_batches.source.cases
        predictor = Predictor.from_folder(model, (fold,), settings=CPU_IN_FP32)
        cases_of = StoredPredictor(
            predictor,
            CaseStore(folder / config.data_identifier),
            partial(open_prediction, predicted) if configuration == "second" else None,
            next_stages(predictor, folder),
        )
        found = validate_fold(model, fold, cases, folder / "gt_segmentations", cases_of)
        assert found.problems == ()
        validation = model / f"fold_{fold}" / "validation"
        mine = {p.name: read_label(p).array for p in validation.glob("*.nii.gz")}
        stages = {p.name: next_stage_labels(p) for p in predicted.glob("*.b2nd")}
        assert sorted(mine) == sorted(f"{case}.nii.gz" for case in cases)
        shutil.rmtree(validation)
        if configuration == "first":
            shutil.rmtree(predicted)
        peer(SCRIPT, tmp_path, model, str(fold))
        for name, labels in mine.items():
            assert (read_label(validation / name).array != labels).mean() < TIES
        for name, labels in stages.items():
            theirs = next_stage_labels(predicted / name)
            assert theirs.dtype == labels.dtype
            assert (theirs != labels).mean() < TIES
            assert len(np.unique(labels)) > 1
        assert found.summary is not None
        summary = Summary.load(validation / "summary.json")
        assert summary.to_dict()["foreground_mean"] == pytest.approx(
            found.summary.foreground_mean, rel=1e-3
        )


def next_stage_labels(path: Path) -> np.ndarray:
    import blosc2

    return blosc2.open(str(path), mode="r")[:]
