"""Training in processes of their own: several ranks, and ends that nobody chose."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from resenc_plans.networks.checkpoint import load_checkpoint

KILLS = int(os.environ.get("RESENC_PLANS_KILLS", "3"))
"""How often a run is killed; with 10 the test takes two minutes."""
STEP = {
    "epochs": 1,
    "iterations": 1,
    "validation_iterations": 1,
    "momentum": 0,
    "weight_decay": 0,
    "learning_rate": 1,
    "gradient_clip": 1e9,
    "precision": "fp32",
    "workers": 0,
}


def start(folder: Path, results: str, settings: dict, *options: str) -> subprocess.Popen[str]:
    """`resenc-plans train . tiny 0` in a process group of its own."""
    path = folder / f"{results}.json"
    path.write_text(json.dumps(settings))
    (folder / results).mkdir(exist_ok=True)
    environment = os.environ | {
        "nnUNet_results": str(folder / results),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "resenc_plans", "train", ".", "tiny", "0"]
    plans = ["-p", "nnUNetResEncUNetMPlans.json"]
    fixed = ["--device", "cpu", "--no-validation", "--settings", str(path)]
    return subprocess.Popen(
        [*command, *plans, *fixed, *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=240)
    return said


def checkpoint(folder: Path, results: str, name: str = "checkpoint_final.pth") -> Path:
    [fold] = (folder / results).glob("*/*/fold_0")
    return fold / name


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_take_the_step_of_one_process(preprocessed, world):
    for results, options in (("alone", ()), ("together", ("--gpus", str(world)))):
        process = start(preprocessed, results, STEP, *options)
        said = finish(process)
        assert process.returncode == 0, said
    assert f"Batch of 4 over {world} processes" in said or f"{world - 1}\t" in said
    alone, together = (
        load_checkpoint(checkpoint(preprocessed, results)).network_weights
        for results in ("alone", "together")
    )
    for name, value in alone.items():
        assert torch.allclose(value, together[name], atol=1e-5), name


def test_more_ranks_than_samples_are_refused_before_any_starts(preprocessed):
    process = start(preprocessed, "refused", STEP, "--gpus", "5")
    said = finish(process)
    assert process.returncode == 2
    assert "A batch of 4 cannot be split over 5 processes" in said


def test_when_a_rank_dies_all_end_and_it_is_named(preprocessed):
    process = start(preprocessed, "dying", STEP | {"iterations": 10_000}, "--gpus", "2")
    deadline = time.monotonic() + 120
    ranks: list[psutil.Process] = []
    while time.monotonic() < deadline and len(ranks) < 2:
        ranks = [c for c in psutil.Process(process.pid).children() if "train" in c.cmdline()]
        time.sleep(0.2)
    begun = preprocessed / "dying"
    while time.monotonic() < deadline and not list(begun.glob("*/*/fold_0/debug.json")):
        time.sleep(0.2)
    ranks[1].kill()
    killed = time.monotonic()
    said = finish(process)
    assert time.monotonic() - killed < 60
    assert "was killed by SIGKILL" in said
    assert "Traceback" not in said
    assert not any(rank.is_running() for rank in ranks)


def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(preprocessed):
    settings = STEP | {
        "epochs": 3,
        "iterations": 6 * KILLS,
        "momentum": 0.99,
        "learning_rate": 0.01,
        "checkpoint_minutes": 1e-9,
    }
    assert finish(start(preprocessed, "undisturbed", settings))
    moments = random.Random(0)
    written = preprocessed / "killed"
    for kill in range(KILLS):
        process = start(preprocessed, "killed", settings, *(["--resume"] if kill else []))
        begun = time.time()
        while not any(file.stat().st_mtime > begun for file in written.rglob("*.pth")):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.4))
        os.killpg(process.pid, signal.SIGKILL)
        finish(process)
    process = start(preprocessed, "killed", settings, "--resume")
    said = finish(process)
    assert process.returncode == 0, said
    undisturbed, resumed = (
        load_checkpoint(checkpoint(preprocessed, results)).network_weights
        for results in ("undisturbed", "killed")
    )
    assert all(torch.equal(value, resumed[name]) for name, value in undisturbed.items())
    [metrics] = (preprocessed / "killed").rglob("metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2]


@pytest.mark.parametrize("options", [(), ("--gpus", "2")])
def test_a_signal_to_all_processes_ends_a_run_with_a_checkpoint(preprocessed, options):
    settings = STEP | {"iterations": 10_000, "checkpoint_minutes": 1e-9, "workers": 1}
    process = start(preprocessed, "stopped", settings, *options)
    while not list((preprocessed / "stopped").glob("*/*/fold_0/checkpoint_latest.pth")):
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    said = finish(process)
    assert process.returncode == 75, said
    assert "SIGTERM was received. Go on with --resume" in said
    assert "Traceback" not in said


def test_a_terminated_run_has_an_exit_code_of_its_own(preprocessed):
    process = start(
        preprocessed, "stopped", STEP | {"iterations": 10_000, "checkpoint_minutes": 1e-9}
    )
    while not list((preprocessed / "stopped").glob("*/*/fold_0/checkpoint_latest.pth")):
        assert process.poll() is None
        time.sleep(0.1)
    process.terminate()
    said = finish(process)
    assert process.returncode == 75, said
    assert "SIGTERM was received. Go on with --resume" in said
