"""The command select."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done
from tests.evaluation.trained_folders import write_model, write_references
from tests.runs.test_run_record import RECORD

Run = Callable[..., Done]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Results of two models of two folds; references are in `ref`."""
    plans = tmp_path / "plans.json"
    plans.write_text('{"configurations": {}}')
    write_references(tmp_path / "ref", ["a", "b"])
    dataset = tmp_path / "results" / "Dataset009_Small"
    for seed, name in enumerate(("2d", "3d_fullres")):
        write_model(
            dataset / f"nnUNetTrainer__nnUNetPlans__{name}", plans, tmp_path / "ref",
            (("a",), ("b",)), noise=0.4, seed=seed, dataset_name=dataset.name,
        )  # fmt: skip
    return dataset


def test_select_writes_what_to_run(run: Run, dataset: Path, tmp_path: Path) -> None:
    options = ("-d", "9", "--results", tmp_path / "results")
    done = run("select", *options, "-r", tmp_path / "ref")
    assert done.code == 0
    assert done.out.count("best") >= 1
    text = (dataset / "inference_instructions.txt").read_text()
    assert text in done.out
    assert json.loads((dataset / "inference_information.json").read_text())["folds"] == [0, 1]
    done = run("select", *options)
    assert done.code == 2
    assert "Name their folder with -r" in done.err
    assert run("select", *options, "-r", tmp_path / "ref", "-f", "x").code == 2


def test_the_commands_can_be_pasted_from_a_narrow_terminal(
    run: Run, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    options = ("-d", "9", "--results", tmp_path / "results", "-r", tmp_path / "ref")
    done = run("select", *options, "--no-ensembles")
    assert done.code == 0
    assert (dataset / "inference_instructions.txt").read_text() in done.out


def test_what_is_not_comparable_is_refused_with_the_option_that_allows_it(
    run: Run, dataset: Path, tmp_path: Path
) -> None:
    for number, model in enumerate(sorted(dataset.iterdir())):
        for fold in ("fold_0", "fold_1"):
            settings = {"epochs": 3 + 9 * number}
            RECORD.model_copy(update={"settings": settings}).save(model / fold)
    options = ("-d", "9", "--results", tmp_path / "results", "-r", tmp_path / "ref")
    done = run("select", *options, "--no-ensembles")
    assert done.code == 2
    assert "R001 epochs and iterations: 3 x 250 and 12 x 250 (folds 0, 1)" in done.err
    assert "(--allow-differences)" in done.err
    assert not (dataset / "inference_information.json").exists()
    done = run("select", *options, "--no-ensembles", "--allow-differences")
    assert done.code == 0
    assert "R001 epochs and iterations" in done.err
    assert "Not recorded of all models, so not compared: " in done.err


def test_a_fold_that_is_only_begun_is_named_with_the_option_that_omits_it(
    run: Run, dataset: Path, tmp_path: Path
) -> None:
    shutil.rmtree(dataset / "nnUNetTrainer__nnUNetPlans__2d" / "fold_1" / "validation")
    options = ("-d", "9", "--results", tmp_path / "results", "-r", tmp_path / "ref")
    done = run("select", *options)
    assert done.code == 2
    assert "Train fold 1 of nnUNetTrainer__nnUNetPlans__2d first, or compare on -f 0." in done.err
    assert run("select", *options, "-f", "0", "--no-ensembles").code == 0
