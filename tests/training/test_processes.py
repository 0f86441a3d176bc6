"""Training in processes of their own: several ranks, and ends that nobody chose."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.demo import write_phantom
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.plans.plans import Plans
from resenc_plans.runs.checkpoint import load_checkpoint
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.launch import end_of
from resenc_plans.workflows.held_out import validate_held_out
from tests.faults.results import TIMES
from tests.networks.configurations import unet_arguments

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("RESENC_PLANS_KILLS", "3"))
"""How often a run is killed; with 10 the test takes two minutes."""
RANK = "resenc_plans.cli.training_rank"
"""The module that the ranks of `train --gpus` run."""
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


def start(
    folder: Path,
    results: str,
    settings: dict[str, Any],
    *options: str,
    python: tuple[str, ...] = (sys.executable,),
    is_validated: bool = False,
) -> subprocess.Popen[str]:
    """`resenc-plans train . tiny 0` in a process group of its own."""
    path = folder / f"{results}.json"
    path.write_text(json.dumps(settings))
    (folder / results).mkdir(exist_ok=True)
    environment = os.environ | {
        "nnUNet_results": str(folder / results),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
        "PYTHONFAULTHANDLER": "1",
    }
    command = [*python, "-m", "resenc_plans", "train", ".", "tiny", "0"]
    plans = ["-p", "nnUNetResEncUNetMPlans.json"]
    fixed = ["--device", "cpu", "--settings", str(path)]
    fixed += [] if is_validated else ["--no-validation"]
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
    try:
        return process.communicate(timeout=120)[0]
    except subprocess.TimeoutExpired:
        for hanging in (*psutil.Process(process.pid).children(recursive=True), process):
            hanging.send_signal(signal.SIGABRT)  # which makes faulthandler print where it hangs
        pytest.fail(f"does not end: {process.communicate()[0]}")


def checkpoint(folder: Path, results: str, name: str = "checkpoint_final.pth") -> Path:
    [fold] = (folder / results).glob("*/*/fold_0")
    return fold / name


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_take_the_step_of_one_process(preprocessed: Path, world: int) -> None:
    for results, options in (("alone", ()), ("together", ("--gpus", str(world)))):
        process = start(preprocessed, results, STEP, *options)
        said = finish(process)
        assert process.returncode == 0, said
    assert said.count("foreground for certain") == 1
    alone, together = (
        load_checkpoint(checkpoint(preprocessed, results)).network_weights
        for results in ("alone", "together")
    )
    for name, value in alone.items():
        assert torch.allclose(value, together[name], atol=1e-5), name


def test_ranks_train_a_network_some_heads_of_which_are_idle(preprocessed: Path) -> None:
    path = preprocessed / "nnUNetResEncUNetMPlans.json"
    document = json.loads(path.read_text())
    three = {"n_blocks_per_stage": [1, 1, 1], "features_per_stage": [4, 8, 8]}
    document["configurations"]["tiny"]["architecture"]["arch_kwargs"] = unet_arguments(
        3, 3, **three
    )
    path.write_text(json.dumps(document))
    settings = STEP | {"iterations": 3, "learning_rate": 0.01, "deep_supervision": False}
    process = start(preprocessed, "idle", settings, "--gpus", "2")
    said = finish(process)
    assert process.returncode == 0, said


def test_a_compiler_that_is_missing_is_said_in_words(
    preprocessed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", "/nonexistent")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    process = start(preprocessed, "compiled", STEP | {"compile": True})
    said = finish(process)
    assert process.returncode == 1
    assert "Error: torch.compile failed: " in said
    assert '{"compile": false} in the settings' in said
    assert "Traceback" not in said


def test_ranks_share_the_held_out_cases_and_predict_them_as_one_process(
    preprocessed: Path, tmp_path: Path
) -> None:
    raw = write_phantom(tmp_path / "raw", cases=6)
    shutil.copytree(raw / "labelsTr", preprocessed / "gt_segmentations")
    process = start(preprocessed, "shared", STEP, "--gpus", "2", is_validated=True)
    said = finish(process)
    assert process.returncode == 0, said
    assert said.count("Predicting 2 held-out cases.") == 1
    assert said.count("Dice of 2 held-out cases: ") == 1
    fold = checkpoint(preprocessed, "shared").parent
    shared = fold / "validation"
    together = {path.name: path.read_bytes() for path in shared.iterdir()}
    assert len([name for name in together if name.endswith(".nii.gz")]) == 2
    config = Plans.load(preprocessed / "nnUNetResEncUNetMPlans.json").resolve("tiny")
    validate_held_out(
        *(config, Dataset.load(str(preprocessed)), RunFolder(fold.parent, 0)),
        PredictionSettings(device="cpu", precision="fp32"),
    )
    alone = {path.name: path.read_bytes() for path in shared.iterdir()}
    assert together == alone


def test_more_ranks_than_samples_are_refused_before_any_starts(preprocessed: Path) -> None:
    process = start(preprocessed, "refused", STEP, "--gpus", "5")
    said = finish(process)
    assert process.returncode == 2
    assert "A batch of 4 cannot be split over 5 processes" in said


def torchrun(processes: int) -> tuple[str, ...]:
    return (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes))


def test_torchrun_starts_it_too_and_the_split_is_printed_once(preprocessed: Path) -> None:
    process = start(preprocessed, "torchrun", STEP, python=torchrun(2))
    said = finish(process)
    assert process.returncode == 0, said
    assert said.count("foreground for certain") == 1
    assert said.index("foreground for certain") < said.index("epoch 1/1")
    assert checkpoint(preprocessed, "torchrun").is_file()


def test_torchrun_with_more_ranks_than_samples_is_refused(preprocessed: Path) -> None:
    process = start(preprocessed, "refused", STEP, python=torchrun(5))
    said = finish(process)
    assert process.returncode == 1
    assert "A batch of 4 cannot be split over 5 processes" in said
    assert not list((preprocessed / "refused").iterdir())


def wait_for_checkpoint(process: subprocess.Popen[str], folder: Path, results: str) -> None:
    while not list((folder / results).glob("*/*/fold_0/checkpoint_latest.pth")):
        assert process.poll() is None
        time.sleep(0.1)


ENDLESS = STEP | {"iterations": 10_000, "checkpoint_minutes": 1e-9}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_when_a_rank_dies_all_end_and_it_is_named(preprocessed: Path, number: Any) -> None:
    process = start(preprocessed, "dying", ENDLESS, "--gpus", "2")
    wait_for_checkpoint(process, preprocessed, "dying")
    children = psutil.Process(process.pid).children()
    ranks = {c.environ()["RANK"]: c for c in children if RANK in c.cmdline()}
    ranks["1"].send_signal(number)
    killed = time.monotonic()
    said = finish(process)
    assert time.monotonic() - killed < 60
    assert process.returncode == 1
    assert f"Rank 1 (process {ranks['1'].pid}) was killed by {number.name}" in said
    assert "all were ended. Continue with --resume." in " ".join(said.split())
    assert "Traceback" not in said
    assert not any(rank.is_running() for rank in ranks.values())
    assert load_checkpoint(checkpoint(preprocessed, "dying", "checkpoint_latest.pth"))


def test_when_the_parent_is_killed_its_ranks_and_their_loaders_end(preprocessed: Path) -> None:
    process = start(preprocessed, "orphans", ENDLESS | {"workers": 1}, "--gpus", "2")
    wait_for_checkpoint(process, preprocessed, "orphans")
    children = psutil.Process(process.pid).children(recursive=True)
    loaders = [c for c in children if c.parent() in children]
    assert len([c for c in children if RANK in c.cmdline()]) >= 2
    assert loaders
    process.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    for orphan in alive:
        orphan.kill()
    finish(process)
    assert alive == []


def test_when_a_rank_fails_all_end_and_its_error_is_told(preprocessed: Path) -> None:
    process = start(preprocessed, "failing", ENDLESS, "--gpus", "2")
    wait_for_checkpoint(process, preprocessed, "failing")
    for path in preprocessed.glob("*/phantom_???.b2nd"):
        with path.open("r+b") as stream:
            stream.seek(1000)
            stream.write(bytes(path.stat().st_size - 2000))
    failed = time.monotonic()
    said = finish(process)
    assert time.monotonic() - failed < 60
    assert process.returncode == 1
    assert re.search(r"Error: Rank [01] of 2: .*phantom_\d+\.b2nd: cannot be\s+read", said), said
    assert re.search(r"Rank [01] \(process \d+\) failed with exit code 1", said), said
    assert "Traceback" not in said
    assert load_checkpoint(checkpoint(preprocessed, "failing", "checkpoint_latest.pth"))


@pytest.mark.parametrize(
    ("codes", "end"),
    [
        ([ExitCode.LOST, -9], (1, "Rank 1 (process 1) was killed by SIGKILL")),
        ([1, -15], (1, "Rank 0 (process 0) failed with exit code 1")),
        ([-15, -11, ExitCode.LOST], (1, "Rank 1 (process 1) was killed by SIGSEGV")),
        ([ExitCode.LOST, ExitCode.LOST], (1, "The processes lost one another")),
        ([ExitCode.FAULT, -15], (70, "Rank 0 (process 0) failed with exit code 70")),
        ([75, -15], (75, "Stopped.")),
        ([-15, -15], (75, "Stopped by SIGTERM.")),
    ],
)
def test_the_process_that_was_the_cause_is_named(codes: list[int], end: tuple[int, str]) -> None:
    failures = {
        rank: ProcessFailure(rank, rank, code, error_file="") for rank, code in enumerate(codes)
    }
    found = end_of(failures)
    assert found.code == end[0]
    assert (found.reason or "").startswith(end[1])


def test_processes_that_were_ended_later_are_no_cause() -> None:
    failures = {
        rank: ProcessFailure(rank, rank, code, error_file="")
        for rank, code in enumerate((1, -signal.SIGKILL, -signal.SIGABRT))
    }
    for failure in (failures[1], failures[2]):
        failure.timestamp += 30
    reason = end_of(failures).reason or ""
    assert reason.startswith("Rank 0 (process 0) failed with exit code 1")
    assert "SIG" not in reason


@pytest.mark.parametrize(("options", "kills"), [((), KILLS), (("--gpus", "2"), 1)])
def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(
    preprocessed: Path, options: tuple[str, ...], kills: int
) -> None:
    path = preprocessed / "nnUNetResEncUNetMPlans.json"
    document = json.loads(path.read_text())
    tiny = document["configurations"]["tiny"]
    tiny["batch_size"] = 5  # of which ranks have unequal shares, so that they draw unequally often
    tiny["architecture"]["arch_kwargs"] |= {
        "dropout_op": "torch.nn.Dropout3d",
        "dropout_op_kwargs": {"p": 0.2},
    }
    path.write_text(json.dumps(document))
    settings = STEP | {
        "epochs": 3,
        "iterations": 6 * kills,
        "momentum": 0.99,
        "learning_rate": 0.01,
        "checkpoint_minutes": 1e-9,
    }
    assert finish(start(preprocessed, "undisturbed", settings, *options))
    moments = random.Random(0)
    written = preprocessed / "killed"
    for kill in range(kills):
        process = start(preprocessed, "killed", settings, *options, *(["--resume"] if kill else []))
        begun = time.time()
        while not any(file.stat().st_mtime > begun for file in written.rglob("*.pth")):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.4))
        os.killpg(process.pid, signal.SIGKILL)
        finish(process)
    process = start(preprocessed, "killed", settings, *options, "--resume")
    said = finish(process)
    assert process.returncode == 0, said
    undisturbed, resumed = (
        load_checkpoint(checkpoint(preprocessed, results)).network_weights
        for results in ("undisturbed", "killed")
    )
    assert all(torch.equal(value, resumed[name]) for name, value in undisturbed.items())
    figures, resumed_figures = (
        [
            {key: value for key, value in json.loads(line).items() if key not in TIMES}
            for line in path.read_text().splitlines()
        ]
        for results in ("undisturbed", "killed")
        for path in (preprocessed / results).rglob("metrics.jsonl")
    )
    assert [figure["epoch"] for figure in resumed_figures] == [0, 1, 2]
    assert resumed_figures == figures


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ((), signal.SIGTERM),
        (("--gpus", "2"), signal.SIGTERM),
        (("--gpus", "2"), signal.SIGINT),
        (("--gpus", "2"), signal.SIGUSR1),
    ],
)
def test_a_signal_to_all_processes_ends_a_run_with_a_checkpoint(
    preprocessed: Path, options: tuple[Any, ...], number: Any
) -> None:
    process = start(preprocessed, "stopped", ENDLESS | {"workers": 1}, *options)
    wait_for_checkpoint(process, preprocessed, "stopped")
    os.killpg(process.pid, number)
    said = finish(process)
    assert process.returncode == 75, said
    assert f"{number.name} was received. Continue with --resume" in said
    assert said.count("Continue with --resume") == 1
    assert "exitcode" not in said
    assert "death signal" not in said
    assert "Traceback" not in said


def test_resuming_before_there_is_a_checkpoint_begins_at_the_start(preprocessed: Path) -> None:
    process = start(preprocessed, "fresh", STEP, "--resume")
    said = finish(process)
    assert process.returncode == 0, said
    assert "has no checkpoint yet: training begins at the start" in " ".join(said.split())


def test_a_terminated_run_has_an_exit_code_of_its_own(preprocessed: Path) -> None:
    process = start(preprocessed, "stopped", ENDLESS)
    wait_for_checkpoint(process, preprocessed, "stopped")
    process.terminate()
    said = finish(process)
    assert process.returncode == 75, said
    assert "SIGTERM was received. Continue with --resume" in said
