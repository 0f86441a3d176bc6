"""The command verify, and what is said of the same datasets when they are planned."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans.datasets.demo import write_phantom
from tests.cli.conftest import Done

Run = Callable[..., Done]


@pytest.fixture
def short_of_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five cases of two channels, where dataset.json names three; one stands in the folder."""
    folder = write_phantom(tmp_path / "Dataset900_Phantom", cases=5)
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    content["channel_names"]["2"] = "T2"
    path.write_text(json.dumps(content))
    monkeypatch.chdir(folder)
    return folder


def test_the_same_fault_of_many_cases_is_one_line(run: Run, short_of_channels: Path) -> None:
    done = run("verify")
    [line] = [line for line in done.out.splitlines() if "wrong-channels" in line]
    assert "and 2 more" in line
    assert "The case has 2 channels (CASE_0000.nii.gz, CASE_0001.nii.gz)" in line
    assert done.out.splitlines()[-1] == "Dataset900_Phantom: 5 cases, 5 errors."
    assert len(json.loads(run("verify", "--format", "json").out)) == 5


def test_a_fingerprint_names_it_once_too(run: Run, short_of_channels: Path) -> None:
    done = run("fingerprint", "--workers", "1")
    assert done.code == 2
    assert "5 of 5 cases are damaged" in done.err
    assert done.err.count("but dataset.json names 3") == 1
