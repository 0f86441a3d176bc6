"""The table of a paper, as nnU-Net Revisited has it: a row per method, a column per dataset."""

from collections.abc import Iterator

from resenc_plans.reprs import rounded
from resenc_plans.study.comparison import Comparison, DatasetComparison, MetricComparison

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a row, it would begin an option of that
    "]": "{]}",
} | {character: f"\\{character}" for character in "&%$#_{}"}


def latex_table(comparison: Comparison) -> str:
    """A table to be included; it needs the package booktabs."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    datasets, level = comparison.datasets, f"{100 * comparison.settings.level:g}"
    metric = datasets[0].metrics[0]
    methods = [name for name in datasets[0].methods if all(name in d.methods for d in datasets)]
    budgets = {name: budget for d in reversed(datasets) for name, budget in d.budgets.items()}
    unit = r"\%" if metric.metric.is_share else "mm"
    what = f"{escaped(metric.metric.title)} ({unit})"
    has_budgets = bool(budgets)
    yield from (
        r"% Needs \usepackage{booktabs} in the preamble.",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{what}, mean over labels and cases, with {level}\% bootstrap intervals. "
        r"Bold: the best mean, and every mean that does not differ significantly from it "
        rf"(Wilcoxon signed-rank test, Holm, $p \geq {1 - comparison.settings.level:.2g}$).}}",
        rf"\begin{{tabular}}{{l{'r' * (len(datasets) + 2 * has_budgets)}}}",
        r"\toprule",
    )
    names = [escaped(dataset.dataset or "Dataset") for dataset in datasets]
    sizes = [f"$n={len(dataset.cases)}$" for dataset in datasets]
    yield _row(["", *names, *(["VRAM", "RT"] if has_budgets else [])])
    yield _row(["", *sizes, *(["[GB]", "[h]"] if has_budgets else [])])
    yield r"\midrule"
    for method in methods:
        cells = [_cell(dataset, method, comparison.settings.level) for dataset in datasets]
        if has_budgets:
            budget = budgets.get(method)
            figures = (budget.gigabytes, budget.hours) if budget else (None, None)
            cells += map(_figure, figures)
        yield _row([escaped(method), *cells])
    yield from (r"\bottomrule", r"\end{tabular}", r"\end{table}")


def _cell(dataset: DatasetComparison, method: str, level: float) -> str:
    metric = dataset.metrics[0]
    scale, digits = (100, 2) if metric.metric.is_share else (1, 2)
    score = next(one for one in metric.of_label() if one.method == method)
    if score.mean != score.mean:
        return "--"
    mean = f"{scale * score.mean:.{digits}f}"
    ends = [f"{scale * end:.{digits - 1}f}" for end in (score.interval.low, score.interval.high)]
    if _is_among_best(metric, method, 1 - level):
        mean = rf"\textbf{{{mean}}}"
    return rf"{mean} {{\scriptsize [{ends[0]}, {ends[1]}]}}"


def _is_among_best(metric: MetricComparison, method: str, alpha: float) -> bool:
    """Whether it has the best mean, or does not differ significantly from it."""
    best = min(metric.of_label(), key=lambda one: one.rank.rank).method
    pairs = [one for one in metric.pairs_of() if {one.first, one.second} == {best, method}]
    return method == best or not pairs[0].p_holm < alpha


def _figure(value: float | None) -> str:
    return "--" if value is None else rounded(value)


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def escaped(text: str) -> str:
    r"""Text in which LaTeX's characters mean themselves.

    >>> escaped("nnU_Net & co")
    'nnU\\_Net \\& co'
    """
    return "".join(_ESCAPED.get(character, character) for character in text)
