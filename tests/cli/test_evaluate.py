"""The command evaluate."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done

Run = Callable[..., Done]


def test_evaluate_writes_nnunets_summary_and_prints_a_row_per_label(
    run: Run, predicted: Path
) -> None:
    done = run("evaluate", predicted / "pred", "-r", predicted / "labelsTr")
    assert done.code == 0
    assert done.out.splitlines()[1].startswith("1 liver\t2\t0.99")
    assert "foreground mean" in done.out
    summary = json.loads((predicted / "pred" / "summary.json").read_text())
    assert summary["mean"]["2"]["Dice"] == 1


def test_two_folders_without_an_option_are_refused(run: Run, predicted: Path) -> None:
    """nnU-Net's order is the other one; false positives and negatives would be swapped."""
    done = run("evaluate", predicted / "labelsTr", predicted / "pred")
    assert done.code == 2
    assert "nnU-Net's own order (references first, then predictions)" in done.err
    assert "swap false positives and false negatives" in done.err
    assert "-r" in done.err
    assert not (predicted / "labelsTr" / "summary.json").exists()
    assert (
        run(
            "evaluate", predicted / "pred", predicted / "labelsTr", "-r", predicted / "labelsTr"
        ).code
        == 2
    )
    done = run("evaluate", predicted / "pred")
    assert done.code == 2
    assert "references with -r" in done.err


def test_evaluate_prints_json_and_nothing_else(run: Run, predicted: Path) -> None:
    done = run(
        "evaluate", predicted / "pred", "-r", predicted / "labelsTr", "-d", predicted,
        "--format", "json", "-o", predicted / "mine.json",
    )  # fmt: skip
    assert json.loads(done.out) == json.loads((predicted / "mine.json").read_text())


def test_labels_may_be_given_by_value(run: Run, predicted: Path) -> None:
    done = run(
        "evaluate", predicted / "pred", "-r", predicted / "labelsTr", "-l", "2", "--labels", "1,7"
    )
    assert [line.split("\t")[0] for line in done.out.splitlines()[1:4]] == ["2", "1", "7"]
    done = run("evaluate", predicted / "pred", "-r", predicted / "labelsTr", "-l", "liver")
    assert done.code == 2
    assert "-l 'liver'" in done.err


def test_what_fails_is_named_and_the_exit_code_is_1(run: Run, predicted: Path) -> None:
    (predicted / "pred" / "b.nii.gz").write_bytes(b"nothing")
    done = run("evaluate", predicted / "pred", "-r", predicted / "labelsTr")
    assert done.code == 1
    assert "b.nii.gz: not evaluated." in done.err
    assert (
        len(json.loads((predicted / "pred" / "summary.json").read_text())["metric_per_case"]) == 1
    )
    (predicted / "pred" / "b.nii.gz").unlink()
    done = run("evaluate", predicted / "pred", "-r", predicted / "labelsTr")
    assert done.code == 1
    assert "1 of the references has no prediction: b.nii.gz" in done.err
    assert run("evaluate", predicted / "pred", "-r", predicted / "labelsTr", "--chill").code == 0


def test_without_labels_it_says_how_to_give_them(run: Run, predicted: Path) -> None:
    (predicted / "dataset.json").unlink()
    done = run("evaluate", predicted / "pred", "-r", predicted / "labelsTr")
    assert done.code == 2
    assert "-l 1,2,3" in done.err


def test_pictures_are_drawn_on_demand(run: Run, predicted: Path) -> None:
    done = run(
        "evaluate", predicted / "pred", "-r", predicted / "labelsTr",
        "--plot", predicted / "plot.png",
        "--overlay", predicted / "pictures", "--images", predicted / "imagesTr",
    )  # fmt: skip
    assert done.code == 0
    assert (predicted / "plot.png").stat().st_size > 1000
    assert sorted(p.name for p in (predicted / "pictures").iterdir()) == ["a.png", "b.png"]
    done = run(
        "evaluate",
        predicted / "pred",
        "-r",
        predicted / "labelsTr",
        "--overlay",
        predicted / "more",
    )
    assert done.code == 2
    assert "--images" in done.err


def test_surfaces_are_measured_on_demand(run: Run, predicted: Path) -> None:
    pytest.importorskip("monai")
    done = run(
        "evaluate",
        predicted / "pred",
        "-r",
        predicted / "labelsTr",
        "--surface",
        "--tolerance",
        "2",
    )
    assert "NSD at 2 mm" in done.out
    assert f"Wrote {predicted / 'pred' / 'surface.json'}." in done.out
    assert json.loads((predicted / "pred" / "surface.json").read_text())["tolerance_mm"] == 2


def test_chosen_metrics_have_units_as_surfaces_have(run: Run, predicted: Path) -> None:
    pytest.importorskip("monai")
    folders = ("evaluate", predicted / "pred", "-r", predicted / "labelsTr")
    done = run(*folders, "--metrics", "HD95,NSD,clDice", "--surface", "--tolerance", "2")
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert ["label", "HD95 [mm]", "ASSD [mm]", "NSD at 2 mm", "undefined"] in lines
    heading = lines.index(["label", "HD95 [mm]", "NSD at 2 mm", "clDice"])
    figures = lines[heading + 1][1:]
    assert [len(figure.partition(".")[2]) for figure in figures] == [2, 4, 4]
