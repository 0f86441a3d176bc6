"""A real Dask cluster of two processes, one of which is killed in the middle."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from resenc_plans import Dataset, Plans
from resenc_plans.errors import UsageError, WorkerStartError
from resenc_plans.execution.dask import dask_executor
from resenc_plans.preprocessing import PreprocessingProgress, Preprocessor
from resenc_plans.preprocessing.normalize import NORMALIZATIONS
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.preprocessing.store.check import check_store
from tests.preprocessing.datasets import (
    files_of,
    image_file,
    make_dataset,
    plan,
    volume,
    wait_in,
    write_image,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


def worker_pid(cluster: Any) -> int:
    return next(iter(cluster.workers.values())).process.pid


@pytest.mark.parametrize("name", ["Dataset004_Hippocampus", "Dataset501_BrainMR"])
def test_both_datasets_are_stored_though_a_worker_dies(
    cluster: Any, shared: Path, tmp_path: Path, name: str
) -> None:
    dataset = Dataset.load(shared / "data" / name)
    plan = Plans.load(shared / "oracle" / name / "nnUNetPlans.json")
    preprocessor = Preprocessor(plan.resolve("2d"), plan)
    victims = [worker_pid(cluster)]

    def kill_one(progress: Any) -> None:
        if victims and progress.done >= progress.total / 4:
            os.kill(victims.pop(), signal.SIGKILL)

    with dask_executor(cluster.scheduler_address) as executor:
        report = preprocessor.run(dataset, tmp_path / "dask", executor, on_progress=kill_one)

    assert not victims
    assert not report.problems
    assert len(CaseStore(tmp_path / "dask")) == len(dataset.cases)
    assert not check_store(tmp_path / "dask").problems
    assert [p.name for p in (tmp_path / "dask" / ".resenc-plans").iterdir()] == ["manifest.jsonl"]
    if name == "Dataset501_BrainMR":
        preprocessor.run(dataset, tmp_path / "local", workers=1)
        assert files_of(tmp_path / "dask") == files_of(tmp_path / "local")


def test_a_worker_whose_client_was_stopped_writes_nothing_more(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemes: Any = NORMALIZATIONS
    monkeypatch.setitem(schemes, "Wait", partial(wait_in, tmp_path))
    dataset = make_dataset(tmp_path, cases=2)
    write_image(volume(10)[0] + 1000, image_file(dataset.folder, 1))
    plans = plan(normalization_schemes=["Wait"])
    store = tmp_path / "store"

    def stop(_: PreprocessingProgress) -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    with dask_executor(cluster.scheduler_address) as executor, pytest.raises(KeyboardInterrupt):
        Preprocessor(plans.resolve("3d_fullres")).run(dataset, store, executor, on_progress=stop)
    (tmp_path / "go").touch()
    with dask_executor(cluster.scheduler_address) as executor:
        client: Any = executor
        for worker in cluster.workers.values():  # of one thread each
            client._client.submit(os.getpid, workers=[worker.worker_address], pure=False).result()

    assert list(CaseStore(store)) == ["case_0"]


def test_an_address_that_is_none_is_refused_before_it_is_called() -> None:
    with (
        pytest.raises(UsageError, match=r"`dask=` host: an address such as tcp://host:8786"),
        dask_executor("host"),
    ):
        pass


def test_no_answer_is_told() -> None:
    pytest.importorskip("distributed")
    with (
        pytest.raises(WorkerStartError, match="No Dask scheduler answers at tcp://127"),
        dask_executor("tcp://127.0.0.1:9", timeout="1s"),
    ):
        pass


def test_an_environment_without_dask_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)

    with (
        pytest.raises(WorkerStartError, match=r"pip install 'resenc-plans\[dask\]'"),
        dask_executor("tcp://127.0.0.1:9"),
    ):
        pass
