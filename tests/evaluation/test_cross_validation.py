"""Validation predictions of all folds, collected in one folder."""

import shutil
from pathlib import Path

import pytest

from resenc_plans.errors import EvaluationError, FileError
from resenc_plans.evaluation.cross_validation import merge_ensemble, merge_folds
from resenc_plans.evaluation.selection import in_nnunet_order
from resenc_plans.runs.find_model import find_models


def test_results_that_cannot_be_replaced_stay(
    two_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model, _) = in_nnunet_order(find_models(two_models))
    references = two_models.parent.parent / "ref"
    target, _ = merge_folds(model, references, ("0", "1"))
    before = sorted(path.name for path in target.iterdir())
    replace = Path.replace

    def failing(path: Path, to: Path) -> Path:
        if to == target:
            raise OSError("the disk is gone")
        return replace(path, to)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(FileError, match=r"crossval_results_folds_0_1: .*the disk is gone"):
        merge_folds(model, references, ("0", "1"))
    assert sorted(path.name for path in target.iterdir()) == before
    assert not list(model.folder.glob(".*"))


def test_what_is_not_trained_is_named(two_models: Path) -> None:
    (model, _) = in_nnunet_order(find_models(two_models))
    references = two_models.parent.parent / "ref"
    with pytest.raises(EvaluationError, match="Train fold 4 of nnUNetTrainer__nnUNetPlans__2d"):
        merge_folds(model, references, ("0", "4"))
    shutil.copy(model.folder / "fold_0/validation/a.nii.gz", model.folder / "fold_1/validation")
    with pytest.raises(EvaluationError, match="in the validation of more than one fold"):
        merge_folds(model, references, ("0", "1"))
    (references / "b.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"(?s)not all cases can be scored.*b\.nii\.gz"):
        merge_folds(model, references, ("0",))
    assert not (model.folder / "crossval_results_folds_0").exists()


def test_an_ensemble_is_not_written_behind_a_link(two_models: Path, tmp_path: Path) -> None:
    models = in_nnunet_order(find_models(two_models))
    for model in models:
        for number in ("0", "1"):
            for path in models[0].run(number).validation.glob("*.np*"):
                if model is not models[0]:
                    shutil.copy(path, model.run(number).validation)
    (tmp_path / "mine").mkdir()
    (two_models / "ensembles").symlink_to(tmp_path / "mine")
    with pytest.raises(FileError, match="symbolic link"):
        merge_ensemble(models[1], models[0], tmp_path / "ref", ("0", "1"))
    assert list((tmp_path / "mine").iterdir()) == []
