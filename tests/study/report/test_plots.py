"""The plots of a report."""

from xml.etree import ElementTree

from resenc_plans.study.report.plots import BudgetPoint, draw_budget
from resenc_plans.study.statistics.bootstrap import Interval

POINTS = [
    BudgetPoint("ResEnc M", 3.6, 0.648, Interval(0.544, 0.752), "c0"),
    BudgetPoint("original", 3.9, 0.645, Interval(0.632, 0.672), "c1"),
    BudgetPoint("STU-Net S", 5.2, 0.592, Interval(0.587, 0.596), "c2"),
]


def test_a_name_beside_a_budget_leaves_the_intervals_of_other_methods_free() -> None:
    drawing = ElementTree.fromstring(draw_budget(POINTS, "hours of training", "Dice"))
    names = {one.text: one.attrib for one in drawing.iter("text") if one.get("class") == "point"}
    whiskers = [one.attrib for one in drawing.iter("line") if "whisker" in one.attrib["class"]]
    assert list(names) == [one.name for one in POINTS]
    for name, place in names.items():
        left, bottom = float(place["x"]), float(place["y"])
        for line in whiskers:
            x, high, low = float(line["x1"]), float(line["y2"]), float(line["y1"])
            is_across = left < x < left + 6 * len(str(name))
            assert not (is_across and high < bottom and bottom - 9 < low), (name, line)
