"""Choosing among models."""

import shutil
from pathlib import Path

import pytest

from resenc_plans.errors import EvaluationError, ModelError
from resenc_plans.evaluation.cross_validation import merge_folds
from resenc_plans.evaluation.selection import compare_models, in_nnunet_order, instructions
from resenc_plans.runs.find_model import find_models
from resenc_plans.runs.model_folder import ModelFolder
from tests.evaluation.trained_folders import write_model, write_references

FOLDS = (("a", "b"), ("c",))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Results of two models; the second is better, and has no probabilities."""
    plans = tmp_path / "nnUNetPlans.json"
    plans.write_text('{"configurations": {}}')
    write_references(tmp_path / "ref", ["a", "b", "c"])
    folder = tmp_path / "results" / "Dataset009_Small"
    for name, noise, probabilities in (("2d", 0.6, True), ("3d_fullres", 0.1, False)):
        write_model(
            folder / f"nnUNetTrainer__nnUNetPlans__{name}", plans, tmp_path / "ref", FOLDS,
            noise=noise, seed=1, dataset_name=folder.name, probabilities=probabilities,
        )  # fmt: skip
    return folder


def test_the_best_model_wins_and_missing_probabilities_are_noted(dataset: Path) -> None:
    models = in_nnunet_order(find_models(dataset))
    done: list[str] = []
    found = compare_models(
        models, dataset.parent.parent / "ref", ("0", "1"), on_candidate=done.append
    )
    assert found.best.identifier.endswith("__3d_fullres")
    assert len(done) == 3
    (note,) = found.notes
    assert "has no probabilities" in note
    text = instructions(found)
    assert "predict -i INPUT_FOLDER -o OUTPUT_FOLDER -c 3d_fullres -d Dataset009_Small" in text
    assert "resenc-plans postprocess OUTPUT_FOLDER --apply" in text
    assert not list(dataset.rglob(".*"))


def test_a_cascade_is_preceded_by_its_first_stage(dataset: Path, shared: Path) -> None:
    (model, other) = in_nnunet_order(find_models(dataset))
    shutil.rmtree(other.folder)
    cascade = model.folder.with_name("nnUNetTrainer__nnUNetPlans__3d_cascade_fullres")
    model.folder.rename(cascade)
    plans = shared / "oracle/planning/BTCV__ExperimentPlanner__8.json"
    shutil.copy(plans, cascade / "plans.json")
    found = compare_models(find_models(dataset), dataset.parent.parent / "ref", ("0", "1"))
    first, second = instructions(found).splitlines()[1:3]
    assert "-o OUTPUT_FOLDER_PREVIOUS_STAGE -c 3d_lowres" in first
    assert "-c 3d_cascade_fullres" in second
    assert second.endswith("-prev_stage_predictions OUTPUT_FOLDER_PREVIOUS_STAGE")


def test_results_that_cannot_be_replaced_stay(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model, _) = in_nnunet_order(find_models(dataset))
    references = dataset.parent.parent / "ref"
    target, _ = merge_folds(model, references, ("0", "1"))
    before = sorted(path.name for path in target.iterdir())
    rename = Path.rename

    def failing(path: Path, to: Path) -> Path:
        if path.name.endswith("-new"):
            raise OSError("the disk is gone")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        merge_folds(model, references, ("0", "1"))
    assert sorted(path.name for path in target.iterdir()) == before
    assert not list(model.folder.glob(".*"))


def test_the_first_of_equals_wins(dataset: Path) -> None:
    models = in_nnunet_order(find_models(dataset))
    shutil.rmtree(models[1].folder)
    shutil.copytree(models[0].folder, models[1].folder)
    found = compare_models(models, dataset.parent.parent / "ref", ("0", "1"))
    assert found.best.models == (models[0],)


def test_what_is_not_trained_is_named(dataset: Path) -> None:
    (model, _) = in_nnunet_order(find_models(dataset))
    references = dataset.parent.parent / "ref"
    with pytest.raises(EvaluationError, match="Train fold 4 of nnUNetTrainer__nnUNetPlans__2d"):
        merge_folds(model, references, ("0", "4"))
    shutil.copy(model.folder / "fold_0/validation/a.nii.gz", model.folder / "fold_1/validation")
    with pytest.raises(EvaluationError, match="in the validation of more than one fold"):
        merge_folds(model, references, ("0", "1"))
    (references / "b.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"(?s)not all cases can be scored.*b\.nii\.gz"):
        merge_folds(model, references, ("0",))
    assert not (model.folder / "crossval_results_folds_0").exists()


def test_models_are_found_by_their_parts(dataset: Path) -> None:
    (model,) = find_models(dataset, configurations=["2d"])
    assert (model.trainer, model.plans, model.configuration) == (
        "nnUNetTrainer",
        "nnUNetPlans",
        "2d",
    )
    assert model.folds() == ("0", "1")
    with pytest.raises(ModelError, match=r"no trained model fits\. There is: nnUNetTrainer"):
        find_models(dataset, plans=["other"])
    with pytest.raises(ModelError, match="nothing was trained"):
        find_models(dataset / "no")


def test_configurations_come_in_nnunets_order() -> None:
    names = ("zebra", "3d_lowres", "3d_fullres", "2d", "antelope")
    models = [ModelFolder(Path(f"T__P__{name}")) for name in names]
    assert [model.configuration for model in in_nnunet_order(models)] == [
        "2d",
        "3d_fullres",
        "3d_lowres",
        "antelope",
        "zebra",
    ]
