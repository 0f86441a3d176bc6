"""The folder of a report."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.errors import FileError, UsageError
from resenc_plans.study.compare import compare
from tests.evaluation.label_folders import write_labels
from tests.study.made_results import dice_like, write_summary
from tests.study.report.made_comparison import made_comparison
from tests.visualization.picture_titles import title_of

FILES = ["cases.csv", "report.html", "report.md", "results.json", "table.tex"]


def test_the_report_is_five_files(tmp_path: Path) -> None:
    comparison = made_comparison(tmp_path, output=tmp_path / "report")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == FILES
    assert sorted(path.name for path in comparison.written) == FILES
    document = json.loads((tmp_path / "report" / "results.json").read_text())
    assert document == comparison.to_dict()
    with (tmp_path / "report" / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * 30 * 2 * 2
    assert rows[0]["case"] == "case_0"


def test_an_earlier_report_is_replaced_only_on_request(tmp_path: Path) -> None:
    report = tmp_path / "report"
    first = made_comparison(tmp_path, output=report)
    before = (report / "results.json").read_text()
    with pytest.raises(FileError, match="or replace the report"):
        made_comparison(tmp_path, output=report, seed=2)
    assert (report / "results.json").read_text() == before
    made_comparison(tmp_path, output=report, seed=2, overwrite=True)
    assert (report / "results.json").read_text() != before
    assert first.written


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(FileError, match="already exists"):
        made_comparison(tmp_path, output=tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


def test_the_worst_cases_are_drawn_on_their_images(tmp_path: Path) -> None:
    paths = [write_summary(tmp_path / name, dice_like(3)) for name in ("a", "b")]
    array = np.zeros((6, 7, 8), np.uint8)
    array[2:4, 2:5, 2:6] = 1
    for case in range(3):
        for folder in (*paths, tmp_path / "references"):
            write_labels(folder / f"case_{case}.nii.gz", array)
        if case:
            write_labels(tmp_path / "images" / f"case_{case}_0000.nii.gz", array)
    for path in paths:
        text = (path / "summary.json").read_text()
        moved = text.replace("references/", f"{tmp_path}/references/")
        (path / "summary.json").write_text(moved)
    comparison = compare(*paths, draws=100, output=tmp_path / "report", images=tmp_path / "images")
    drawn = sorted(path.name for path in (tmp_path / "report" / "overlays").rglob("*.png"))
    assert drawn == ["case_1.png", "case_2.png"]
    assert [problem.case for problem in comparison.not_drawn] == ["case_0"]
    page = (tmp_path / "report/report.html").read_text()
    assert 'href="overlays/results/case_1.png"' in page
    [method] = {title.partition(": ")[2] for title in _titles(tmp_path / "report")}
    assert method in ("a", "b")
    assert f"<p>The pictures show the predictions of {method}.</p>" in page


def _titles(report: Path) -> list[str]:
    """Of the pictures."""
    pictures = sorted((report / "overlays").rglob("*.png"))
    return [title_of(picture) for picture in pictures]


def test_a_picture_of_a_worst_case_names_the_fold_of_its_prediction(tmp_path: Path) -> None:
    array = np.zeros((6, 7, 8), np.uint8)
    array[2:4, 2:5, 2:6] = 1
    for name in ("a", "b"):
        validation = write_summary(
            tmp_path / f"{name}__p__c" / "fold_2" / "validation", dice_like(2)
        )
        text = (validation / "summary.json").read_text()
        references = text.replace("references/", f"{tmp_path}/references/")
        (validation / "summary.json").write_text(references)
        for case in range(2):
            for folder in (validation, tmp_path / "references"):
                write_labels(folder / f"case_{case}.nii.gz", array)
            write_labels(tmp_path / "images" / f"case_{case}_0000.nii.gz", array)
    models = [tmp_path / f"{name}__p__c" for name in ("a", "b")]
    compare(*models, draws=100, output=tmp_path / "report", images=tmp_path / "images")
    assert {title.split(": ")[1] for title in _titles(tmp_path / "report")} <= {
        "a, fold 2",
        "b, fold 2",
    }


def test_images_need_a_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`images=` needs `output=`"):
        made_comparison(tmp_path, images=tmp_path)


def test_several_datasets_are_reported_one_by_one_with_mean_ranks(tmp_path: Path) -> None:
    paths = [
        write_summary(tmp_path / dataset / name, dice_like(12, shift=shift))
        for dataset in ("Dataset001_A", "Dataset002_B")
        for name, shift in (("m", 0.0), ("l", 0.05))
    ]
    compare(*paths, draws=100, output=tmp_path / "report")
    table = (tmp_path / "report" / "table.tex").read_text()
    assert r"& Dataset001\_A & Dataset002\_B" in table
    assert table.count(r"\textbf") == 2
    for name in ("report.html", "report.md"):
        text = (tmp_path / "report" / name).read_text().replace("\\_", "_")
        assert text.index("Dataset001_A") < text.index("Dataset002_B")
        assert "Mean rank over 2 datasets" in text


def test_a_report_with_other_things_beside_it_is_not_replaced(tmp_path: Path) -> None:
    report = tmp_path / "report"
    made_comparison(tmp_path, output=report)
    (report / "thesis.txt").write_text("all of it")
    with pytest.raises(FileError, match=r"report: holds thesis\.txt, which is no part of a report"):
        made_comparison(tmp_path, output=report, seed=2, overwrite=True)
    assert (report / "thesis.txt").read_text() == "all of it"
