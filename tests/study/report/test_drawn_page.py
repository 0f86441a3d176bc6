"""The page as a browser draws it: at two widths, in light and dark."""

import pytest

from resenc_plans.study.report.page import report_page
from tests.study.report.browser import Shown, show
from tests.study.report.made_comparison import made_comparison

pytestmark = pytest.mark.slow
WIDTHS = (400, 1400)
PLOTS = (3 + 3) + (3 + 1) + 4
"""Of two metrics, and of budgets."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("page")
    budgets = {"large_50%": "35h,22GB", "a|b": "12h,9GB"}
    comparison = made_comparison(folder, budgets=budgets, margin=0.01)
    return show(report_page(comparison, {}), folder, WIDTHS)


def test_the_console_stays_empty(shown: Shown) -> None:
    assert shown.console == []


def test_every_plot_is_drawn_within_the_width_of_the_page(shown: Shown) -> None:
    assert [(page.width, page.scheme) for page in shown.pages] == [
        (width, scheme) for width in WIDTHS for scheme in ("light", "dark")
    ]
    for page in shown.pages:
        assert page.scroll_width <= page.width
        assert len(page.plots) == PLOTS
        for plot in page.plots:
            assert 0 <= plot.box.left < plot.box.right <= page.width, plot.label
            assert plot.box.right - plot.box.left > 300, plot.label
            assert plot.box.bottom - plot.box.top > 60, plot.label
            for text, box in plot.texts:
                assert plot.box.left - 1 <= box.left < box.right <= plot.box.right + 1, text


def test_light_and_dark_have_other_paper(shown: Shown) -> None:
    papers = {page.scheme: page.paper for page in shown.pages}
    assert papers["light"] != papers["dark"]


def test_no_text_covers_a_mark_or_another_text(shown: Shown) -> None:
    for page in shown.pages:
        for plot in page.plots:
            for number, (text, box) in enumerate(plot.texts):
                others = [one for _, one in plot.texts[:number]]
                hit = [one for one in (*plot.marks, *others) if box.overlaps(one)]
                assert not hit, (page.width, plot.label, text)


def test_a_label_of_differences_is_nearest_to_its_own_interval(shown: Shown) -> None:
    for page in shown.pages:
        plot = page.plots[0]
        assert plot.label.startswith("Differences")
        dots = sorted(plot.dots, key=lambda box: box.top)
        labels = [box for _, box in plot.texts[: len(dots)]]
        for label, own, above in zip(labels[1:], dots[1:], dots[:-1], strict=True):
            assert own.middle - label.middle < 0.6 * (label.middle - above.middle)
