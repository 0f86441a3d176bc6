"""A run may end at any moment: no half file, no orphan, and a rerun makes everything whole."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.preprocessing import Preprocessor
from resenc_plans.preprocessing.preprocessor import PreprocessingReport
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.preprocessing.store.check import check_store
from tests.conftest import ROOT
from tests.preprocessing.datasets import files_of, make_dataset, plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals"),
]

RUN = "tests.preprocessing.run_preprocessing"
CASES = 24
MOMENTS = 20


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("raw"), cases=CASES)


@pytest.fixture(scope="module")
def undisturbed(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Name to content of all files of a run that nobody disturbed."""
    store = tmp_path_factory.mktemp("undisturbed")
    finish(dataset, store)
    return files_of(store)


def finish(dataset: Dataset, store: Path) -> PreprocessingReport:
    plans = plan()
    with ThreadPoolExecutor(2) as threads:
        report = Preprocessor(plans.resolve("3d_fullres"), plans).run(dataset, store, threads)
    assert not report.problems
    return report


def begin(dataset: Dataset, store: Path, workers: str) -> tuple[Any, ...]:
    """Start a run, and wait until its first case is stored."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-m", RUN, dataset.folder, store, workers],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RESENC_PLANS_TEST_MARK": mark},
        cwd=ROOT,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process, mark


def end(process: Any, with_signal: Any) -> int:
    process.send_signal(with_signal)
    process.stdout.close()
    return process.wait(timeout=30)


def marked_processes(mark: str) -> list[Any]:
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environment.read_bytes():
                found.append(environment.parent.name)
        except OSError:
            continue
    return found


def wait_until_gone(mark: str, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while marked_processes(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not marked_processes(mark)


@pytest.mark.parametrize("workers", ["threads", "2"])
def test_kill_9_at_any_moment_leaves_whole_cases_only(
    dataset: Dataset, undisturbed: dict[str, bytes], tmp_path: Path, workers: str
) -> None:
    moments = random.Random(workers)
    for _ in range(MOMENTS // 2):
        process, mark = begin(dataset, tmp_path, workers)
        time.sleep(moments.uniform(0, 0.15))
        end(process, signal.SIGKILL)
        assert wait_until_gone(mark)

        stored = files_of(tmp_path)
        assert stored.items() <= undisturbed.items()
        for name in CaseStore(tmp_path):
            assert {f"{name}_seg.b2nd", f"{name}.pkl"} <= stored.keys()

    finish(dataset, tmp_path)

    assert files_of(tmp_path) == undisturbed
    assert not check_store(tmp_path).problems
    assert [path.name for path in (tmp_path / ".resenc-plans").iterdir()] == ["manifest.jsonl"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, None), (signal.SIGTERM, 143)])
def test_an_interrupted_run_cleans_up_at_once(
    dataset: Dataset, undisturbed: dict[str, bytes], tmp_path: Path, number: Any, code: int | None
) -> None:
    process, mark = begin(dataset, tmp_path, "2")

    returned = end(process, number)

    assert returned == code if code else returned != 0
    assert wait_until_gone(mark, seconds=1)
    assert files_of(tmp_path).items() <= undisturbed.items()
    assert not (tmp_path / ".resenc-plans" / "staging").exists()
    assert finish(dataset, tmp_path).unchanged
    assert files_of(tmp_path) == undisturbed
