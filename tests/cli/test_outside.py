"""Names and links that lead out of a folder: refused before anything is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resenc_plans import Dataset, Fingerprint, create_plans
from tests.cli.conftest import Done

pytestmark = pytest.mark.slow

DATASET = "Dataset900_Phantom"
VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@pytest.fixture(scope="module")
def planned(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw dataset and its plans, once for all tests; they are copied, not changed."""
    folder = tmp_path_factory.mktemp("data")
    for variable in VARIABLES:
        (folder / variable).mkdir()
    raw = shutil.copytree(phantom, folder / "nnUNet_raw" / DATASET)
    preprocessed = folder / "nnUNet_preprocessed" / DATASET
    preprocessed.mkdir()
    dataset = Dataset.load(raw)
    fingerprint = Fingerprint.extract(dataset)
    fingerprint.save(preprocessed / "dataset_fingerprint.json")
    plans = create_plans(fingerprint, dataset, preset="M", name="Good")
    plans.save(preprocessed / "Good.json")
    return folder


@pytest.fixture
def preprocessed(
    run: Callable[..., Done], planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A planned dataset in nnU-Net's folders; the environment variables name them."""
    shutil.copytree(planned, tmp_path / "data")
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(tmp_path / "data" / variable))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data/nnUNet_preprocessed" / DATASET


def write_plans(folder: Path, name: str, *, identifier: str | None = None, **keys: str) -> Path:
    """A copy of the plans that says something else."""
    document: dict[str, Any] = json.loads((folder / "Good.json").read_text()) | keys
    if identifier is not None:
        document["configurations"]["3d_fullres"]["data_identifier"] = identifier
    (folder / f"{name}.json").write_text(json.dumps(document))
    return folder / f"{name}.json"


def everything(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_a_data_identifier_stays_in_the_datasets_folder(
    run: Callable[..., Done], preprocessed: Path, tmp_path: Path
) -> None:
    for identifier in ("../../../../x", str(tmp_path / "x"), "..", "", "a\\b", "C:x"):
        write_plans(preprocessed, "Evil", identifier=identifier)
        before = everything(tmp_path)
        for options in ((), ("--check",), ("-c", "3d_fullres")):
            done = run("preprocess", "-d", "900", "-p", "Evil", "--workers", "1", *options)
            assert done.code == 2
            assert "data_identifier" in done.err
        assert run("train", "900", "3d_fullres", "0", "-p", "Evil", "--dry-run").code == 2
        assert everything(tmp_path) == before


def test_a_datasets_folder_may_be_a_link_and_a_store_within_it_may_not(
    run: Callable[..., Done], preprocessed: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    preprocessed.rename(disk)
    preprocessed.symlink_to(disk)
    (tmp_path / "mine").mkdir()
    store = disk / "nnUNetPlans_3d_fullres"
    store.symlink_to(tmp_path / "mine")
    command = ("preprocess", "-d", "900", "-p", "Good", "-c", "3d_fullres", "--workers", "1")
    before = everything(tmp_path)
    done = run(*command)
    assert done.code == 2
    assert "symbolic link" in done.err
    assert everything(tmp_path) == before
    store.unlink()
    assert run(*command).code == 0
    assert len(list(store.glob("*.pkl"))) == len(list((disk / "gt_segmentations").iterdir())) > 0

    # Now that there are data, a training may begin: of good plans, and not of two that lead away.
    results = tmp_path / "data/nnUNet_results" / DATASET
    train = ("train", "900", "3d_fullres", "all")
    done = run(*train, "-p", "Good", "--dry-run")
    assert f"{results / 'nnUNetTrainer__Good__3d_fullres'}" in done.out
    write_plans(disk, "Away", dataset_name=str(tmp_path / "away"))
    write_plans(disk, "Escape", plans_name="../../../escape")
    before = everything(tmp_path)
    for name, key in (("Away", "dataset_name"), ("Escape", "plans_name")):
        for options in ((), ("--dry-run",)):
            done = run(*train, "-p", name, *options)
            assert done.code == 2
            assert f"Error: {key} " in done.err
    assert everything(tmp_path) == before
    store.rename(tmp_path / "moved")
    store.symlink_to(tmp_path / "moved")
    assert run(*train, "-p", "Good", "--dry-run").code == 0
    assert run(*command).code == 2
    results.mkdir()
    (results / "nnUNetTrainer__Good__3d_fullres").symlink_to(tmp_path / "mine")
    assert "outside of" in run(*train, "-p", "Good").err


@pytest.mark.parametrize("copies", ["a folder elsewhere", "labelsTr"])
def test_references_are_not_copied_through_a_link(
    run: Callable[..., Done], preprocessed: Path, tmp_path: Path, copies: str
) -> None:
    target = tmp_path / "data/nnUNet_raw" / DATASET / "labelsTr"
    if copies != "labelsTr":
        target = tmp_path / "mine"
        target.mkdir()
    (preprocessed / "gt_segmentations").symlink_to(target)
    before = everything(target)
    done = run("preprocess", "-d", "900", "-p", "Good", "-c", "3d_fullres", "--workers", "1")
    assert done.code == (0 if copies == "labelsTr" else 2)
    assert everything(target) == before
    assert (preprocessed / "nnUNetPlans_3d_fullres").exists() is (copies == "labelsTr")


def test_such_plans_load_and_are_shown_and_validate_names_what_is_wrong(
    run: Callable[..., Done], preprocessed: Path, tmp_path: Path
) -> None:
    evil = write_plans(preprocessed, "Evil", identifier="../x", dataset_name="../N", plans_name="N")
    assert run("show", "-p", evil).code == 0
    assert run("resolve", "3d_fullres", "-p", evil).code == 0
    done = run("validate", evil, "--format", "json")
    assert done.code == 1
    errors = [f for f in json.loads(done.out) if f["severity"] == "error"]
    assert {(f["rule"], f["key"]) for f in errors} == {
        ("P013", "dataset_name"),
        ("P013", "data_identifier"),
    }


def test_new_plans_are_not_written_through_a_link(
    run: Callable[..., Done], preprocessed: Path, tmp_path: Path
) -> None:
    (preprocessed / "Other.json").symlink_to(tmp_path / "autostart.json")
    done = run("create", "-d", "900", "--preset", "M", "--name", "Other")
    assert done.code == 2
    assert "outside of" in done.err
    assert not (tmp_path / "autostart.json").exists()
    assert run("create", "-d", "900", "--preset", "M", "--name", "../Other").code == 2


def test_case_names_and_file_endings_are_checked_before_a_case_is_stored(
    run: Callable[..., Done], preprocessed: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "data/nnUNet_raw" / DATASET
    document = json.loads((raw / "dataset.json").read_text())
    case = {
        "images": [f"imagesTr/phantom_000_000{channel}.nii.gz" for channel in (0, 1)],
        "label": "labelsTr/phantom_000.nii.gz",
    }
    for name, ending in (("../../../x", ".nii.gz"), ("x", "/../../../x.nii.gz")):
        changed = document | {"dataset": {"phantom_000": case, name: case}, "file_ending": ending}
        (raw / "dataset.json").write_text(json.dumps(changed))
        before = everything(tmp_path)
        done = run("preprocess", "-d", "900", "-p", "Good", "-c", "3d_fullres", "--workers", "1")
        assert done.code == 2
        assert "cannot name a file" in done.err
        assert everything(tmp_path) == before
    changed = document | {"dataset": {"../../../x": case}}
    (raw / "dataset.json").write_text(json.dumps(changed))
    assert "Files are named after the case" in run("verify", "-d", "900").out
