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
