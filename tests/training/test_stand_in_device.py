"""Training, checkpoints, resume and prediction on a device whose tensors are not the CPU's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

VOXELS = {"noise": 2 * 8 * 16 * 16, "patches": 4 * 8 * 16 * 16}
"""Of the batches whose bytes are counted."""


def run(folder: Path, task: str, script: str = "run") -> subprocess.CompletedProcess[str]:
    script = f"tests.training.{script}_on_stand_in"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", script, folder, task],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stand_in_trains_resumes_and_predicts_as_the_cpu(preprocessed: Path) -> None:
    done = run(preprocessed, "train")
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout) == {"weights": 0, "logits": 0, "labels": 0}


def test_loaders_are_forked_before_the_device_is_used(preprocessed: Path) -> None:
    done = run(preprocessed, "begin")
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout) == ["fork", "device"]


def test_each_kind_of_logits_is_exported_alike(tmp_path: Path) -> None:
    done = run(tmp_path, "export")
    assert done.returncode == 0, done.stderr[-4000:]
    ways = json.loads(done.stdout)
    assert len(ways) >= 16
    assert {name for name, way in ways.items() if way != "alike"} == {"cubic"}
    assert ways["cubic"] == "by the host"


def test_batches_are_the_same_wherever_its_memory_runs_out(tmp_path: Path) -> None:
    done = run(tmp_path, "short")
    assert done.returncode == 0, done.stderr[-4000:]
    counted = json.loads(done.stdout)
    assert counted["batches"] > 20
    assert counted["different"] == 0


def test_a_forgotten_transfer_is_found(preprocessed: Path) -> None:
    done = run(preprocessed, "forget")
    assert "a tensor of 4 has not been moved to standin" in done.stderr


def test_a_step_waits_for_the_device_no_more_than_it_must(preprocessed: Path) -> None:
    done = run(preprocessed, "all", "count")
    assert done.returncode == 0, done.stderr[-4000:]
    waits = {
        name: {kind: sum(of_kind.values()) for kind, of_kind in counts.items()}
        for name, counts in json.loads(done.stdout).items()
    }
    assert waits.pop("known") == {"none": 0, "each": 9}
    for name, counts in waits.items():
        # Loss, norm, and whether a rank stops or has a loss that is not finite, all at once.
        assert counts["training"] <= 1, name
        assert counts["launching"] == (0 if "read late" in name else 1), name
        assert counts["validation"] <= 1, name
        # In one reduction with what all scales need of other ranks, such as counts.
        # Two channels in float32, and the target of full resolution alone, in int8 or three bools.
        per_voxel = 2 * 4 + (3 if "regions" in name else 1)
        size = VOXELS["patches" if "augmented" in name else "noise"] * per_voxel
        assert counts["validation bytes"] == size, name
        # What is drawn for a device has the numbers of its transforms besides; none of these
        # samples is rotated, for which more would be read.
        tables = 4096 if name == "augmented on device" else 0
        assert size <= counts["training bytes"] <= size + tables, name
        if "two ranks" in name:
            assert counts["training collectives"] == 1, name
            assert counts["validation collectives"] == 1, name
