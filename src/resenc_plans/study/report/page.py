"""The report as one HTML page that loads nothing, in light and dark."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import combinations

from resenc_plans.planning.published import published_results
from resenc_plans.study.comparison import Comparison, DatasetComparison, MetricComparison
from resenc_plans.study.report.plots import (
    MAX_DOTS,
    BudgetPoint,
    by_rank,
    colour,
    draw_budget,
    draw_cases,
    draw_differences,
    draw_labels,
    draw_ranks,
    worst_cases,
)
from resenc_plans.study.report.tables import (
    TITLE,
    Section,
    Table,
    budget_table,
    label_pairs,
    metric_title,
    rank_table,
    short_title,
    tables_of,
)
from resenc_plans.study.report.text import CITATIONS, limits, methods_paragraph, reading

MAX_SCATTERS = 6
"""Pairs whose cases are drawn by the first metric: those of the best methods."""

_LIGHT = {
    "paper": "#ffffff", "ink": "#1c2024", "soft": "#60646c", "line": "#d0d4da", "fill": "#f4f5f7",
    "strong": "#1f5fbf", "bad": "#b3261e", "warn": "#8a5a00", "r0": "#174a8c", "r9": "#dbe6f5",
    "c0": "#1f6fd6", "c1": "#c2410c", "c2": "#15803d", "c3": "#9333ea",
    "c4": "#b8860b", "c5": "#0f766e", "c6": "#be185d", "c7": "#57534e",
}  # fmt: skip
_DARK = {
    "paper": "#14171a", "ink": "#e8eaed", "soft": "#a3a9b2", "line": "#3a4048", "fill": "#1d2125",
    "strong": "#79b0ff", "bad": "#ff8a80", "warn": "#f2b84b", "r0": "#8fbcff", "r9": "#26384f",
    "c0": "#6aa9ff", "c1": "#ff8f5e", "c2": "#5fd08a", "c3": "#c99bff",
    "c4": "#e9c14b", "c5": "#4fd1c5", "c6": "#ff7eb6", "c7": "#b8b2ab",
}  # fmt: skip
_RULES = """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
body{overflow-wrap:anywhere}
main{max-width:1320px;margin:0 auto;padding:12px 14px 48px}
h1{font-size:1.5em}h2{font-size:1.25em;margin-top:2em;border-bottom:1px solid var(--line)}
h3{font-size:1.05em;margin:1.6em 0 .4em}p,li{max-width:75ch}
.plots{display:flex;flex-wrap:wrap;gap:18px 28px}
figure{margin:0;flex:1 1 340px;min-width:0;max-width:420px}
figcaption{font-weight:600;font-size:.92em;margin-bottom:4px}
svg{display:block;width:100%;height:auto;overflow:visible}
text{fill:var(--ink);font:12px system-ui,sans-serif}
text.tick,text.title{fill:var(--soft);font-size:11px}text.point{font-size:11px}
.axis{stroke:var(--soft)}.zero{stroke:var(--soft);stroke-dasharray:4 3}
.margin{fill:var(--line);opacity:.5}.whisker{stroke-width:2}
line.strong{stroke:var(--strong)}circle.strong{fill:var(--strong)}
line.weak{stroke:var(--soft)}circle.weak{fill:var(--soft)}
.case{fill:var(--c0);opacity:.55}.case.worst{fill:var(--bad);opacity:1}
.front{fill:none;stroke:var(--soft);stroke-dasharray:2 3}
.rank{stroke:var(--paper)}text.in{font-size:11px}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9em}
th,td{padding:4px 12px 4px 0;text-align:right;white-space:nowrap}
th,td{border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}
.findings{padding-left:0;list-style:none}.findings li{margin:.3em 0}
.error b{color:var(--bad)}.warning b{color:var(--warn)}.note b{color:var(--soft)}
.legend span{display:inline-block;max-width:100%;margin-right:16px}
.legend svg{display:inline;width:12px;height:12px}
blockquote{margin:0;padding:10px 14px;background:var(--fill);max-width:80ch}
summary{cursor:pointer}a{color:var(--strong)}
"""


def report_page(
    comparison: Comparison,
    overlays: Mapping[str, Mapping[str, str]],
    title: str = TITLE,
    sections: Sequence[Section] = (),
) -> str:
    """The page. `overlays` are the addresses of pictures, by dataset and case.

    `sections` come first.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_style()}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>"
        + "".join(part for section in sections for part in _section(section))
        + "".join(_body(comparison, overlays))
        + "</main></body></html>\n"
    )


def _style() -> str:
    ranks, numbers = (
        [],
        "".join(
            f"line.c{n}{{stroke:var(--c{n})}}circle.c{n}{{fill:var(--c{n})}}" for n in range(8)
        ),
    )
    for shade in range(10):
        share = 100 - round(100 * shade / 9)
        mixed = f"color-mix(in srgb,var(--r0) {share}%,var(--r9))"
        ink = "var(--paper)" if shade < 5 else "var(--ink)"
        ranks.append(f"rect.r{shade}{{fill:{mixed}}}text.r{shade}{{fill:{ink}}}")
    light, dark = (
        ":root{" + "".join(f"--{name}:{value};" for name, value in theme.items()) + "}"
        for theme in (_LIGHT, _DARK)
    )
    scheme = ":root{color-scheme:light dark}"
    dark = f"@media (prefers-color-scheme:dark){{{dark}}}"
    return scheme + light + dark + _RULES.replace("\n", "") + numbers + "".join(ranks)


def _body(comparison: Comparison, overlays: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for dataset in comparison.datasets:
        yield f"<h2>{escape(dataset.dataset or 'Results')}</h2>"
        yield from _findings(dataset)
        yield _legend(dataset)
        for metric in dataset.metrics:
            margin = comparison.settings.margin
            yield from _metric(dataset, metric, margin, overlays.get(dataset.dataset, {}))
        yield from _budgets(dataset)
    if comparison.mean_ranks:
        yield _table(rank_table(comparison))
    yield "<h2>How to read the tables</h2><ul>"
    yield from (f"<li>{escape(sentence)}</li>" for sentence in reading(comparison))
    yield "</ul>"
    yield "<h2>Methods</h2><p>To be pasted into a paper:</p>"
    yield f"<blockquote>{escape(methods_paragraph(comparison))}</blockquote>"
    yield "<h2>What this comparison cannot show</h2><ul>"
    yield from (f"<li>{escape(sentence)}</li>" for sentence in limits(comparison))
    yield "</ul>"
    yield from _published()
    yield "<h2>References</h2><ul>"
    yield from (f"<li>{escape(citation)}</li>" for citation in CITATIONS)
    yield "</ul>"


def _section(section: Section) -> Iterator[str]:
    yield f"<h2>{escape(section.title)}</h2>"
    yield from (f"<p>{escape(paragraph)}</p>" for paragraph in section.paragraphs)
    yield from map(_table, section.tables)


def _findings(dataset: DatasetComparison) -> Iterator[str]:
    if dataset.findings:
        yield '<ul class="findings">'
        for one in dataset.findings:
            yield (
                f'<li class="{one.severity}"><b>{one.severity} {one.rule}</b> '
                f"{escape(one.message)}.</li>"
            )
        yield "</ul>"


def _legend(dataset: DatasetComparison) -> str:
    entries = "".join(
        f'<span><svg viewBox="0 0 12 12"><circle class="{colour(number)}" cx="6" cy="6" r="5"/>'
        f"</svg> {escape(method)}</span>"
        for number, method in enumerate(dataset.methods)
    )
    return f'<p class="legend">{entries}</p>'


def _metric(
    dataset: DatasetComparison,
    metric: MetricComparison,
    margin: float | None,
    overlays: Mapping[str, str],
) -> Iterator[str]:
    yield f"<h3>{escape(metric_title(metric))}</h3>"
    if not any(score.cases for score in metric.of_label()):
        yield "<p>No case has a value of every method.</p>"
        return
    best = by_rank(metric)
    limit = MAX_SCATTERS if metric is dataset.metrics[0] else 1
    pairs = sorted(combinations(range(len(best)), 2), key=sum)[:limit]
    yield '<div class="plots">'
    yield _figure("Differences of means over labels", draw_differences(metric, margin))
    yield _figure("Ranks over the draws", draw_ranks(metric))
    yield _figure("Means by label", draw_labels(dataset, metric))
    for one, other in pairs:
        first, second = sorted((best[one], best[other]))
        yield _figure(
            "Each case by two methods" + _share_shown(len(dataset.cases)),
            draw_cases(metric, first, second, overlays),
        )
    yield "</div>"
    yield _worst(metric, best[0], best[1], overlays)
    if overlays:
        drawn = dataset.methods[by_rank(dataset.metrics[0])[0]]
        yield f"<p>The pictures show the predictions of {escape(drawn)}.</p>"
    for table in tables_of(dataset, metric):
        yield _table(table)
    by_label = label_pairs(dataset, metric)
    if by_label:
        yield "<details><summary>Differences by label</summary>"
        yield from map(_table, by_label)
        yield "</details>"


def _share_shown(cases: int) -> str:
    every = -(-cases // MAX_DOTS)
    return f", one of {every} shown" if every > 1 else ""


def _worst(metric: MetricComparison, first: int, second: int, overlays: Mapping[str, str]) -> str:
    names = [
        f'<a href="{escape(overlays[case])}">{escape(case)}</a>'
        if case in overlays
        else escape(case)
        for case in worst_cases(metric, first, second)
    ]
    methods = " and ".join(escape(metric.scores.methods[one]) for one in (first, second))
    return f"<p>Worst cases of {methods}, red in their plot: {', '.join(names)}.</p>"


def _budgets(dataset: DatasetComparison) -> Iterator[str]:
    if not dataset.budgets:
        return
    metric = dataset.metrics[0]
    scores = {score.method: score for score in metric.of_label()}
    figures = []
    for what, key in (("hours of training", "hours"), ("GB of GPU memory", "gigabytes")):
        points = [
            BudgetPoint(
                name, getattr(budget, key), scores[name].mean, scores[name].interval,
                colour(dataset.methods.index(name)),
            )
            for name, budget in dataset.budgets.items()
            if getattr(budget, key) is not None and scores[name].cases
        ]  # fmt: skip
        if points and metric.metric.is_share:
            figures.append(
                _figure(f"Against {what}", draw_budget(points, what, short_title(metric)))
            )
    yield "<h3>Budgets</h3>"
    yield f'<div class="plots">{"".join(figures)}</div>' + _table(budget_table(dataset))


def _published() -> Iterator[str]:
    """The published comparison as an example of such plots."""
    rows = published_results()
    yield (
        "<details><summary>The published comparison of 19 systems, for orientation</summary>"
        "<p>Mean Dice over six datasets against the budget of one training on an A100 (Isensee et "
        "al. 2024). Only means are published, so there are no intervals here, and which of these "
        'differences are more than chance is not known.</p><div class="plots">'
    )
    for what, key in (("hours of training", "hours"), ("GB of GPU memory", "vram_gb")):
        points = [
            BudgetPoint(
                row.system, getattr(row, key), sum(row.dice) / len(row.dice), None,
                colour(0 if row.preset else 7),
            )
            for row in rows
        ]  # fmt: skip
        yield _figure(f"Against {what}", draw_budget(points, what, "mean Dice (%)"))
    yield "</div></details>"


def _figure(caption: str, svg: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return (
        f'<h4>{escape(table.title)}</h4><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
