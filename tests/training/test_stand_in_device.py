"""Training, checkpoints, resume and prediction on a device whose tensors are not the CPU's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def run(folder: Path, task: str) -> subprocess.CompletedProcess[str]:
    script = "tests.training.run_on_stand_in"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", script, folder, task],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stand_in_trains_resumes_and_predicts_as_the_cpu(preprocessed: Path) -> None:
    done = run(preprocessed, "train")
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout) == {"weights": 0, "logits": 0}


def test_a_forgotten_transfer_is_found(preprocessed: Path) -> None:
    done = run(preprocessed, "forget")
    assert "a tensor of 4 has not been moved to standin" in done.stderr
