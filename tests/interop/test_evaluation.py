"""Summaries, post-processing and model archives against the real nnU-Net."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.evaluation.evaluate import compare_folders
from resenc_plans.evaluation.postprocessing.postprocess import (
    Postprocessing,
    apply_postprocessing,
    determine_postprocessing,
)
from resenc_plans.evaluation.task import EvaluationTask
from resenc_plans.study.compare import compare
from tests.evaluation.label_folders import write_random_folder

SCRIPT = Path(__file__).parent / "evaluate_with_nnunet.py"
SEEDS = range(24)


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, shared: Path, peer_python: Path
) -> list[Path]:
    """Random folders and the real predictions, evaluated and post-processed by nnU-Net."""
    from subprocess import run

    root = tmp_path_factory.mktemp("evaluation")
    made = [root / f"random_{seed}" for seed in SEEDS]
    for seed, folder in zip(SEEDS, made, strict=True):
        write_random_folder(folder, seed)
    dataset = shared / "data" / "Dataset004_Hippocampus"
    for kind in ("plain", "mirrored"):
        folder = root / kind
        (folder / "ref").mkdir(parents=True)
        (folder / "pred").mkdir()
        shutil.copy(dataset / "dataset.json", folder)
        for path in (shared / "oracle" / "predictions" / kind).glob("*.nii.gz"):
            shutil.copy(path, folder / "pred")
            shutil.copy(dataset / "labelsTr" / path.name, folder / "ref")
        made.append(folder)
    plans = shared / "oracle" / "model" / "plans.json"
    done = run([peer_python, SCRIPT, plans, *made], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return made


def task_of(folder: Path) -> EvaluationTask:
    return EvaluationTask.of_dataset(DatasetJson.load(folder / "dataset.json"))


def test_summary_json_is_text_equal(folders: list[Path]) -> None:
    for folder in folders:
        evaluation = compare_folders(folder / "pred", folder / "ref", task_of(folder))
        assert evaluation.summary is not None
        evaluation.summary.save(folder / "summary_ours.json")
        ours, theirs = folder / "summary_ours.json", folder / "summary_theirs.json"
        assert ours.read_text() == theirs.read_text(), folder


def test_postprocessing_is_determined_alike(folders: list[Path]) -> None:
    decisions = set()
    for folder in folders:
        determination = determine_postprocessing(folder / "pred", folder / "ref", task_of(folder))
        determination.save(folder / "pred")
        ours = (folder / "pred" / "postprocessing.json").read_text()
        theirs = (folder / "pred_theirs" / "postprocessing.json").read_text()
        assert ours == theirs, folder
        decisions |= {(type(trial.step), trial.accepted) for trial in determination.trials}
    assert len(decisions) == 6, "steps of every kind are taken and left"


def test_postprocessed_labels_are_equal_by_their_pickle(
    folders: list[Path], tmp_path: Path
) -> None:
    for folder in folders:
        theirs = folder / "pred_theirs"
        steps = Postprocessing.load(theirs / "postprocessing.pkl")
        assert steps == load_postprocessing_as_tuples(theirs / "postprocessing.json", steps)
        target = tmp_path / folder.name
        assert apply_postprocessing(steps, folder / "pred", target, file_ending=".nii.gz") == ()
        for path in target.glob("*.nii.gz"):
            theirs_array = sitk.GetArrayFromImage(
                sitk.ReadImage(str(theirs / "postprocessed" / path.name))
            )
            assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), theirs_array)


def load_postprocessing_as_tuples(path: Path, like: Any) -> Any:
    """JSON has no tuples: what the file says, with the types of the pickle where equal."""
    read = Postprocessing.load(path)
    same = [
        a if json.dumps(a) == json.dumps(b) else b
        for a, b in zip(like.steps, read.steps, strict=True)
    ]
    return type(read)(tuple(same))


APPLY = """
import sys
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.postprocessing.remove_connected_components import apply_postprocessing
import numpy as np
functions, arguments = load_pickle(sys.argv[1])
print(apply_postprocessing(np.load(sys.argv[2]), functions, arguments).tolist())
"""


def test_nnunet_applies_our_pickle(
    folders: list[Path], peer: Callable[..., str], tmp_path: Path
) -> None:
    folder = folders[-2]
    determination = determine_postprocessing(folder / "pred", folder / "ref", task_of(folder))
    assert determination.postprocessing.steps
    determination.save(tmp_path)
    labels = np.random.default_rng(0).integers(0, 3, (6, 6, 6)) * (
        np.random.default_rng(1).random((6, 6, 6)) < 0.15
    )
    np.save(tmp_path / "labels.npy", labels)
    theirs = peer(APPLY, tmp_path / "postprocessing.pkl", tmp_path / "labels.npy")
    assert json.loads(theirs) == determination.postprocessing.apply(labels).tolist()


def test_summaries_that_nnunet_wrote_are_compared(folders: list[Path]) -> None:
    files = [folder / "summary_theirs.json" for folder in folders[-2:]]
    [dataset] = compare(*files, draws=1000).datasets
    assert dataset.methods == ("plain", "mirrored")
    for file, score in zip(files, dataset.metrics[0].of_label(), strict=True):
        expected = json.loads(file.read_text())["foreground_mean"]["Dice"]
        assert score.mean == pytest.approx(expected, rel=1e-12)
    assert {one.rule for one in dataset.findings} == {"C102", "C202", "C203"}
