"""The choice among configurations against nnU-Net's find_best_configuration."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from resenc_plans.datasets.images.images import read_label
from resenc_plans.evaluation.selection import compare_models, in_nnunet_order, instructions
from resenc_plans.files import to_json_text
from resenc_plans.runs.find_model import find_models
from tests.evaluation.trained_folders import write_model, write_references

SCRIPT = Path(__file__).parent / "select_with_nnunet.py"
FOLDS = (("a", "b", "c"), ("d", "e"))
NOISE = {"Dataset801_Close": (0.45, 0.5), "Dataset802_Apart": (1.2, 0.1)}
"""Where two models are alike, their ensemble wins; where one is far better, it wins alone."""


def test_choice_files_and_figures_are_equal(
    shared: Path, peer: Callable[..., str], tmp_path: Path
) -> None:
    plans = shared / "oracle" / "Dataset004_Hippocampus" / "nnUNetPlans.json"
    for dataset, noises in NOISE.items():
        preprocessed = tmp_path / "preprocessed" / dataset
        references = preprocessed / "gt_segmentations"
        write_references(references, [case for fold in FOLDS for case in fold])
        shutil.copy(plans, preprocessed / "nnUNetPlans.json")
        (tmp_path / "raw" / dataset).mkdir(parents=True)
        for seed, (name, noise) in enumerate(zip(("2d", "3d_fullres"), noises, strict=True)):
            write_model(
                tmp_path / "results" / dataset / f"nnUNetTrainer__nnUNetPlans__{name}",
                plans, references, FOLDS, noise=noise, seed=seed, dataset_name=dataset,
            )  # fmt: skip

    ours, winners = {}, []
    for dataset in NOISE:
        folder = tmp_path / "results" / dataset
        models = in_nnunet_order(find_models(folder))
        references = tmp_path / "preprocessed" / dataset / "gt_segmentations"
        selection = compare_models(models, references, ("0", "1"))
        ours[dataset] = to_json_text(selection.to_dict())
        winners.append(len(selection.best.models))
        assert "resenc-plans predict" in instructions(selection)
    assert winners == [2, 1]
    shutil.copytree(tmp_path / "results", tmp_path / "ours")

    peer(SCRIPT, tmp_path, *NOISE)
    for dataset in NOISE:
        theirs = tmp_path / "results" / dataset
        assert ours[dataset] == (theirs / "inference_information.json").read_text()
        summaries = [p for p in theirs.rglob("summary.json") if p.parent.name != "postprocessed"]
        assert len(summaries) == 3
        for path in summaries:
            twin = tmp_path / "ours" / path.relative_to(tmp_path / "results")
            assert twin.read_text() == path.read_text()
        for path in theirs.rglob("*.nii.gz"):
            twin = tmp_path / "ours" / path.relative_to(tmp_path / "results")
            assert np.array_equal(read_label(twin).array, read_label(path).array), path
        (decision,) = theirs.rglob("postprocessing.json")
        twin = tmp_path / "ours" / decision.relative_to(tmp_path / "results")
        assert json.loads(twin.read_text()) == json.loads(decision.read_text())
