"""summary.json."""

import json
import math
from pathlib import Path

import pytest

from resenc_plans.datasets.labels import Region
from resenc_plans.errors import FileError
from resenc_plans.evaluation.metrics import Counts
from resenc_plans.evaluation.summary import CaseMetrics, Summary


def case(name: str, **counts: tuple[int, int, int, int]) -> CaseMetrics:
    metrics: dict[Region, dict[str, float]] = {
        int(label[1:]): Counts(*values).to_dict() for label, values in counts.items()
    }
    return CaseMetrics(f"pred/{name}", f"ref/{name}", metrics)


EMPTY = (0, 0, 0, 9)


def test_a_case_without_the_label_is_left_out_of_the_mean() -> None:
    summary = Summary((case("a", _1=(1, 0, 0, 8)), case("b", _1=EMPTY)), (1,))
    assert summary.mean[1]["Dice"] == 1
    assert summary.mean[1]["TN"] == 8.5


def test_a_label_that_no_case_has_makes_the_foreground_mean_nan() -> None:
    summary = Summary((case("a", _1=(1, 0, 0, 8), _2=EMPTY),), (1, 2))
    assert math.isnan(summary.mean[2]["Dice"])
    assert math.isnan(summary.foreground_mean["Dice"])
    assert summary.foreground_mean["TP"] == 0.5


def test_background_takes_no_part_in_the_foreground_mean() -> None:
    summary = Summary((case("a", _0=(1, 0, 0, 8), _1=(0, 1, 0, 8)),), (0, 1))
    assert summary.foreground_mean["Dice"] == 0


def test_rows_for_data_frames_are_of_a_case_and_a_label() -> None:
    cases = (
        case("a.nii.gz", _1=(1, 0, 0, 8), _2=EMPTY),
        case("b.nii.gz", _1=(0, 1, 0, 8), _2=EMPTY),
    )
    rows = Summary(cases, (1, 2)).case_rows()
    assert [(row["case"], row["label"]) for row in rows] == [
        ("a", "1"),
        ("a", "2"),
        ("b", "1"),
        ("b", "2"),
    ]
    assert (rows[0]["Dice"], rows[2]["Dice"]) == (1, 0)


def test_a_saved_summary_is_read_back(tmp_path: Path) -> None:
    counts = Counts(1, 1, 1, 6).to_dict()
    figures: dict[Region, dict[str, float]] = {(1, 2): counts, (3,): counts, 10: counts}
    summary = Summary((CaseMetrics("pred/a", "ref/a", figures),), ((1, 2), (3,), 10))
    summary.save(tmp_path / "summary.json")
    again = Summary.load(tmp_path / "summary.json")
    assert again.cases == summary.cases
    assert again.foreground_mean == summary.foreground_mean
    assert list(json.loads((tmp_path / "summary.json").read_text())["mean"]) == [
        "(1, 2)",
        "(3,)",
        "10",
    ]


@pytest.mark.parametrize("text", ["[]", "{}", '{"mean": 1, "metric_per_case": [2]}'])
def test_another_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(FileError, match=r"other\.json: not a summary\.json"):
        Summary.load(tmp_path / "other.json")


def test_a_mean_of_a_label_that_a_case_lacks_is_named() -> None:
    document = Summary((case("a", _1=(1, 0, 0, 8)),), (1,)).to_dict()
    document["mean"]["2"] = document["mean"]["1"]
    with pytest.raises(FileError, match=r"metric_per_case\[0\]\.metrics\.2 is missing"):
        Summary.from_dict(document)


def test_a_count_that_no_image_has_is_named() -> None:
    document = Summary((case("a", _1=(1, 0, 0, 8)),), (1,)).to_dict()
    document["metric_per_case"][0]["metrics"]["1"]["TP"] = 10**400
    with pytest.raises(FileError, match=r"metrics\.1\.TP is 1000"):
        Summary.from_dict(document)
