import json
import shutil
from pathlib import Path

import pytest

from resenc_plans import Dataset, DatasetError, FileError, Fingerprint, Plans, Preprocessor
from resenc_plans.datasets.integrity import verify_dataset
from resenc_plans.errors import FingerprintError
from resenc_plans.inference.input_cases import find_cases
from tests.datasets.made import document, write_dataset
from tests.plans.documents import document as plans_document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "made")


def _message_of_verify_and_fingerprint(folder: Path) -> str:
    """What both say, as the only thing."""
    dataset = Dataset.load(folder)
    [finding] = verify_dataset(dataset)
    with pytest.raises(FingerprintError) as caught:
        Fingerprint.extract(dataset)
    assert str(caught.value) == f"{folder}: {finding.message}"
    return finding.message


def test_a_wrong_file_ending_is_the_one_thing_said(folder: Path) -> None:
    (folder / "dataset.json").write_text(json.dumps(document(file_ending=".nii")))
    (folder / "imagesTr" / "notes.txt").touch()
    assert _message_of_verify_and_fingerprint(folder) == (
        "There are no training cases: file_ending is .nii, but imagesTr holds 6 .nii.gz files. "
        "Correct file_ending in dataset.json."
    )


def test_files_without_channel_numbers_are_named_once_and_make_no_cases(folder: Path) -> None:
    for path in list((folder / "imagesTr").iterdir()):
        path.rename(path.with_name(path.name.replace("_0000", "").replace("_0001", "-b")))
    for path in list((folder / "labelsTr").iterdir()):
        path.unlink()
    assert _message_of_verify_and_fingerprint(folder) == (
        "6 of 6 files in imagesTr have no channel number (case_000-b.nii.gz, case_000.nii.gz, "
        "case_001-b.nii.gz and 3 more). Rename them so that they end like case_0000.nii.gz."
    )


def test_images_of_another_ending_beside_the_cases_are_a_warning(folder: Path) -> None:
    (folder / "imagesTr" / "case_007_0000.nii").touch()
    [finding] = verify_dataset(Dataset.load(folder))
    assert (finding.rule, finding.severity) == ("other-ending", "warning")
    assert "imagesTr also holds 1 .nii file" in finding.message


def test_preprocessing_says_the_same(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "imagesTr/case_000_0000.nii.gz", folder / "imagesTr/case_000.nii.gz")
    [fault] = [f for f in verify_dataset(Dataset.load(folder)) if f.severity == "error"]
    config = Plans.from_dict(plans_document()).resolve("3d_fullres")
    with pytest.raises(DatasetError) as caught:
        Preprocessor(config).run(Dataset.load(folder), tmp_path / "store")
    assert str(caught.value) == f"{folder}: {fault.message}"
    assert fault.message.startswith("1 of 7 files in imagesTr have no channel number")


def test_a_folder_to_predict_with_images_of_another_ending_is_counted(folder: Path) -> None:
    with pytest.raises(FileError, match=r"no files that end in \.nii, .* but 6 \.nii\.gz files"):
        find_cases(folder / "imagesTr", ".nii")
