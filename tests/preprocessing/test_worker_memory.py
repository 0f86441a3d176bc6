"""The memory of a worker can be told before, and decides how many there are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resenc_plans.planning.resampling import RESAMPLINGS, Resampling, resampling_document
from resenc_plans.preprocessing import Preprocessor
from resenc_plans.preprocessing.worker_memory import (
    PROCESS_BYTES,
    case_bytes,
    read_header,
    workers_that_fit,
)
from tests.conftest import ROOT
from tests.preprocessing.datasets import (
    image_file,
    label_file,
    make_dataset,
    plan,
    volume,
    write_image,
)

GIB = 1024**3

PEAK = """
import resource, sys
from pathlib import Path
import SimpleITK, blosc2, scipy.ndimage
from resenc_plans import Dataset
from resenc_plans.preprocessing.case import Recipe
from resenc_plans.preprocessing.case_task import CaseTask, store_case
from resenc_plans.planning.resampling import resampling_document
from tests.preprocessing.datasets import plan
resampling = resampling_document(sys.argv[3])
dataset, plans = Dataset.load(sys.argv[1]), plan(use_mask_for_norm=[True], **resampling)
recipe = Recipe.of(plans.resolve("3d_fullres"), dataset.labels)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
store_case(CaseTask(dataset.cases[0], "SimpleITKIO", recipe, "", Path(sys.argv[2])))
print((peak() - before) * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
@pytest.mark.parametrize(
    ("dtype", "resampling"), [("uint8", "spline"), ("float64", "spline"), ("uint8", "torch")]
)
def test_no_case_takes_more_than_was_told(
    tmp_path: Path, dtype: str, resampling: Resampling
) -> None:
    shape = (100, 200, 200)
    dataset = make_dataset(tmp_path, cases=1, labels={"background": 0, "a": 1, "b": 2, "ignore": 3})
    image, labels = volume(0, shape)
    write_image(image.astype(dtype), image_file(dataset.folder, 0), (1.5, 1.0, 0.8))
    write_image(labels, label_file(dataset.folder, 0), (1.5, 1.0, 0.8))
    plans = plan(**resampling_document(resampling))
    told = Preprocessor(plans.resolve("3d_fullres"), plans).memory_per_worker(dataset)

    done = subprocess.run(
        [sys.executable, "-c", PEAK, dataset.folder, tmp_path / "store", resampling],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    most = 35 if resampling == "spline" else 130
    assert PROCESS_BYTES < told < PROCESS_BYTES + most * 100 * 200 * 200
    assert int(done.stdout) < told - PROCESS_BYTES + 16 * 1024**2


def test_more_channels_and_a_finer_grid_take_more() -> None:
    once = case_bytes((64, 64, 64), (64, 64, 64), channels=1)

    assert case_bytes((64, 64, 64), (64, 64, 64), channels=2) > 1.3 * once
    assert case_bytes((64, 64, 64), (128, 64, 64), channels=1) > 1.4 * once


def test_without_resampling_the_grid_of_the_image_counts(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, cases=1)
    needs = {}
    for kind in RESAMPLINGS:
        plans = plan(spacing=[0.2] * 3, **resampling_document(kind))
        preprocessor = Preprocessor(plans.resolve("3d_fullres"), plans)
        needs[kind] = preprocessor.memory_per_worker(dataset)
    assert needs["none"] < needs["spline"] < needs["torch"]


def test_workers_are_as_many_as_fit() -> None:
    assert workers_that_fit([GIB] * 100, cpus=16, free=None) == 16
    assert workers_that_fit([GIB] * 100, cpus=16, free=10 * GIB) == 8
    assert workers_that_fit([GIB] * 3, cpus=16, free=100 * GIB) == 3
    assert workers_that_fit([9 * GIB, GIB, GIB], cpus=16, free=GIB) == 1
    assert workers_that_fit([], cpus=16, free=GIB) == 1


def test_headers_are_read_without_voxels(tmp_path: Path) -> None:
    write_image(volume(0)[1], tmp_path / "image.nii.gz", (3.0, 2.0, 1.0))
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")

    header = read_header(tmp_path / "image.nii.gz")

    assert header is not None
    assert header.shape == (16, 20, 24)
    assert header.spacing == (3.0, 2.0, 1.0)
    assert header.itemsize == 1
    assert read_header(tmp_path / "broken.nii.gz") is None
    os.mkfifo(tmp_path / "fifo.nii.gz")
    assert read_header(tmp_path / "fifo.nii.gz") is None
