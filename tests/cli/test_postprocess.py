"""The command postprocess."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done

Run = Callable[..., Done]


def test_postprocess_finds_out_and_applies(run: Run, predicted: Path) -> None:
    done = run("postprocess", predicted / "pred", "-r", predicted / "labelsTr")
    assert done.code == 0
    assert "all labels together" in done.out
    rules = predicted / "pred" / "postprocessing.json"
    done = run("postprocess", predicted / "pred", "--apply", rules, "-o", predicted / "out")
    assert done.code == 0
    run("evaluate", predicted / "out", "-r", predicted / "labelsTr")
    summary = json.loads((predicted / "out" / "summary.json").read_text())
    assert summary["foreground_mean"]["Dice"] == 1
    assert (predicted / "pred" / "postprocessed" / "a.nii.gz").read_bytes() == (
        predicted / "out" / "a.nii.gz"
    ).read_bytes()


def test_postprocess_wants_one_of_two_things(run: Run, predicted: Path) -> None:
    assert run("postprocess", predicted / "pred").code == 2
    done = run(
        "postprocess", predicted / "pred", "--apply", predicted / "dataset.json", "-o", "out"
    )
    assert done.code == 2
    assert "not a postprocessing.json" in done.err
