"""From a raw dataset to a validated fold in two calls."""

import json
from pathlib import Path

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.demo import write_phantom
from resenc_plans.errors import ConfigurationError, PlanningError, TrainingError, UsageError
from resenc_plans.planning.settings import PlanningSettings
from resenc_plans.plans.architectures import RESIDUAL_ENCODER_UNET
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.training.history import Progress
from resenc_plans.workflows.plan_and_preprocess import PreparedDataset, plan_and_preprocess
from resenc_plans.workflows.train_fold import train_fold
from tests.networks.configurations import unet_arguments

pytestmark = pytest.mark.slow

SHORT = TrainingSettings(
    epochs=1, iterations=1, validation_iterations=1, workers=0, precision="fp32"
)
TINY = {"n_blocks_per_stage": [1, 1], "features_per_stage": [4, 8]}


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    return Dataset.load(write_phantom(tmp_path / "Dataset900_Phantom", cases=5))


@pytest.fixture
def prepared(dataset: Dataset, tmp_path: Path) -> PreparedDataset:
    return plan_and_preprocess(
        dataset,
        PlanningSettings(preset="M"),
        configurations=("3d_fullres",),
        preprocessed=tmp_path / "preprocessed" / dataset.name,
        workers=1,
    )


def tiny(plans: Plans) -> ResolvedConfiguration:
    plans.derive(
        "tiny",
        from_="3d_fullres",
        patch_size=[16, 48, 48],
        batch_size=2,
        architecture={
            "network_class_name": RESIDUAL_ENCODER_UNET,
            "arch_kwargs": unet_arguments(3, 2, **TINY),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    )
    return plans.resolve("tiny")


def test_a_dataset_is_prepared_and_a_fold_trained_and_validated(
    dataset: Dataset, prepared: PreparedDataset
) -> None:
    [report] = prepared.reports.values()
    assert len(report.stored) == 5
    events: list[Progress] = []
    trained = train_fold(
        tiny(prepared.plans),
        dataset,
        settings=SHORT,
        device="cpu",
        probabilities=True,
        on_progress=events.append,
    )
    assert trained.training.is_complete
    assert trained.validation is not None
    assert trained.validation.evaluation.problems == ()
    summary = json.loads((trained.folder.validation / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 1
    assert len(list(trained.folder.validation.glob("*.npz"))) == 1
    assert [event.epoch for event in events if event.finished] == [0]


def test_a_fold_resumes_and_notes_say_where_it_starts(
    dataset: Dataset, prepared: PreparedDataset
) -> None:
    config = tiny(prepared.plans)
    notes: list[str] = []
    for resume in (True, True, False):
        train_fold(
            config,
            dataset,
            settings=SHORT,
            device="cpu",
            resume=resume,
            overwrite=not resume,
            validation=False,
            on_note=notes.append,
        )
    first, second, third = notes
    assert "has no checkpoint yet" in first
    assert second.endswith("is complete with 1 epoch: nothing is left to train.")
    assert third.startswith("The earlier run of ")
    with pytest.raises(TrainingError, match=r"fold_0: is trained\. .*`overwrite=`.*replaced"):
        train_fold(config, dataset, settings=SHORT, device="cpu")


def test_findings_of_the_plans_are_told_at_the_start(
    dataset: Dataset, prepared: PreparedDataset
) -> None:
    tiny(prepared.plans)
    document = prepared.plans.to_dict()
    document["configurations"]["tiny"]["batchsize"] = 4
    document["configurations"]["3d_fullres"]["patchsize"] = [8, 8, 8]
    slipped = Plans.from_dict(document, path=prepared.plans.path)
    notes: list[str] = []
    train_fold(
        slipped.resolve("tiny"),
        dataset,
        settings=SHORT,
        device="cpu",
        validation=False,
        on_note=notes.append,
    )
    assert [note for note in notes if "[P101]" in note] == [
        f"{prepared.plans.path}: tiny: batchsize is unknown, so it has no effect. Did you mean "
        "batch_size? [P101]"
    ]


def test_plans_that_could_not_predict_the_held_out_cases_are_refused_before_the_training(
    dataset: Dataset, prepared: PreparedDataset
) -> None:
    tiny(prepared.plans)
    slipped = Plans.from_dict(
        prepared.plans.to_dict() | {"image_reader_writer": "SimpelITKIO"}, path=prepared.plans.path
    )
    with pytest.raises(ConfigurationError, match=r"'SimpelITKIO' \(did you mean SimpleITKIO"):
        train_fold(slipped.resolve("tiny"), dataset, settings=SHORT, device="cpu")


def test_arguments_that_contradict_each_other_are_refused(
    dataset: Dataset, prepared: PreparedDataset, tmp_path: Path
) -> None:
    config = tiny(prepared.plans)
    with pytest.raises(UsageError, match="contradict each other"):
        train_fold(config, dataset, resume=True, pretrained=tmp_path / "other.pth")
    with pytest.raises(UsageError, match="needs the validation"):
        train_fold(config, dataset, validation=False, probabilities=True)
    with pytest.raises(UsageError, match="contradict each other"):
        train_fold(config, dataset, resume=True, overwrite=True)


def test_plans_are_not_replaced_by_others_unless_that_is_allowed(
    dataset: Dataset, prepared: PreparedDataset
) -> None:
    path = prepared.plans.path
    assert path is not None
    document = prepared.plans.to_dict()
    document["configurations"]["3d_fullres"]["batch_size"] += 1
    document["configurations"]["own"] = {"inherits_from": "3d_fullres", "batch_size": 3}
    path.write_text(json.dumps(document))
    folder = path.parent
    with pytest.raises(PlanningError, match=r"(?s)3d_fullres: batch_size.*`overwrite=`"):
        plan_and_preprocess(
            dataset, PlanningSettings(preset="M"), configurations=("own",), preprocessed=folder
        )
    again = plan_and_preprocess(
        dataset,
        PlanningSettings(preset="M"),
        configurations=("own",),
        preprocessed=folder,
        overwrite=True,
        workers=1,
    )
    [report] = again.reports.values()
    assert len(report.unchanged) == 5
    assert "own" in again.plans.configurations
