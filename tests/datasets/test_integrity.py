import json
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans import Dataset
from resenc_plans.datasets.finding import SEVERITIES, Finding
from resenc_plans.datasets.integrity import verify_dataset
from tests.datasets.made import (
    document,
    image_array,
    label_array,
    truncate,
    write_dataset,
    write_image,
)

IMAGE = "imagesTr/case_001_0001.nii.gz"
LABEL = "labelsTr/case_001.nii.gz"
SHAPE = (6, 9, 9)


def _verify(folder: Path) -> tuple[Finding, ...]:
    return verify_dataset(Dataset.load(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "made")


def _with_voxel(value: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        array = image_array(3, SHAPE).astype(np.float32)
        array[2, 3, 4] = value
        write_image(folder / IMAGE, array)

    return change


def _with_label(value: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        array = label_array(3, SHAPE).astype(np.float32)
        array[2, 3, 4] = value
        write_image(folder / LABEL, array)

    return change


def _copy_of_another_case(folder: Path) -> None:
    for channel in range(2):
        name = folder / "imagesTr" / f"case_000_{channel:04}.nii.gz"
        shutil.copy(name, folder / "imagesTr" / f"case_001_{channel:04}.nii.gz")
    shutil.copy(folder / "labelsTr" / "case_000.nii.gz", folder / LABEL)


def _off_the_grid(**geometry: Any) -> Callable[[Path], None]:
    return lambda folder: write_image(folder / IMAGE, image_array(3, SHAPE), **geometry)


TURNED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)

DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "truncated image": (lambda f: truncate(f / IMAGE), "error", "unreadable-image"),
    "truncated label": (lambda f: truncate(f / LABEL), "error", "unreadable-label"),
    "no label": (lambda f: (f / LABEL).unlink(), "error", "missing-label"),
    "missing channel": (lambda f: (f / IMAGE).unlink(), "error", "wrong-channels"),
    "other shape": (
        lambda f: write_image(f / IMAGE, image_array(3)), "error", "shape-mismatch"
    ),
    "label of another shape": (
        lambda f: write_image(f / LABEL, label_array(3)), "error", "shape-mismatch"
    ),
    "other spacing": (_off_the_grid(spacing=(2.5, 0.8, 0.9)), "error", "spacing-mismatch"),
    "other origin": (_off_the_grid(origin=(0, 0, 5)), "warning", "origin-mismatch"),
    "other direction": (_off_the_grid(direction=TURNED), "warning", "direction-mismatch"),
    "NaN": (_with_voxel(np.nan), "error", "nan-image"),
    "infinity": (_with_voxel(-np.inf), "error", "infinite-image"),
    "NaN label": (_with_label(np.nan), "error", "nan-label"),
    "unknown label": (_with_label(7), "error", "unexpected-label"),
    "half a label": (_with_label(1.5), "error", "unexpected-label"),
    "negative label": (_with_label(-1), "error", "unexpected-label"),
    "no foreground": (
        lambda f: write_image(f / LABEL, np.zeros(SHAPE, np.uint8)), "warning", "empty-foreground"
    ),
    "duplicate": (_copy_of_another_case, "warning", "duplicate-case"),
    "label without image": (
        lambda f: write_image(f / "labelsTr/other.nii.gz", label_array(0)),
        "warning",
        "label-without-image",
    ),
}  # fmt: skip


def test_a_sound_dataset_has_no_findings(folder: Path) -> None:
    assert _verify(folder) == ()


@pytest.mark.parametrize("name", ["Dataset004_Hippocampus", "Dataset501_BrainMR"])
def test_real_datasets_have_no_findings(name: str, shared: Path) -> None:
    assert _verify(shared / "data" / name) == ()


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_the_one_thing_found(damage: str, folder: Path) -> None:
    change, severity, kind = DAMAGES[damage]
    change(folder)
    (finding,) = _verify(folder)
    assert (finding.severity, finding.rule) == (severity, kind)
    assert finding.case in ("case_000", "case_001", "other")
    assert finding.message.endswith((".", "?"))


@pytest.mark.parametrize(
    ("changes", "severity", "kind"),
    [
        ({"numTraining": 4}, "error", "num-training"),
        ({"numTraining": None}, "error", "num-training"),
        ({"labels": {"background": 0, "a": 1, "b": 2, "c": 3}}, "warning", "unused-label"),
        ({"channel_names": {"0": "T1", "1": "T1"}}, "note", "repeated-channel-name"),
        ({"channel_names": None, "modality": {"0": "T1", "1": "T2"}}, "warning", "old-key"),
        ({"labels": {"organ": 1, "lesion": 2}}, "error", "labels"),
        (
            {"labels": {"background": 0, "all": [1, 2], "core": 2}, "regions_class_order": [2, 1]},
            "warning",
            "region-order",
        ),
    ],
)
def test_each_fault_of_dataset_json_is_found(
    changes: dict[str, Any], severity: str, kind: str, folder: Path
) -> None:
    (folder / "dataset.json").write_text(json.dumps(document(**changes)))
    findings = _verify(folder)
    assert {(finding.severity, finding.rule) for finding in findings} == {(severity, kind)}
    assert {finding.path for finding in findings} == {folder / "dataset.json"}


def test_labels_with_gaps_are_an_error(folder: Path) -> None:
    labels = {"background": 0, "organ": 1, "lesion": 3}
    (folder / "dataset.json").write_text(json.dumps(document(labels=labels)))
    kinds = {finding.rule for finding in _verify(folder)}
    assert kinds == {"labels-not-consecutive", "unexpected-label", "unused-label"}


def test_the_ignore_label_is_expected_but_is_no_foreground(folder: Path) -> None:
    labels = {"background": 0, "organ": 1, "ignore": 2}
    (folder / "dataset.json").write_text(json.dumps(document(labels=labels)))
    assert _verify(folder) == ()
    write_image(folder / LABEL, np.full(SHAPE, 2, np.uint8))
    assert [finding.rule for finding in _verify(folder)] == ["empty-foreground"]


def test_regions_in_the_right_order_are_sound(folder: Path) -> None:
    labels = {"background": 0, "all": [1, 2], "core": 2}
    keys = document(labels=labels, regions_class_order=[1, 2])
    (folder / "dataset.json").write_text(json.dumps(keys))
    assert _verify(folder) == ()


def test_a_dataset_without_cases_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(document(numTraining=0)))
    assert [finding.rule for finding in _verify(tmp_path)] == ["no-cases"]


def test_a_file_without_channel_number_is_an_error(folder: Path) -> None:
    write_image(folder / "imagesTr" / "other.nii.gz", image_array(0))
    assert "file-name" in {finding.rule for finding in _verify(folder)}


def test_an_ending_without_reader_is_an_error(folder: Path) -> None:
    (folder / "dataset.json").write_text(json.dumps(document(file_ending=".dcm", numTraining=0)))
    assert "no-reader" in {finding.rule for finding in _verify(folder)}


def test_files_that_dataset_json_lists_and_that_are_not_there_are_found(tmp_path: Path) -> None:
    cases = {"a": {"images": ["a0.nii.gz", "a1.nii.gz"], "label": "a.nii.gz"}}
    (tmp_path / "dataset.json").write_text(json.dumps(document(dataset=cases, numTraining=1)))
    findings = _verify(tmp_path)
    assert [finding.rule for finding in findings] == ["missing-label"] + ["unreadable-image"] * 2


def test_everything_is_found_in_one_pass_worst_first(folder: Path) -> None:
    truncate(folder / "imagesTr" / "case_000_0000.nii.gz")
    _with_label(9)(folder)
    write_image(
        folder / "imagesTr/case_002_0001.nii.gz", image_array(1, (6, 9, 10)), origin=(1, 0, 0)
    )
    keys = document(numTraining=9, channel_names={"0": "T1", "1": "T1"})
    (folder / "dataset.json").write_text(json.dumps(keys))
    findings = _verify(folder)
    assert [finding.rule for finding in findings] == [
        "num-training",
        "unexpected-label",
        "unreadable-image",
        "origin-mismatch",
        "repeated-channel-name",
    ]
    order = [SEVERITIES.index(finding.severity) for finding in findings]
    assert order == sorted(order)


def test_another_executor_finds_the_same(folder: Path) -> None:
    truncate(folder / IMAGE)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert verify_dataset(Dataset.load(folder), executor=pool) == _verify(folder)


def test_each_case_is_announced(folder: Path) -> None:
    announced: list[str] = []
    verify_dataset(Dataset.load(folder), on_case=announced.append)
    assert sorted(announced) == ["case_000", "case_001", "case_002"]
