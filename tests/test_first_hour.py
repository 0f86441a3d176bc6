"""`benchmarks/first_hour.py` at toy size, on the CPU: what a GPU machine will be asked to do."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "first_hour.py"
AUGMENTED = "2 workers, augmented on device"
CHECKS = "steps that the device decides on"
ONLY = ("M", AUGMENTED, "nnU-Net", "resume", "labels", "profile", CHECKS)
PARTS = ("presets", "factors", "nnunet", "resume", "labels", "memory", "profile", "checks", "tests")

pytestmark = pytest.mark.slow


def first_hour(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of every part, one run of each."""
    folder = tmp_path_factory.mktemp("first_hour")
    only = [word for name in ONLY for word in ("--only", name)]
    tests = ["--tests", str(ROOT / "tests" / "networks" / "test_cudnn.py")]
    folders = ["--data", str(folder / "data"), "--output", str(folder)]
    first_hour("measure", *PARTS, "--toy", "--minutes", "60", *only, *tests, *folders)
    return folder


@pytest.fixture(scope="module")
def values(folder: Path) -> Callable[[str, str], dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]

    def of(part: str, run: str) -> dict[str, Any]:
        [row] = [row for row in rows if (row["part"], row["run"]) == (part, run)]
        assert row["machine"]["card"] == "CPU"
        assert row["toy"]
        return row["values"] | {"error of the run": row["error"]}

    return of


def test_a_training_is_timed_beside_its_estimate(values: Callable[..., dict[str, Any]]) -> None:
    row = values("presets", "M")
    assert row["error of the run"] is None
    expected = 250 * row["iteration_s"] + 50 * row["validation_s"]
    assert row["epoch_s"] == pytest.approx(expected)
    assert 0 <= row["waited"] <= 1
    low, expected, high = row["estimate_gib"]
    assert low < expected < high


def test_workers_may_leave_the_augmentation_to_the_device(
    values: Callable[..., dict[str, Any]],
) -> None:
    row = values("factors", AUGMENTED)
    assert row["error of the run"] is None
    assert row["workers"] == 2


def test_without_nnunet_the_row_says_so(values: Callable[..., dict[str, Any]]) -> None:
    assert "nnunetv2 is not installed" in values("nnunet", "nnU-Net")["error of the run"]


def test_a_resumed_run_is_compared_with_an_undisturbed_one(
    values: Callable[..., dict[str, Any]],
) -> None:
    row = values("resume", "resume")
    assert (row["repeated_differs_by"], row["resumed_differs_by"]) == (0, 0)
    assert row["largest_weight"] > 0


def test_labels_are_compared_with_the_cpus(values: Callable[..., dict[str, Any]]) -> None:
    row = values("labels", "labels")
    assert len(row["labels"]) > 1
    assert row["fp32_differs"] == 0
    assert 0 <= row["bf16_differs"] < 0.2


def test_the_estimate_is_compared_with_what_was_taken(
    values: Callable[..., dict[str, Any]],
) -> None:
    row = values("memory", "M")
    assert row["error"] == pytest.approx(row["estimate_gib"][1] / row["card_gib"] - 1)


def test_a_profile_names_the_slowest_operations(values: Callable[..., dict[str, Any]]) -> None:
    row = values("profile", "profile")
    shares = [kernel["share"] for kernel in row["kernels"]]
    assert shares == sorted(shares, reverse=True)
    assert any("convolution" in kernel["name"] for kernel in row["kernels"])
    assert row["bytes_per_batch"] > 0


def test_checks_run_on_the_device_alone(values: Callable[..., dict[str, Any]]) -> None:
    row = values("checks", CHECKS)
    assert (row["passed"], row["failed"], row["skipped"]) == (6, 0, 0)


def test_checks_that_find_no_gpu_say_so(tmp_path: Path) -> None:
    only = ("--only", CHECKS, "--minutes", "60", "--output", str(tmp_path))
    assert "PyTorch finds no GPU" in first_hour("measure", "checks", *only)


def test_tests_are_counted(values: Callable[..., dict[str, Any]]) -> None:
    row = values("tests", "test_cudnn.py, not slow and not interop")
    assert (row["passed"], row["failed"]) == (6, 0)


def test_the_report_has_a_table_for_each_part(folder: Path) -> None:
    page = first_hour("report", folder)
    assert page.startswith("## CPU, toy size\n")
    assert page.count("### ") == len(PARTS)
    assert "1 configurations: mean error" in page
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_nothing_is_measured_twice_or_without_time(folder: Path, tmp_path: Path) -> None:
    only = ("--only", "M", "--only", "L", "--minutes", "0")
    folders = ("--data", folder / "data", "--output", tmp_path, "--earlier", folder)
    output = first_hour("measure", "presets", "resume", "--toy", *only, *folders)
    assert output == "presets, L: no time is left; repeat the command.\n"
    assert not (tmp_path / "rows.jsonl").exists()
