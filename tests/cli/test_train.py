"""The command train, before anything is trained."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done

Run = Callable[..., Done]


def test_results_beside_the_plans_are_announced(
    run: Run, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("create", "--preset", "M").code == 0
    done = run("train", ".", "3d_fullres", "0", "--dry-run")
    assert "nnUNet_results is not set" in done.err
    assert "beside the plans, to nnUNet_results" in done.err
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    assert "nnUNet_results is not set" not in run("train", ".", "3d_fullres", "0", "--dry-run").err


def last_command(done: Done) -> list[str]:
    """The command that an error proposes, as a shell reads it."""
    lines = done.err.splitlines()
    assert lines[-2] == "Run:"
    return shlex.split(lines[-1])


def test_what_is_not_preprocessed_comes_with_the_whole_command(
    run: Run, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works from any folder, and next to other plans."""
    folder = tmp_path / "a folder" / phantom.name
    shutil.copytree(phantom, folder)
    for name in ("Own", "Other"):
        assert run("create", "-d", folder, "--preset", "M", "--name", name).code == 0
    done = run("train", folder, "2d", "0", "-p", "Own")
    assert done.code == 2
    command = last_command(done)
    assert command[:4] == ["resenc-plans", "preprocess", "-c", "2d"]
    assert run(*command[1:], "--workers", "1").code == 0
    (next(folder.glob("nnUNetPlans_2d/*.pkl"))).unlink()
    assert last_command(run("train", folder, "2d", "all", "-p", "Own")) == command


def test_the_command_names_a_dataset_in_its_usual_place_by_name(
    run: Run, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))
    assert run("create", "--preset", "M").code == 0
    monkeypatch.chdir("/")
    done = run("train", dataset.name, "2d", "0", "--dry-run")
    expected = f"preprocess -c 2d -d {dataset.name} -p nnUNetResEncUNetMPlans"
    assert last_command(done) == ["resenc-plans", *expected.split()]


def test_settings_that_contradict_each_other_are_told_in_words(
    run: Run, dataset: Path, tmp_path: Path
) -> None:
    cosine = '{"schedule": {"name": "cosine", "warmup_epochs": 10}}'
    (tmp_path / "settings.json").write_text(cosine)
    assert run("create", "--preset", "M").code == 0
    assert run("derive", "--name", "planned", "--set", f"training={cosine}").code == 0
    train = ("train", ".", "3d_fullres", "0", "--dry-run")
    for arguments, sentence in (
        ((*train, "--settings", str(tmp_path / "settings.json"), "--epochs", "5"), "only 5 epochs"),
        (("train", ".", "planned", "0", "--dry-run", "--epochs", "5"), "only 5 epochs"),
        ((*train, "--max-time", "0"), "--max-time must be greater than 0"),
    ):
        done = run(*arguments)
        assert done.code == 2, done.err
        assert sentence in done.err


def test_one_gpu_for_several_processes_is_refused(run: Run, dataset: Path) -> None:
    assert run("create", "--preset", "M").code == 0
    train = ("train", ".", "3d_fullres", "0", "--gpus", "2", "--device", "cuda:3")
    for arguments in (train, (*train, "--dry-run")):
        done = run(*arguments)
        assert done.code == 2
        said = " ".join(done.err.split())
        assert "--gpus 2 and --device cuda:3 contradict each other" in said
        assert "CUDA_VISIBLE_DEVICES=3" in said


def test_a_dry_run_needs_the_checkpoint_whose_weights_are_to_be_used(
    run: Run, dataset: Path
) -> None:
    assert run("create", "--preset", "M").code == 0
    done = run("train", ".", "3d_fullres", "0", "--dry-run", "--pretrained", "nowhere.pth")
    assert done.code == 2
    assert "nowhere.pth: no such file" in done.err


def test_an_error_is_told_where_only_the_number_of_processes_is_set(
    run: Run, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    done = run("show", "nothing")
    assert done.code == 2
    assert "Error: " in done.err
