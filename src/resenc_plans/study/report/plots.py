"""The plots of a report: differences, ranks, labels, cases, budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from resenc_plans.reprs import rounded
from resenc_plans.study.comparison import DatasetComparison, MetricComparison
from resenc_plans.study.report.drawing import (
    WIDTH,
    Axis,
    Drawing,
    padded_axis,
    plot_names,
    shortened,
)
from resenc_plans.study.report.tables import interval, number, short_title
from resenc_plans.study.statistics.bootstrap import Interval

COLOURS = 8
"""Classes c0 to c7 of the page's style sheet; they repeat."""
MAX_NAMED = 8
"""Points of a plot that are all named; of more, those at the front are."""
MAX_DOTS = 1000
"""Cases that a scatter plot shows; of more, it shows every second or third and so on."""
WORST = 5
"""Cases that are named in a scatter plot."""

_LEFT, _RIGHT = 46.0, WIDTH - 14.0
_ROW = 34
_PAIR_ROW = 40
"""Of the plot of differences: a label is far nearer to its own interval than to the one above."""


def colour(number: int) -> str:
    """The class of a method."""
    return f"c{number % COLOURS}"


def draw_differences(metric: MetricComparison, margin: float | None) -> str:
    """Each pair's difference of means over labels with its interval, beside 0."""
    names = plot_names(metric.scores.methods)
    pairs = [pair for pair in metric.pairs_of() if not isnan(pair.difference)]
    values = [0.0] + [
        end for pair in pairs for end in (pair.difference, *_ends(pair.interval)) if not isnan(end)
    ]
    margin = margin if metric.metric.is_share else None
    values += [-margin, margin] if margin is not None else []
    axis = padded_axis(values, 14, _RIGHT)
    height = _PAIR_ROW * len(pairs) + 8
    drawing = Drawing(height + 40, f"Differences of {metric.metric.title} with intervals")
    if margin is not None:
        drawing.rectangle(axis(-margin), 4, axis(margin) - axis(-margin), height - 4, "margin")
    for row, pair in enumerate(pairs):
        y = _PAIR_ROW * row + 28
        drawing.line(axis(0), y - 5, axis(0), y + 17, "zero")
        drawing.text(
            14,
            y - 9,
            f"{shortened(names[pair.first], 24)} - {shortened(names[pair.second], 24)}",
            "name",
        )
        title = (
            f"{pair.first} - {pair.second}: {number(metric, pair.difference, '+')}, "
            + interval(metric, pair.interval, "+")
        )
        style = "strong" if pair.interval.low > 0 or pair.interval.high < 0 else "weak"
        if not isnan(pair.interval.low):
            drawing.line(
                axis(pair.interval.low), y, axis(pair.interval.high), y, f"whisker {style}"
            )
        drawing.dot(axis(pair.difference), y, style, title, radius=4)
    better = "first is better" if metric.metric.is_share else "first is worse"
    drawing.bottom_axis(axis, height, f"difference of {short_title(metric)}; right: {better}")
    return drawing.svg()


def draw_ranks(metric: MetricComparison) -> str:
    """A bar per method: the probabilities of its ranks, the best at the left."""
    names = plot_names(metric.scores.methods)
    scores = sorted(metric.of_label(), key=lambda one: one.rank.rank)
    drawing = Drawing(_ROW * len(scores) + 20, f"Probabilities of ranks by {metric.metric.title}")
    for row, score in enumerate(scores):
        y = _ROW * row + 18
        drawing.text(14, y - 4, shortened(names[score.method], 44), "name")
        left, span = 14.0, _RIGHT - 14
        for place, chance in enumerate(score.rank.probabilities):
            if isnan(chance) or chance <= 0:
                continue
            shade = round(9 * place / max(len(scores) - 1, 1))
            title = f"{score.method}: rank {place + 1} in {100 * chance:.1f}% of draws"
            drawing.rectangle(left, y, span * chance, 14, f"rank r{shade}", title)
            if span * chance > 22:
                drawing.text(
                    left + span * chance / 2,
                    y + 11,
                    str(place + 1),
                    f"in r{shade}",
                    anchor="middle",
                )
            left += span * chance
    return drawing.svg()


def draw_labels(dataset: DatasetComparison, metric: MetricComparison) -> str:
    """Each method's mean and interval, label by label."""
    labels = list(dict.fromkeys(score.label for score in metric.methods))
    scores = [one for one in metric.methods if not isnan(one.mean)]
    values = [v for one in scores for v in (one.mean, *_ends(one.interval)) if not isnan(v)]
    axis = padded_axis(values, 14, _RIGHT)
    step = 11
    drawing = Drawing(0, f"Means of {metric.metric.title} by label")
    y = -6.0
    for label in labels:
        y += 26
        drawing.text(14, y - 4, shortened(dataset.label_title(label), 44), "name")
        for number_, score in enumerate(metric.of_label(label)):
            y += step
            if isnan(score.mean):
                continue
            title = f"{score.method}, {dataset.label_title(label)}: " + (
                f"{number(metric, score.mean)}, {interval(metric, score.interval)}"
            )
            if not isnan(score.interval.low):
                style = f"whisker {colour(number_)}"
                drawing.line(
                    axis(score.interval.low), y - 4, axis(score.interval.high), y - 4, style
                )
            drawing.dot(axis(score.mean), y - 4, colour(number_), title)
    drawing.bottom_axis(axis, y + 6, short_title(metric))
    drawing.height = y + 46
    return drawing.svg()


def draw_cases(metric: MetricComparison, first: int, second: int, links: Mapping[str, str]) -> str:
    """Each case's mean over labels by two methods; the worst cases are named.

    `links` are the addresses of cases' pictures.
    """
    scores, short = metric.scores, plot_names(metric.scores.methods)
    x, y = (scores.columns[one, :, 0] for one in (first, second))
    is_valid = ~(np.isnan(x) | np.isnan(y))
    names = [case for case, valid in zip(scores.cases, is_valid, strict=True) if valid]
    x, y = x[is_valid], y[is_valid]
    values = [*x.tolist(), *y.tolist()]
    across = padded_axis(values, _LEFT, _RIGHT)
    down = Axis(across.low, across.high, _RIGHT - _LEFT + 28, 28)
    drawing = Drawing(down.start + 42, f"{metric.metric.title} of each case by two methods")
    drawing.line(across.start, down.start, across.end, down.end, "zero")
    worst = worst_cases(metric, first, second)
    every = -(-len(names) // MAX_DOTS)
    for number_, (case, one, other) in enumerate(zip(names, x.tolist(), y.tolist(), strict=True)):
        if number_ % every and case not in worst:
            continue
        style = "case worst" if case in worst else "case"
        title = f"{case}: {number(metric, one)} and {number(metric, other)}"
        drawing.dot(across(one), down(other), style, title, link=links.get(case, ""))
    unit = short_title(metric)
    drawing.bottom_axis(
        across, down.start, f"{shortened(short[scores.methods[first]], 36)}, {unit}"
    )
    drawing.left_axis(down, _LEFT, shortened(short[scores.methods[second]], 44))
    return drawing.svg()


def by_rank(metric: MetricComparison) -> list[int]:
    """The numbers of the methods, the best one first."""
    methods = metric.of_label()
    return sorted(range(len(methods)), key=lambda number: methods[number].rank.rank)


def worst_cases(metric: MetricComparison, first: int, second: int) -> tuple[str, ...]:
    """The cases with the worst score of either of two methods, the worst first."""
    columns = metric.metric.sign * metric.scores.columns[[first, second], :, 0]
    is_lacking = np.isnan(columns).any(0)
    lowest = np.where(is_lacking, np.inf, columns.min(0))
    order = np.argsort(lowest, kind="stable")[: min(WORST, int((~is_lacking).sum()))]
    return tuple(metric.scores.cases[index] for index in order)


@dataclass(frozen=True)
class BudgetPoint:
    """A method's score beside its budget."""

    name: str
    budget: float
    score: float
    interval: Interval | None
    style: str


def draw_budget(points: Sequence[BudgetPoint], budget: str, score: str) -> str:
    """Scores against a budget, with the front of those that none beats at a lower budget."""
    names = plot_names([one.name for one in points])
    ends = [end for one in points if one.interval for end in _ends(one.interval)]
    values = [one.score for one in points] + [end for end in ends if not isnan(end)]
    across = padded_axis([one.budget for one in points], _LEFT, _RIGHT, is_log=True)
    down = padded_axis(values, 250, 28)
    drawing = Drawing(292, f"{score} against {budget}")
    front = pareto_front(points)
    path: list[tuple[float, float]] = []
    for one in front:
        if path:
            path.append((across(one.budget), path[-1][1]))
        path.append((across(one.budget), down(one.score)))
    drawing.polyline(path, "front")
    whiskers: dict[str, list[tuple[float, float]]] = {one.name: [] for one in points}
    for one in points:
        x, y = across(one.budget), down(one.score)
        title = f"{one.name}: {one.score:.4g} at {rounded(one.budget)} {budget}"
        if one.interval and not isnan(one.interval.low):
            low, high = map(down, _ends(one.interval))
            drawing.line(x, low, x, high, f"whisker {one.style}")
            whiskers[one.name] = [(x, end) for end in np.arange(high, low + 8, 8).tolist()]
        drawing.dot(x, y, one.style, title, radius=4)
    boxes = [(across(one.budget), down(one.score)) for one in points]
    for one in front if len(points) > MAX_NAMED else points:
        others = [spot for name, spots in whiskers.items() if name != one.name for spot in spots]
        name, x, y = shortened(names[one.name], 22), across(one.budget), down(one.score)
        if not _name(drawing, name, x, y, boxes, others):
            _name(drawing, name, x, y, boxes)
    drawing.bottom_axis(across, 250, f"{budget}, logarithmic")
    drawing.left_axis(down, _LEFT, score)
    return drawing.svg()


def pareto_front(points: Sequence[BudgetPoint]) -> list[BudgetPoint]:
    """Those that no other beats with as much or less, by rising budget."""
    front: list[BudgetPoint] = []
    for one in sorted(points, key=lambda point: (point.budget, -point.score)):
        if not front or one.score > front[-1].score:
            front.append(one)
    return front


def _name(
    drawing: Drawing,
    name: str,
    x: float,
    y: float,
    taken: list[tuple[float, float]],
    avoided: Sequence[tuple[float, float]] = (),
) -> bool:
    """Write a name beside its point, where it covers no other point or name; else nowhere.

    `taken` are points that are covered already; those of the name are added. `avoided` are further
    ones. Whether it was written.
    """
    width = 6.0 * len(name)
    for rise in (-7, 15, -20, 28):
        for start in (x + 7, x - 7 - width):
            covered = [(start + share * width, y + rise - 4) for share in (0, 0.25, 0.5, 0.75, 1)]
            is_inside = start >= _LEFT and start + width <= WIDTH and y + rise > 30
            if is_inside and not any(
                abs(px - tx) < 0.25 * width / 2 + 4 and abs(py - ty) < 11
                for px, py in covered
                for tx, ty in (*taken, *avoided)
            ):
                drawing.text(start, y + rise, name, "point")
                taken += covered
                return True
    return False


def _ends(interval_: Interval) -> tuple[float, float]:
    return interval_.low, interval_.high
