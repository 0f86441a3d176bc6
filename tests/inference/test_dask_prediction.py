"""Prediction on a real Dask cluster of two processes."""

from pathlib import Path

import numpy as np
import pytest

from resenc_plans.datasets.images.images import read_label
from resenc_plans.execution.dask import dask_executor, worker_count
from resenc_plans.inference.folder import PredictionJob, predict_on
from resenc_plans.inference.settings import PredictionSettings

pytestmark = pytest.mark.slow


def test_workers_share_the_cases(shared: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    images = tmp_path / "images"
    images.mkdir()
    for case in ("064", "130", "193"):
        name = f"hippocampus_{case}_0000.nii.gz"
        (images / name).symlink_to(shared / "data/Dataset004_Hippocampus/imagesTr" / name)
    job = PredictionJob(
        shared / "oracle" / "model",
        images,
        tmp_path / "predicted",
        folds=(0,),
        settings=PredictionSettings(device="cpu", precision="fp32", mirroring=False),
    )
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        dask_executor(cluster.scheduler_address) as executor,
    ):
        assert worker_count(executor) == 2
        report = predict_on(executor, job, worker_count(executor))
    assert report.problems == ()
    assert len(report.written) == 3
    for case in report.written:
        ours, theirs = (
            read_label(folder / f"{case}.nii.gz").array
            for folder in (tmp_path / "predicted", shared / "oracle/predictions/plain")
        )
        assert np.count_nonzero(ours != theirs) == 0
