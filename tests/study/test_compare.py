"""compare: from files to statistics."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.errors import EvaluationError, FileError, UsageError
from resenc_plans.runs.run_cost import save_cost
from resenc_plans.study.compare import compare
from resenc_plans.study.comparison import Comparison
from tests.runs.test_run_cost import TWO
from tests.study.made_results import dice_like, write_summary


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [
        write_summary(tmp_path / name, dice_like(40, shift=shift))
        for name, shift in (("bad", -0.1), ("good", 0.0), ("same", 0.0))
    ]


def test_the_better_method_is_found(three: list[Path]) -> None:
    [dataset] = compare(*three[:2], draws=500).datasets
    bad, good = dataset.metrics[0].of_label()
    [pair] = dataset.metrics[0].pairs_of()
    assert good.mean == pytest.approx(dice_like(40).mean(), abs=1e-3)
    assert (bad.rank.rank, good.rank.rank) == (2, 1)
    assert good.rank.probabilities == (1, 0)
    assert pair.bca.high < 0
    assert pair.p < 0.001
    assert (pair.wins, pair.losses) == (0, 40)


def test_p_values_are_adjusted_over_the_pairs_of_a_metric_and_label(three: list[Path]) -> None:
    [dataset] = compare(*three, draws=200).datasets
    pairs = dataset.metrics[0].pairs_of("1")
    assert [pair.p_holm for pair in pairs[:2]] == pytest.approx([3 * pair.p for pair in pairs[:2]])
    assert math.isnan(pairs[2].p)


def test_results_are_the_same_again_and_others_with_another_seed(three: list[Path]) -> None:
    first, again, other = (compare(*three[:2], draws=200, seed=seed) for seed in (1, 1, 2))
    assert first.to_dict() == again.to_dict()
    assert first.pair_rows()[0]["low"] != other.pair_rows()[0]["low"]


def test_a_score_that_is_not_defined_is_left_out_of_all_methods_or_counts_as_perfect(
    tmp_path: Path,
) -> None:
    one, other = dice_like(10), dice_like(10, shift=0.02)
    one[0, 1] = math.nan
    paths = write_summary(tmp_path / "a", one), write_summary(tmp_path / "b", other)
    omitted, perfect = (
        compare(*paths, draws=200, undefined=rule).datasets[0] for rule in ("omit", "perfect")
    )
    assert [score.cases for score in omitted.metrics[0].of_label("2")] == [9, 9]
    assert [score.cases for score in perfect.metrics[0].of_label("2")] == [10, 10]
    [finding] = [one for one in omitted.findings if one.rule == "C101" and "Dice" in one.message]
    assert "label 2: 1 case is left out" in finding.message
    assert "b in 1" in finding.message


def test_a_missing_case_is_left_out_of_all_methods_or_counts_as_0(tmp_path: Path) -> None:
    whole = write_summary(tmp_path / "whole", dice_like(8))
    part = write_summary(tmp_path / "part", dice_like(8)[:7])
    omitted, worst = (
        compare(whole, part, draws=200, missing=rule).datasets[0] for rule in ("omit", "worst")
    )
    assert (len(omitted.cases), len(worst.cases)) == (7, 8)
    assert worst.metrics[0].of_label()[1].mean == pytest.approx(
        dice_like(8)[:7].mean() * 7 / 8, abs=1e-3
    )
    assert omitted.findings[0].rule == "C001"


def test_patients_are_drawn_whole_and_tested_by_their_means(tmp_path: Path) -> None:
    dice = [np.repeat(dice_like(20, shift=shift), 3, axis=0) for shift in (0, 0.01)]
    cases = [f"p{number // 3}_{number % 3}" for number in range(60)]
    paths = [
        write_summary(tmp_path / name, dict(zip(cases, one.tolist(), strict=True)))
        for name, one in zip("ab", dice, strict=True)
    ]
    alone, clustered = (
        compare(*paths, patients=rule, draws=500).datasets[0].metrics[0].pairs_of()[0]
        for rule in (None, r"(p\d+)_")
    )
    assert (alone.patients, clustered.patients) == (60, 20)
    assert clustered.p > alone.p
    assert clustered.bca.high - clustered.bca.low > 1.4 * (alone.bca.high - alone.bca.low)


def test_several_datasets_give_mean_ranks(tmp_path: Path) -> None:
    paths = [
        write_summary(tmp_path / dataset / name, dice_like(12, shift=shift))
        for dataset in ("Dataset001_A", "Dataset002_B")
        for name, shift in (("m", 0.0), ("l", 0.05))
    ]
    comparison = compare(*paths, draws=200)
    assert [one.dataset for one in comparison.datasets] == ["Dataset001_A", "Dataset002_B"]
    ranks = {one.method: one.rank for one in comparison.mean_ranks if one.metric == "Dice"}
    assert ranks == {"m": 2, "l": 1}


def test_the_verdict_needs_a_margin(three: list[Path]) -> None:
    [dataset] = compare(*three, draws=200, margin=0.01).datasets
    assert [pair.verdict for pair in dataset.metrics[0].pairs_of()] == [
        "inferior",
        "inferior",
        "equivalent",
    ]


def test_the_document_is_json_without_nan(three: list[Path]) -> None:
    document = compare(*three, draws=200).to_dict()
    assert "NaN" not in json.dumps(document)
    rules = {one["rule"] for one in document["datasets"][0]["findings"]}
    assert {"C005", "C201", "C202"} <= rules


def test_rows_are_for_data_frames(three: list[Path]) -> None:
    comparison: Comparison = compare(*three, draws=200)
    assert len(comparison.method_rows()) == 3 * 3 * 2
    assert len(comparison.pair_rows()) == 3 * 3 * 2
    assert len(comparison.case_rows()) == 3 * 2 * 2 * 40
    assert comparison.method_rows()[0]["method"] == "bad"


def test_methods_without_a_common_case_or_label_are_refused(tmp_path: Path) -> None:
    one = write_summary(tmp_path / "one", {"a": [0.5, 0.5]})
    cases = write_summary(tmp_path / "cases", {"b": [0.5, 0.5]})
    labels = write_summary(tmp_path / "labels", {"a": [0.5, 0.5]}, labels=(3, 4))
    with pytest.raises(EvaluationError, match=r"no case in common \(one: a; cases: b\)"):
        compare(one, cases)
    with pytest.raises(EvaluationError, match=r"no label in common \(one: 1, 2; labels: 3, 4\)"):
        compare(one, labels)


def test_one_method_twice_and_a_metric_that_is_not_there_are_refused(three: list[Path]) -> None:
    with pytest.raises(EvaluationError, match="named twice"):
        compare(three[0], three[0] / ".." / "bad")
    with pytest.raises(EvaluationError, match="HD95: not every result has this metric"):
        compare(*three, metrics=["HD95"])
    with pytest.raises(UsageError, match=r"not a metric\. There is: Dice"):
        compare(*three, metrics=["Dise"])


@pytest.mark.parametrize(
    "options",
    [
        {"level": 95},
        {"draws": 5},
        {"margin": 0},
        {"margin": 2},
        {"tie": -1.0},
        {"tie": 1},
        {"patients": "("},
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, object], three: list[Path]) -> None:
    with pytest.raises(UsageError, match=f"`{next(iter(options))}="):
        compare(*three, **options)  # type: ignore[arg-type]


def test_a_single_result_is_refused(three: list[Path]) -> None:
    with pytest.raises(UsageError, match="at least two"):
        compare(three[0])


def test_distances_are_read_from_metrics_json_and_lower_is_better(tmp_path: Path) -> None:
    paths = [write_summary(tmp_path / name, dice_like(12)) for name in ("near", "far")]
    for path, distance in zip(paths, (1.0, 5.0), strict=True):
        figures = {
            f"case_{case}.nii.gz": {"1": {"HD95": distance + case / 10}, "2": {"HD95": math.nan}}
            for case in range(12)
        }
        document = {"tolerance_mm": 1.0, "metric_per_case": figures}
        (path / "metrics.json").write_text(json.dumps(document))
    [dataset] = compare(*paths, draws=200, metrics=["HD95"]).datasets
    near, far = dataset.metrics[0].of_label()
    [pair] = dataset.metrics[0].pairs_of()
    assert (near.rank.rank, far.rank.rank) == (1, 2)
    assert pair.difference == pytest.approx(-4)
    assert (pair.wins, pair.losses) == (12, 0)
    assert "HD95 of label 2: 12 cases are left out" in " ".join(
        one.message for one in dataset.findings
    )


def test_an_error_says_what_could_still_be_compared(three: list[Path], tmp_path: Path) -> None:
    other = write_summary(tmp_path / "other", {"x": [0.5, 0.5]})
    with pytest.raises(EvaluationError, match="Without other, the others have 40 cases in common"):
        compare(*three, other)
    (other / "summary.json").write_text('{"metric_per_case": [')
    with pytest.raises(FileError, match=r"truncated[^$]*nowhere: no such[^$]*without: .*/bad, "):
        compare(*three, other, tmp_path / "nowhere")


def test_the_budget_of_a_method_is_that_of_its_training_on_the_dataset(tmp_path: Path) -> None:
    paths = []
    for dataset, hours in (("Dataset001_A", 2), ("Dataset002_B", 50)):
        for name in ("m", "l"):
            model = tmp_path / dataset / f"nnUNetTrainer__{name}__3d"
            write_summary(
                model / "fold_0" / "validation", dice_like(12, shift=0.01 * (name == "m"))
            )
            (model / "plans.json").write_text("{}")
            cost = replace(TWO, begun=0.0, ended=hours * 3600.0)
            save_cost(model / "fold_0" / "cost.json", [cost])
            paths.append(model)
    first, second = compare(*paths, draws=100).datasets
    assert [first.budgets["m"].hours, second.budgets["m"].hours] == [2, 50]


def test_datasets_are_drawn_independently(tmp_path: Path) -> None:
    """Two datasets with the same scores have other draws, or mean ranks would vary too much."""
    paths = [
        write_summary(tmp_path / dataset / name, dice_like(12, shift=shift))
        for dataset in ("Dataset001_A", "Dataset002_B")
        for name, shift in (("m", 0.0), ("l", 0.001))
    ]
    first, second = compare(*paths, draws=200).datasets
    one, other = (dataset.metrics[0].of_label()[0] for dataset in (first, second))
    assert one.mean == other.mean
    assert one.interval != other.interval


def test_the_metric_that_a_method_lacks_is_named_with_those_that_all_have(
    three: list[Path],
) -> None:
    figures = {"case_0.nii.gz": {"1": {"NSD": 0.5}, "2": {"NSD": 0.5}}}
    document = {"tolerance_mm": 1.0, "metric_per_case": figures}
    (three[0] / "metrics.json").write_text(json.dumps(document))
    with pytest.raises(
        EvaluationError, match=r"NSD: not every .* good, same lack it\. .* All have Dice, IoU\."
    ):
        compare(*three, metrics=["Dice", "NSD"])


def test_infinite_distances_are_not_defined(tmp_path: Path) -> None:
    """Some programs write infinity where one surface is missing; a mean of it says nothing."""
    paths = [write_summary(tmp_path / name, dice_like(12)) for name in ("near", "far")]
    for path, distance in zip(paths, (1.0, 5.0), strict=True):
        rows = {label: {"HD95": distance} for label in "12"}
        figures = {f"case_{case}.nii.gz": rows for case in range(12)}
        figures["case_3.nii.gz"] = {**rows, "1": {"HD95": math.inf}}
        document = {"tolerance_mm": 1.0, "metric_per_case": figures}
        (path / "metrics.json").write_text(json.dumps(document))
    [dataset] = compare(*paths, draws=200, metrics=["HD95"]).datasets
    assert [score.cases for score in dataset.metrics[0].of_label("1")] == [11, 11]
    assert [score.mean for score in dataset.metrics[0].of_label("1")] == [1, 5]
