"""Budgets of methods."""

from dataclasses import replace
from pathlib import Path

import pytest

from resenc_plans.errors import UsageError
from resenc_plans.runs.run_cost import save_cost
from resenc_plans.study.budgets import Budget
from resenc_plans.study.compare import compare
from tests.runs.test_run_cost import TWO
from tests.study.made_results import dice_like, write_summary


def test_a_budget_beyond_the_nearest_preset_is_named_with_published_figures(
    tmp_path: Path,
) -> None:
    paths = [write_summary(tmp_path / name, dice_like(30)) for name in ("a", "b")]
    [dataset] = compare(*paths, draws=100, budgets={"a": "200h,17GB"}).datasets
    [finding] = [one for one in dataset.findings if one.rule == "C104"]
    assert "a: takes 3.0 times the hours of the nearest preset, nnU-Net ResEnc XL" in (
        finding.message
    )
    assert "(36.6 GB and 66 h on an A100, as published)" in finding.message


def test_the_folds_of_a_model_record_their_budget(tmp_path: Path) -> None:
    model = tmp_path / "Dataset004_X" / "nnUNetTrainer__P__3d"
    for fold, hours in enumerate((2, 4)):
        write_summary(model / f"fold_{fold}" / "validation", {str(fold): [0.5, 0.5]})
        save_cost(
            model / f"fold_{fold}" / "cost.json",
            [replace(TWO, begun=0.0, ended=hours * 3600.0, process_bytes=(fold + 1) * 2**30)],
        )
    (model / "plans.json").write_text("{}")
    other = write_summary(tmp_path / "other", {"0": [0.5, 0.6], "1": [0.5, 0.5]})
    [dataset] = compare(model, other, draws=100).datasets
    assert dataset.budgets == {model.name: Budget(3.0, 2.0, "cost.json, NVIDIA H100 80GB HBM3")}


@pytest.mark.parametrize("text", ["", "35", "h,GB", "0h", "1.2.3h", "35h;2GB"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"35h,22\.7GB"):
        Budget.parse(text)


def test_the_budget_of_an_unknown_method_is_refused(tmp_path: Path) -> None:
    paths = [write_summary(tmp_path / name, dice_like(5)) for name in ("a", "b")]
    with pytest.raises(UsageError, match=r"no method has this name\. There is: a, b"):
        compare(*paths, budgets={"c": "2h"})


def test_hours_of_a_cpu_are_not_compared_with_published_ones(tmp_path: Path) -> None:
    model = tmp_path / "nnUNetTrainer__P__3d"
    write_summary(model / "fold_0" / "validation", dice_like(30))
    (model / "plans.json").write_text("{}")
    on_cpu = replace(TWO, begun=0.0, ended=999 * 3600.0, device="cpu", process_bytes=None)
    save_cost(model / "fold_0" / "cost.json", [on_cpu])
    other = write_summary(tmp_path / "other", dice_like(30))
    [dataset] = compare(model, other, draws=100).datasets
    assert dataset.budgets[model.name].hours == 999
    assert "C104" not in {one.rule for one in dataset.findings}
