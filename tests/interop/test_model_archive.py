"""Archives of models, handed to nnU-Net and taken from it."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans.runs.archive import ExportRequest, export_model, import_model

DATASET, MODEL = "Dataset004_Hippocampus", "nnUNetTrainer__nnUNetPlans__3d_fullres"

THEIRS = """
import os, sys
root, archive, ours = sys.argv[1:]
for name in ("raw", "preprocessed", "results"):
    os.environ[f"nnUNet_{name}"] = root if name == "results" else root + "/none"
from nnunetv2.model_sharing.model_export import export_pretrained_model
from nnunetv2.model_sharing.model_import import install_model_from_zip_file
install_model_from_zip_file(ours)
export_pretrained_model(
    "Dataset004_Hippocampus", archive, ("3d_fullres",), folds=(0,),
    export_crossval_predictions=True,
)
"""


@pytest.fixture
def results(shared: Path, tmp_path: Path) -> Path:
    """A results folder with the model that nnU-Net trained, and a validation."""
    folder = tmp_path / "results" / DATASET / MODEL
    shutil.copytree(shared / "oracle" / "model", folder)
    validation = folder / "fold_0" / "validation"
    shutil.copytree(shared / "oracle" / "predictions" / "plain", validation)
    (validation / "summary.json").write_text("{}")
    (folder / "fold_0" / "progress.png").write_bytes(b"picture")
    return tmp_path / "results"


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_archives_go_both_ways(results: Path, peer: Callable[..., str], tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.zip", tmp_path / "theirs.zip"
    export_model([results / DATASET / MODEL], ours, ExportRequest(("0",), predictions=True))
    installed_by_nnunet = tmp_path / "nnunet"
    installed_by_nnunet.mkdir()
    peer(THEIRS, installed_by_nnunet, theirs, ours)
    expected = files(results)
    exported = {name: content for name, content in expected.items() if is_exported(name)}
    assert files(installed_by_nnunet) == exported

    with zipfile.ZipFile(theirs) as one, zipfile.ZipFile(ours) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
    installed_by_us = tmp_path / "installed"
    installed_by_us.mkdir()
    (model,) = import_model(theirs, installed_by_us)
    assert model == installed_by_us / DATASET / MODEL
    assert files(installed_by_us) == exported


def is_exported(name: str) -> bool:
    return not name.endswith((".npz", ".pkl", "training_log.txt"))
