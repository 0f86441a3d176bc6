"""The report as Markdown."""

from collections.abc import Iterator, Sequence

from resenc_plans.study.comparison import Comparison, DatasetComparison
from resenc_plans.study.report.tables import (
    TITLE,
    Section,
    Table,
    budget_table,
    label_pairs,
    rank_table,
    tables_of,
)
from resenc_plans.study.report.text import CITATIONS, limits, methods_paragraph, reading


def markdown_report(
    comparison: Comparison, title: str = TITLE, sections: Sequence[Section] = ()
) -> str:
    """All tables, findings and paragraphs; `sections` come first."""
    return "\n".join(_lines(comparison, title, sections)) + "\n"


def _lines(comparison: Comparison, title: str, sections: Sequence[Section]) -> Iterator[str]:
    yield from (f"# {_escaped(title)}", "")
    for section in sections:
        yield from (f"## {_escaped(section.title)}", "")
        for paragraph in section.paragraphs:
            yield from (_escaped(paragraph), "")
        for table in section.tables:
            yield from _table(table)
    for dataset in comparison.datasets:
        yield from (f"## {dataset.dataset or 'Results'}", "")
        yield from _findings(dataset)
        for metric in dataset.metrics:
            for table in (*tables_of(dataset, metric), *label_pairs(dataset, metric)):
                yield from _table(table)
        if dataset.budgets:
            yield from _table(budget_table(dataset))
    if comparison.mean_ranks:
        yield from _table(rank_table(comparison))
    yield from ("## How to read the tables", "")
    yield from (f"- {sentence}" for sentence in reading(comparison))
    yield from ("", "## Methods", "", methods_paragraph(comparison), "")
    yield from ("## What this comparison cannot show", "")
    yield from (f"- {sentence}" for sentence in limits(comparison))
    yield from ("", "## References", "", *(f"- {citation}" for citation in CITATIONS))


def _findings(dataset: DatasetComparison) -> Iterator[str]:
    for finding in dataset.findings:
        yield f"- {finding.severity} {finding.rule}: {_escaped(finding.message)}."
    if dataset.findings:
        yield ""


def _table(table: Table) -> Iterator[str]:
    yield from (f"### {_escaped(table.title)}", "")
    yield f"| {' | '.join(map(_escaped, table.columns))} |"
    yield f"|{'---|' * len(table.columns)}"
    for row in table.rows:
        yield f"| {' | '.join(map(_escaped, row))} |"
    yield ""


def _escaped(text: str) -> str:
    """Text in which underscores and the like mean themselves."""
    return "".join(f"\\{c}" if c in "\\`*_|<[" else c for c in " ".join(text.split()))
