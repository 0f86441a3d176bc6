"""The command ensemble."""

from collections.abc import Callable
from pathlib import Path

from resenc_plans.datasets.images.images import read_label
from tests.cli.conftest import Done
from tests.inference.predictions import prediction


def test_folders_may_be_given_as_nnunet_takes_them(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    folders = [prediction(tmp_path / str(seed), seed) for seed in range(2)]
    plain = run("ensemble", *folders, "-o", tmp_path / "plain", "--probabilities")
    assert plain.code == 0
    assert "2 cases written" in plain.out
    assert (tmp_path / "plain" / "one.npz").is_file()
    habit = run("ensemble", "-i", *folders, "-o", tmp_path / "habit", "-np", "1")
    assert habit.code == 0
    assert (
        read_label(tmp_path / "plain" / "one.nii.gz").array
        == read_label(tmp_path / "habit" / "one.nii.gz").array
    ).all()


def test_a_damaged_case_makes_exit_code_1(run: Callable[..., Done], tmp_path: Path) -> None:
    folders = [prediction(tmp_path / str(seed), seed) for seed in range(2)]
    (folders[1] / "one.npz").write_bytes(b"no archive")
    done = run("ensemble", *folders, "-o", tmp_path / "out")
    assert done.code == 1
    assert "1 case written" in done.out
    assert str(folders[1] / "one.npz") in done.out


def test_a_folder_that_is_not_there_is_an_error(run: Callable[..., Done], tmp_path: Path) -> None:
    done = run("ensemble", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert done.code == 2
    assert "no such folder" in done.err
    assert run("ensemble", "-o", tmp_path / "out").code == 2
