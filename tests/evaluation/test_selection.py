"""Choosing among models."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import EvaluationError, ModelError
from resenc_plans.evaluation import selection
from resenc_plans.evaluation.cross_validation import merge_folds
from resenc_plans.evaluation.postprocessing.postprocess import Determination, postprocess
from resenc_plans.evaluation.selection import (
    compare_models,
    in_nnunet_order,
    instructions,
    select_models,
)
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.runs.find_model import find_models
from resenc_plans.runs.folds import FoldCases
from resenc_plans.runs.model_folder import ModelFolder
from tests.runs.test_run_record import RECORD


def test_the_best_model_wins_and_missing_probabilities_are_noted(two_models: Path) -> None:
    models = in_nnunet_order(find_models(two_models))
    done: list[str] = []
    selected = compare_models(
        models, two_models.parent.parent / "ref", ("0", "1"), on_candidate=done.append
    )
    assert selected.best.identifier.endswith("__3d_fullres")
    assert len(done) == 3
    (note,) = selected.notes
    assert "has no probabilities" in note
    text = instructions(selected)
    assert "predict -i INPUT_FOLDER -o OUTPUT_FOLDER -c 3d_fullres -d Dataset009_Small" in text
    assert "resenc-plans postprocess OUTPUT_FOLDER --apply" in text
    assert not list(two_models.rglob(".*"))


def test_models_that_are_not_comparable_are_ranked_only_knowingly(two_models: Path) -> None:
    models = in_nnunet_order(find_models(two_models))
    for model, epochs in zip(models, (12, 3), strict=True):
        for fold in ("0", "1"):
            RECORD.model_copy(update={"settings": {"epochs": epochs}}).save(model.run(fold).path)
    references = two_models.parent.parent / "ref"
    with pytest.raises(
        EvaluationError,
        match=r"not comparable:\n.*__2d and .*__3d_fullres: R001 epochs and iterations: "
        r"12 x 250 and 3 x 250 \(folds 0, 1\)\n.*`allow_differences=`",
    ):
        compare_models(models, references, ("0", "1"), ensembles=False)
    assert not list(two_models.rglob("crossval_results*"))
    selected = compare_models(
        models, references, ("0", "1"), ensembles=False, allow_differences=True
    )
    assert len(selected.candidates) == 2
    [comparison] = selected.comparisons
    assert not comparison.is_comparable


def test_of_a_fold_that_is_only_begun_the_message_names_those_that_can_be_compared(
    two_models: Path,
) -> None:
    references = two_models.parent.parent / "ref"
    for path in two_models.glob("*__2d/fold_1/validation"):
        shutil.rmtree(path)
    with pytest.raises(EvaluationError, match=r"Train fold 1 of .*__2d first, or .*`folds=` 0\."):
        select_models(9, results=two_models.parent, references=references)
    assert not list(two_models.rglob("crossval_results*"))


def test_a_fold_counts_only_if_its_held_out_cases_are_predicted_and_no_others(
    two_models: Path,
) -> None:
    references = two_models.parent.parent / "ref"
    model, other = in_nnunet_order(find_models(two_models))
    FoldCases(train=("c",), val=("a", "b")).save(model.run(0).path)
    compare_models([model, other], references, ("0", "1"), ensembles=False)
    (model.run(0).validation / "b.nii.gz").unlink()
    message = r"fold_0/validation: lacks the \.nii\.gz files of 1 of 2 held-out cases: b\. Validate"
    with pytest.raises(EvaluationError, match=rf"{message}.*, or compare on `folds=` 1\."):
        select_models(9, results=two_models.parent, references=references)
    with pytest.raises(EvaluationError, match=message):
        merge_folds(model, references, ("0",))
    FoldCases(train=("a", "b"), val=("d",)).save(model.run(0).path)
    (model.run(0).validation / "d.nii.gz").write_bytes(b"")
    with pytest.raises(
        EvaluationError, match=r"holds \.nii\.gz files of cases that .*: a\. Move them away"
    ):
        select_models(9, results=two_models.parent, references=references)


def test_probabilities_of_some_held_out_cases_make_no_ensemble(two_models: Path) -> None:
    references = two_models.parent.parent / "ref"
    model, other = in_nnunet_order(find_models(two_models))
    FoldCases(train=("c",), val=("a", "b")).save(model.run(0).path)
    for fold in ("0", "1"):
        for path in model.run(fold).validation.glob("*.npz"):
            shutil.copy(path, other.run(fold).validation)
        (other.run(0).validation / "b.npz").unlink(missing_ok=True)
    (model.run(0).validation / "b.npz").unlink()
    selection = compare_models([model, other], references, ("0", "1"))
    [note] = selection.notes
    assert "lacks the .npz files of 1 of 2 held-out cases: b. Validate" in note


def test_a_cascade_is_preceded_by_its_first_stage(two_models: Path, shared: Path) -> None:
    (model, other) = in_nnunet_order(find_models(two_models))
    shutil.rmtree(other.folder)
    cascade = model.folder.with_name("nnUNetTrainer__nnUNetPlans__3d_cascade_fullres")
    model.folder.rename(cascade)
    plans = shared / "oracle/planning/BTCV__ExperimentPlanner__8.json"
    shutil.copy(plans, cascade / "plans.json")
    selected = compare_models(find_models(two_models), two_models.parent.parent / "ref", ("0", "1"))
    first, second = instructions(selected).splitlines()[1:3]
    assert "-o OUTPUT_FOLDER_PREVIOUS_STAGE -c 3d_lowres" in first
    assert "-c 3d_cascade_fullres" in second
    assert second.endswith("-prev_stage_predictions OUTPUT_FOLDER_PREVIOUS_STAGE")


def test_the_first_of_equals_wins(two_models: Path) -> None:
    models = in_nnunet_order(find_models(two_models))
    shutil.rmtree(models[1].folder)
    shutil.copytree(models[0].folder, models[1].folder)
    selected = compare_models(models, two_models.parent.parent / "ref", ("0", "1"))
    assert selected.best.models == (models[0],)


def test_a_case_that_cannot_be_post_processed_is_named(
    two_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_a_problem(*arguments: Any, **options: Any) -> Determination:
        problem = CaseProblem("a.nii.gz", "the disk is full")
        return replace(postprocess(*arguments, **options), problems=(problem,))

    monkeypatch.setattr(selection, "postprocess", with_a_problem)
    models = find_models(two_models)[:1]
    with pytest.raises(EvaluationError, match=r"(?s)can be post-processed.*a\.nii\.gz: the disk"):
        compare_models(models, two_models.parent.parent / "ref", ("0", "1"))


def test_one_call_finds_the_models_and_references_and_writes_what_to_run(
    two_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    with pytest.raises(EvaluationError, match="Name their folder with `references=`"):
        select_models(9, results=two_models.parent)
    references = tmp_path / "raw" / two_models.name / "labelsTr"
    references.parent.mkdir(parents=True)
    (tmp_path / "ref").rename(references)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    selected = select_models(9, results=two_models.parent, configurations=["2d"])
    assert [candidate.models[0].configuration for candidate in selected.candidates] == ["2d"]
    assert selected.folds == ("0", "1")
    information, commands = selected.written
    assert json.loads(information.read_text()) == selected.to_dict()
    assert commands.read_text() == instructions(selected)


def test_models_are_found_by_their_parts(two_models: Path) -> None:
    (model,) = find_models(two_models, configurations=["2d"])
    assert (model.trainer, model.plans, model.configuration) == (
        "nnUNetTrainer",
        "nnUNetPlans",
        "2d",
    )
    assert model.folds() == ("0", "1")
    with pytest.raises(ModelError, match=r"no trained model fits\. There is: nnUNetTrainer"):
        find_models(two_models, plans=["other"])
    with pytest.raises(ModelError, match="nothing was trained"):
        find_models(two_models / "no")


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
