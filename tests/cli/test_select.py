"""The command select."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done
from tests.evaluation.trained_folders import write_model, write_references

Run = Callable[..., Done]


def test_select_writes_what_to_run(run: Run, tmp_path: Path) -> None:
    plans = tmp_path / "plans.json"
    plans.write_text('{"configurations": {}}')
    write_references(tmp_path / "ref", ["a", "b"])
    dataset = tmp_path / "results" / "Dataset009_Small"
    for seed, name in enumerate(("2d", "3d_fullres")):
        write_model(
            dataset / f"nnUNetTrainer__nnUNetPlans__{name}", plans, tmp_path / "ref",
            (("a",), ("b",)), noise=0.4, seed=seed, dataset_name=dataset.name,
        )  # fmt: skip
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
