"""Distances of surfaces: figures that one can check by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.errors import ResencPlansError
from resenc_plans.evaluation.surface import measure_folder, measure_surfaces
from resenc_plans.evaluation.task import EvaluationTask
from tests.evaluation.label_folders import write_labels

pytest.importorskip("monai")


def plates(*positions: int) -> np.ndarray:
    """Plates of one voxel's thickness across z."""
    array = np.zeros((12, 6, 6), np.uint8)
    for z in positions:
        array[z, 1:5, 1:5] = 1
    return array


def test_parallel_plates_are_as_far_apart_as_they_are() -> None:
    (surfaces,) = measure_surfaces(plates(2), plates(4), (2.5, 1, 1), [1], tolerance=5)
    assert (surfaces.hd95, surfaces.assd, surfaces.nsd) == (5, 5, 1)
    (surfaces,) = measure_surfaces(plates(2), plates(4), (2.5, 1, 1), [1], tolerance=4.9)
    assert surfaces.nsd == 0


def test_half_of_the_surface_may_be_within_the_tolerance() -> None:
    (surfaces,) = measure_surfaces(plates(2, 8), plates(2), (1, 1, 1), [1], tolerance=1)
    assert surfaces.nsd == pytest.approx(2 / 3)
    assert surfaces.hd95 == 6


def test_a_missing_surface_has_no_distance_and_no_overlap() -> None:
    missed, absent = measure_surfaces(plates(), plates(3), (1, 1, 1), [1, 2])
    assert math.isnan(missed.hd95)
    assert math.isnan(missed.assd)
    assert missed.nsd == 0
    assert math.isnan(absent.nsd)


def test_two_dimensional_images_have_outlines() -> None:
    a, b = np.zeros((1, 9, 9), int), np.zeros((1, 9, 9), int)
    a[0, 2, 2:7], b[0, 5, 2:7] = 1, 1
    (surfaces,) = measure_surfaces(a, b, (999.0, 0.5, 1.0), [1])
    assert surfaces.hd95 == 1.5


def test_what_is_ignored_is_background() -> None:
    reference = plates(3)
    reference[8] = 2
    (surfaces,) = measure_surfaces(plates(3, 8), reference, (1, 1, 1), [1], ignore_label=2)
    assert surfaces.hd95 == 0


def test_a_folder_is_measured_and_stored(tmp_path: Path) -> None:
    for name, prediction, reference in (
        ("a", plates(2), plates(4)),
        ("b", plates(), plates(4)),
        ("c", plates(1)[1:], plates(4)),
    ):
        write_labels(tmp_path / "pred" / f"{name}.nii.gz", prediction)
        write_labels(tmp_path / "ref" / f"{name}.nii.gz", reference)
    task = EvaluationTask((1,), file_ending=".nii.gz")
    surfaces = measure_folder(tmp_path / "pred", tmp_path / "ref", task, tolerance=2)
    assert surfaces.mean(1) == {"HD95": 2, "ASSD": 2, "NSD": 0.5}
    assert surfaces.undefined(1) == 1
    assert [problem.case for problem in surfaces.problems] == ["c.nii.gz"]
    surfaces.save(tmp_path / "surface.json")
    assert json.loads((tmp_path / "surface.json").read_text())["mean"]["1"]["HD95"] == 2


def test_a_negative_tolerance_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResencPlansError, match="at least 0 mm"):
        measure_folder(tmp_path, tmp_path, EvaluationTask((1,)), tolerance=-1)
