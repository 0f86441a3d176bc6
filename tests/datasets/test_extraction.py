import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from resenc_plans import Dataset, Fingerprint
from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.images import images
from resenc_plans.datasets.images.images import Image
from resenc_plans.datasets.integrity import verify_dataset
from resenc_plans.errors import FingerprintError
from tests.datasets.made import (
    document,
    image_array,
    label_array,
    truncate,
    write_dataset,
    write_image,
)


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resenc_plans.datasets.extraction.SAMPLES_PER_DATASET", 1e5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Dataset004_Hippocampus", "Dataset501_BrainMR"])
def test_real_fingerprints_equal_nnunet_s_byte_for_byte(
    name: str, shared: Path, tmp_path: Path
) -> None:
    Fingerprint.extract(Dataset.load(shared / "data" / name)).save(tmp_path / "ours.json")
    expected = shared / "oracle" / name / "dataset_fingerprint.json"
    assert (tmp_path / "ours.json").read_bytes() == expected.read_bytes()


@pytest.mark.usefixtures("few_draws")
def test_cropping_takes_the_frame_of_zeros_away(tmp_path: Path) -> None:
    fingerprint = Fingerprint.extract(Dataset.load(write_dataset(tmp_path / "made", cases=1)))
    assert fingerprint.shapes_after_crop == ((5, 7, 7),)
    assert fingerprint.median_relative_size_after_cropping == 5 * 7 * 7 / (6 * 9 * 8)
    assert fingerprint.spacings[0] == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.usefixtures("few_draws")
def test_another_executor_gives_the_same(tmp_path: Path) -> None:
    dataset = Dataset.load(write_dataset(tmp_path / "made"))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        elsewhere = Fingerprint.extract(dataset, executor=pool)
    assert elsewhere.to_dict() == Fingerprint.extract(dataset).to_dict()


@pytest.mark.usefixtures("few_draws")
def test_each_case_is_announced(tmp_path: Path) -> None:
    announced: list[str] = []
    dataset = Dataset.load(write_dataset(tmp_path / "made"))
    Fingerprint.extract(dataset, on_case=announced.append)
    assert sorted(announced) == ["case_000", "case_001", "case_002"]


@pytest.mark.usefixtures("few_draws")
def test_pictures_have_a_fingerprint_too(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    pixels = np.random.default_rng(0).integers(1, 255, (9, 7, 3)).astype(np.uint8)
    Pillow.fromarray(pixels).save(folder / "imagesTr" / "a_0000.png")
    Pillow.fromarray(label_array(0)[0]).resize((7, 9)).save(folder / "labelsTr" / "a.png")
    keys = document(channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png")
    (folder / "dataset.json").write_text(json.dumps(keys))
    fingerprint = Fingerprint.extract(Dataset.load(folder))
    assert fingerprint.to_dict()["spacings"] == [[999, 1, 1]]
    assert fingerprint.shapes_after_crop == ((1, 9, 7),)
    assert len(fingerprint.foreground_intensity_properties_per_channel) == 3


@pytest.mark.usefixtures("few_draws")
def test_a_dataset_without_foreground_has_statistics_that_are_not_numbers(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "made", cases=2)
    for path in (folder / "labelsTr").iterdir():
        write_image(path, np.zeros((6, 9, 8 + int(path.name[5:8])), np.uint8))
    fingerprint = Fingerprint.extract(Dataset.load(folder))
    for channel in fingerprint.foreground_intensity_properties_per_channel.values():
        assert np.isnan(channel.mean)


@pytest.mark.usefixtures("few_draws")
def test_all_damaged_cases_are_named_each_with_its_reason(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "made", cases=6)
    images, labels = folder / "imagesTr", folder / "labelsTr"
    truncate(images / "case_000_0001.nii.gz")
    (images / "case_001_0001.nii.gz").unlink()
    (labels / "case_002.nii.gz").unlink()
    write_image(
        images / "case_003_0000.nii.gz", np.zeros((6, 9, 11, 3), np.uint8)[..., 0], origin=(1, 0, 0)
    )
    write_image(labels / "case_004.nii.gz", label_array(0))
    write_image(images / "case_005_0001.nii.gz", image_array(1))
    with pytest.raises(FingerprintError) as caught:
        Fingerprint.extract(Dataset.load(folder))
    message = str(caught.value)
    assert "5 of 6 cases are damaged" in message
    for case, reason in {
        "case_000": "case_000_0001.nii.gz: truncated",
        "case_001": "1 channel (case_001_0000.nii.gz), but dataset.json names 2",
        "case_002": "has no segmentation case_002.nii.gz",
        "case_004": "case_004.nii.gz has the shape (6, 9, 8)",
        "case_005": "case_005_0001.nii.gz has the shape (6, 9, 8)",
    }.items():
        (line,) = (line for line in message.splitlines() if line.startswith(f"  {case}:"))
        assert reason in line
    assert "case_003" not in message


@pytest.mark.usefixtures("few_draws")
def test_a_dataset_without_cases_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(document()))
    with pytest.raises(FingerprintError, match=r"no training cases.*CASE_0000.nii.gz"):
        Fingerprint.extract(Dataset.load(tmp_path))


@pytest.mark.usefixtures("few_draws")
def test_what_verify_finds_is_found_in_the_files_that_are_read(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "made", cases=5)
    for case in range(4):
        path = folder / "labelsTr" / f"case_{case:03}.nii.gz"
        write_image(path, label_array(case, (6, 9, 8 + case)), spacing=(2, 2, 2))
    write_image(folder / "labelsTr" / "case_004.nii.gz", np.full((6, 9, 12), 255, np.uint8))
    dataset = Dataset.load(folder)
    findings: list[Finding] = []
    Fingerprint.extract(dataset, on_finding=findings.append)
    assert tuple(findings) == verify_dataset(dataset)
    rules = [finding.rule for finding in findings]
    assert rules == ["spacing-mismatch"] * 4 + ["unexpected-label"]


@pytest.mark.usefixtures("few_draws")
def test_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def read_file(path: Path, *args: Any, **keywords: Any) -> Image:
        read.append(Path(path))
        return images.read_file(path, *args, **keywords)

    monkeypatch.setattr("resenc_plans.datasets.case_check.read_file", read_file)
    dataset = Dataset.load(write_dataset(tmp_path / "made"))
    Fingerprint.extract(dataset, on_finding=print)
    assert sorted(read) == sorted(path for case in dataset.cases for path in case.images)


@pytest.mark.usefixtures("few_draws")
def test_without_somebody_to_tell_findings_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_dataset(tmp_path / "made")
    for case in range(3):
        path = folder / "labelsTr" / f"case_{case:03}.nii.gz"
        write_image(path, label_array(case, (6, 9, 8 + case)), spacing=(2, 2, 2 + case))
    Fingerprint.extract(Dataset.load(folder))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    [line] = [line for line in record.getMessage().splitlines() if "spacing-mismatch" in line]
    assert "3 of 3 cases (case_000, case_001, case_002), such as case_000:" in line
    assert "resampled" in line


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(
    ("ending", "reader"), [(".nrrd", "SimpleITKIO"), (".nii.gz", "NibabelIO"), (".nii", "None")]
)
def test_nan_is_damage_where_nnunet_would_see_it(ending: str, reader: str, tmp_path: Path) -> None:
    folder = write_dataset(
        tmp_path / "made", file_ending=ending, overwrite_image_reader_writer=reader
    )
    image = folder / "imagesTr" / f"case_001_0000{ending}"
    write_image(image, np.full((6, 9, 9), np.nan, np.float32))
    with pytest.raises(FingerprintError, match=f"{image.name} contains NaN"):
        Fingerprint.extract(Dataset.load(folder))


@pytest.mark.usefixtures("few_draws")
def test_nan_is_zero_where_itk_makes_it_so_for_nnunet_too(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "made", cases=1)
    array = image_array(0).astype(np.float32)
    fingerprints = []
    for value in (np.nan, 0):
        array[3] = value
        write_image(folder / "imagesTr" / "case_000_0000.nii.gz", array)
        fingerprints.append(Fingerprint.extract(Dataset.load(folder)).to_dict())
    assert fingerprints[0] == fingerprints[1]
