"""The commands evaluate, postprocess, select, export-model and import-model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Done
from tests.evaluation.label_folders import write_dataset_json, write_labels
from tests.evaluation.trained_folders import write_model, write_references

Run = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases with predictions (one with a speck), references, images and a dataset.json."""
    write_dataset_json(tmp_path / "dataset.json", {"background": 0, "liver": 1, "tumour": 2}, None)
    for case in ("a", "b"):
        reference = np.zeros((6, 8, 10), np.uint8)
        reference[1:4, 1:5, 1:6] = 1
        reference[2:3, 2:4, 2:4] = 2
        prediction = reference.copy()
        prediction[5, 7, 9] = 1
        write_labels(tmp_path / "labelsTr" / f"{case}.nii.gz", reference)
        write_labels(tmp_path / "pred" / f"{case}.nii.gz", prediction)
        write_labels(
            tmp_path / "imagesTr" / f"{case}_0000.nii.gz", reference.astype(np.float32) * 100
        )
    return tmp_path


def test_evaluate_writes_nnunets_summary_and_prints_a_row_per_label(run: Run, folder: Path) -> None:
    done = run("evaluate", folder / "pred", "-r", folder / "labelsTr")
    assert done.code == 0
    assert done.out.splitlines()[1].startswith("1 liver\t2\t0.99")
    assert "foreground mean" in done.out
    summary = json.loads((folder / "pred" / "summary.json").read_text())
    assert summary["mean"]["2"]["Dice"] == 1


def test_two_folders_without_an_option_are_refused(run: Run, folder: Path) -> None:
    """nnU-Net's order is the other one; false positives and negatives would be swapped."""
    done = run("evaluate", folder / "labelsTr", folder / "pred")
    assert done.code == 2
    assert "nnU-Net's own order (references first, then predictions)" in done.err
    assert "swap false positives and false negatives" in done.err
    assert "-r" in done.err
    assert not (folder / "labelsTr" / "summary.json").exists()
    assert (
        run("evaluate", folder / "pred", folder / "labelsTr", "-r", folder / "labelsTr").code == 2
    )
    done = run("evaluate", folder / "pred")
    assert done.code == 2
    assert "references with -r" in done.err


def test_evaluate_prints_json_and_nothing_else(run: Run, folder: Path) -> None:
    done = run(
        "evaluate", folder / "pred", "-r", folder / "labelsTr", "-d", folder, "--format", "json",
        "-o", folder / "mine.json",
    )  # fmt: skip
    assert json.loads(done.out) == json.loads((folder / "mine.json").read_text())


def test_labels_may_be_given_by_value(run: Run, folder: Path) -> None:
    done = run("evaluate", folder / "pred", "-r", folder / "labelsTr", "-l", "2", "--labels", "1,7")
    assert [line.split("\t")[0] for line in done.out.splitlines()[1:4]] == ["2", "1", "7"]
    done = run("evaluate", folder / "pred", "-r", folder / "labelsTr", "-l", "liver")
    assert done.code == 2
    assert "-l 'liver'" in done.err


def test_what_fails_is_named_and_the_exit_code_is_1(run: Run, folder: Path) -> None:
    (folder / "pred" / "b.nii.gz").write_bytes(b"nothing")
    done = run("evaluate", folder / "pred", "-r", folder / "labelsTr")
    assert done.code == 1
    assert "b.nii.gz: not evaluated." in done.err
    assert len(json.loads((folder / "pred" / "summary.json").read_text())["metric_per_case"]) == 1
    (folder / "pred" / "b.nii.gz").unlink()
    done = run("evaluate", folder / "pred", "-r", folder / "labelsTr")
    assert done.code == 1
    assert "1 of the references have no prediction: b.nii.gz" in done.err
    assert run("evaluate", folder / "pred", "-r", folder / "labelsTr", "--chill").code == 0


def test_without_labels_it_says_how_to_give_them(run: Run, folder: Path) -> None:
    (folder / "dataset.json").unlink()
    done = run("evaluate", folder / "pred", "-r", folder / "labelsTr")
    assert done.code == 2
    assert "-l 1,2,3" in done.err


def test_pictures_are_drawn_on_demand(run: Run, folder: Path) -> None:
    done = run(
        "evaluate", folder / "pred", "-r", folder / "labelsTr", "--plot", folder / "plot.png",
        "--overlay", folder / "pictures", "--images", folder / "imagesTr",
    )  # fmt: skip
    assert done.code == 0
    assert (folder / "plot.png").stat().st_size > 1000
    assert sorted(p.name for p in (folder / "pictures").iterdir()) == ["a.png", "b.png"]
    done = run("evaluate", folder / "pred", "-r", folder / "labelsTr", "--overlay", folder / "more")
    assert done.code == 2
    assert "--images" in done.err


def test_surfaces_are_measured_on_demand(run: Run, folder: Path) -> None:
    pytest.importorskip("monai")
    done = run(
        "evaluate", folder / "pred", "-r", folder / "labelsTr", "--surface", "--tolerance", "2"
    )
    assert "NSD at 2 mm" in done.out
    assert f"Wrote {folder / 'pred' / 'surface.json'}." in done.out
    assert json.loads((folder / "pred" / "surface.json").read_text())["tolerance_mm"] == 2


def test_postprocess_finds_out_and_applies(run: Run, folder: Path) -> None:
    done = run("postprocess", folder / "pred", "-r", folder / "labelsTr")
    assert done.code == 0
    assert "all labels together" in done.out
    rules = folder / "pred" / "postprocessing.json"
    done = run("postprocess", folder / "pred", "--apply", rules, "-o", folder / "out")
    assert done.code == 0
    run("evaluate", folder / "out", "-r", folder / "labelsTr")
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["foreground_mean"]["Dice"] == 1
    assert (folder / "pred" / "postprocessed" / "a.nii.gz").read_bytes() == (
        folder / "out" / "a.nii.gz"
    ).read_bytes()


def test_postprocess_wants_one_of_two_things(run: Run, folder: Path) -> None:
    assert run("postprocess", folder / "pred").code == 2
    done = run("postprocess", folder / "pred", "--apply", folder / "dataset.json", "-o", "out")
    assert done.code == 2
    assert "not a postprocessing.json" in done.err


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


def test_models_are_exported_and_installed(run: Run, shared: Path, tmp_path: Path) -> None:
    model = tmp_path / "results" / "Dataset004_Hippocampus" / "nnUNetTrainer__P__3d_fullres"
    shutil.copytree(shared / "oracle" / "model", model)
    (tmp_path / "new").mkdir()
    archive = tmp_path / "model.zip"
    options = ("-d", "4", "--results", tmp_path / "results", "-o", archive)
    assert run("export-model", *options).code == 0
    done = run("export-model", *options)
    assert done.code == 2
    assert "--overwrite" in done.err
    done = run("import-model", archive, "--results", tmp_path / "new")
    assert done.code == 0
    assert (tmp_path / "new" / model.relative_to(tmp_path / "results")).is_dir()
    done = run("import-model", archive, "--results", tmp_path / "new")
    assert done.code == 2
    assert "already exists" in done.err
    done = run("export-model", "-d", "7", "--results", tmp_path / "results", "-o", archive)
    assert done.code == 2
    assert "There is: Dataset004_Hippocampus" in done.err
