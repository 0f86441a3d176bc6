"""The Markdown report."""

from pathlib import Path

from resenc_plans.study.report.markdown import markdown_report
from tests.study.report.made_comparison import made_comparison


def test_tables_are_whole_and_names_escaped(tmp_path: Path) -> None:
    text = markdown_report(made_comparison(tmp_path))
    assert r"| large\_50% | 30 |" in text
    assert r"a\|b" in text
    for line in text.splitlines():
        if line.startswith("| "):
            assert line.endswith(" |")


def test_the_report_says_how_and_what_it_cannot_show(tmp_path: Path) -> None:
    text = markdown_report(made_comparison(tmp_path, missing="worst", margin=0.02))
    assert "cases that a method lacks counted as 0" in text
    assert "within ±0.02" in text
    assert "200 draws of cases" in text
    assert "not about seeds" in text
    assert "C202" in text


def test_the_report_says_how_to_read_its_tables(tmp_path: Path) -> None:
    text = markdown_report(made_comparison(tmp_path / "a", tie=0.02, metrics=("Dice", "IoU")))
    assert "by Dice and IoU." in text
    assert "differences up to 0.02 of Dice and 0.02 of IoU are ties" in text
    assert "detectable: the smallest difference of means that so many cases show" in text
    assert "Name a margin" in text
    assert "first is:" not in text
    text = markdown_report(made_comparison(tmp_path / "b", margin=0.02))
    assert "first is: the verdict" in text
    assert "The margin of 0.02 was chosen, not found." in text
