"""The HTML page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from resenc_plans.study.compare import compare
from resenc_plans.study.report.page import report_page
from tests.study.made_results import dice_like, write_summary
from tests.study.report.made_comparison import NAMES, made_comparison

BUDGETS = {"large_50%": "35h,22GB", "a|b": "12h,9GB"}
VOID = {"meta", "link", "br"}


class Balanced(HTMLParser):
    """Fails where elements are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_small_and_loads_nothing(tmp_path: Path) -> None:
    page = report_page(made_comparison(tmp_path, budgets=BUDGETS, margin=0.01), {})
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert all(name in parser.text for name in NAMES)
    assert "How to read the tables" in parser.text
    assert ", red in their plot: " in parser.text
    assert len(page) < 3_000_000
    assert not re.search(r"(src|href)=\"(?!#|data:)|url\(|@import|<script", page)


def test_every_plot_is_a_drawing_within_its_frame(tmp_path: Path) -> None:
    page = report_page(made_comparison(tmp_path, budgets=BUDGETS), {})
    plots = [one for one in re.findall(r"<svg.*?</svg>", page) if "0 0 380" in one]
    assert len(plots) == (3 + 3) + (3 + 1) + 4
    for plot in map(ElementTree.fromstring, plots):
        width, height = map(float, plot.attrib["viewBox"].split()[2:])
        for key, limit in (("x", width), ("x1", width), ("cx", width), ("y", height)):
            values = [float(one.attrib[key]) for one in plot.iter() if key in one.attrib]
            assert all(0 <= value <= limit for value in values), (plot.attrib["aria-label"], key)


def test_colours_are_defined_for_light_and_dark(tmp_path: Path) -> None:
    page = report_page(made_comparison(tmp_path), {})
    light, dark = re.findall(r":root\{(--.*?)\}", page)
    defined = [set(re.findall(r"--(\w+):", theme)) for theme in (light, dark)]
    assert defined[0] == defined[1] >= set(re.findall(r"var\(--(\w+)\)", page))
    assert light != dark


def test_worst_cases_are_linked_to_their_pictures(tmp_path: Path) -> None:
    comparison = made_comparison(tmp_path)
    [dataset] = comparison.datasets
    case = min(
        dataset.cases,
        key=lambda name: dataset.metrics[0].scores.columns[:2, dataset.cases.index(name), 0].min(),
    )
    page = report_page(comparison, {"": {case: "overlays/results/x.png"}})
    assert f'<a href="overlays/results/x.png">{case}</a>' in page


@pytest.mark.parametrize(
    "scores",
    [
        dice_like(1),
        dice_like(2),
        np.full((5, 2), 0.5),
        np.ones((5, 2)),
        np.full((5, 2), np.nan),
        np.stack([np.full(5, np.nan), np.linspace(0, 1, 5)], 1),
    ],
    ids=["one case", "two cases", "constant", "perfect", "nothing", "a label that is nowhere"],
)
def test_few_equal_and_missing_scores_are_drawn_too(tmp_path: Path, scores: np.ndarray) -> None:
    names = [tmp_path / f"a_very_long_name_of_a_method_{number}" for number in range(9)]
    for name in names:
        write_summary(name, scores)
    write_summary(tmp_path / "zero", np.zeros(scores.shape))
    comparison = compare(
        *names, tmp_path / "zero", draws=100, budgets={"zero": "3h"}, output=tmp_path / "report"
    )
    page = (tmp_path / "report" / "report.html").read_text()
    assert "nan" not in re.sub(r"<text.*?</text>|<title>.*?</title>", "", page)
    assert json.dumps(comparison.to_dict(), allow_nan=False)


def test_a_metric_with_a_long_name_has_a_short_one_on_axes(tmp_path: Path) -> None:
    sources = [write_summary(tmp_path / name, dice_like(12)) for name in ("near", "far")]
    for path in sources:
        figures = {f"case_{case}.nii.gz": {"1": {"HD95": 1.0 + case}} for case in range(12)}
        document = {"tolerance_mm": 1.0, "metric_per_case": figures}
        (path / "metrics.json").write_text(json.dumps(document))
    page = report_page(compare(*sources, metrics=["HD95"], draws=200), {})
    assert "<h3>95th percentile of the Hausdorff distance, HD95 [mm]</h3>" in page
    titles = re.findall('<text class="title"[^>]*>([^<]*)</text>', page)
    assert "difference of HD95 [mm]; right: first is worse" in titles
    assert "<td>-</td>" in page
    assert "- (-)" not in page
