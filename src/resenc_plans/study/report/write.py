"""Write the report of a comparison: one folder, whole or not at all."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from resenc_plans.errors import FileError
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.files import (
    make_folder,
    part_of_path,
    replace_file,
    replace_folder,
    to_json_text,
)
from resenc_plans.reprs import listed
from resenc_plans.study.comparison import Comparison, DatasetComparison, csv_text
from resenc_plans.study.report.latex import latex_table
from resenc_plans.study.report.markdown import markdown_report
from resenc_plans.study.report.page import report_page
from resenc_plans.study.report.plots import by_rank, worst_cases
from resenc_plans.study.report.tables import TITLE, Section
from resenc_plans.study.results import MethodResult

if TYPE_CHECKING:
    from resenc_plans.visualization.overlay import Images

REPORT_HTML, REPORT_MD = "report.html", "report.md"
TABLE_TEX = "table.tex"
CASES_CSV = "cases.csv"
RESULTS_JSON = "results.json"
OVERLAYS = "overlays"
_NAMES = {REPORT_HTML, REPORT_MD, TABLE_TEX, CASES_CSV, RESULTS_JSON, OVERLAYS}


def write_report(
    comparison: Comparison,
    folder: str | os.PathLike[str],
    *,
    images: "Callable[[str], Images] | None" = None,
    overwrite: bool = False,
    title: str = TITLE,
    sections: Sequence[Section] = (),
    documents: Mapping[str, str] = MappingProxyType({}),
) -> tuple[tuple[Path, ...], tuple[CaseProblem, ...]]:
    """Write report.html, report.md, table.tex, cases.csv and results.json.

    Returns the files, and the worst cases whose overlays could not be drawn.

    Parameters
    ----------
    comparison
        What to report.
    folder
        Where; it is made.
    images
        Those of a dataset, by its name: the worst cases are drawn on them, into `overlays`.
    overwrite
        Whether to replace an earlier report.
    title, sections
        Of report.html and report.md.
    documents
        Further files, by name.

    Raises
    ------
    FileError
        The folder exists and is not empty, or cannot be written.
    """
    target = Path(folder)
    refuse_to_replace(target, overwrite, documents)
    make_folder(target.absolute().parent)
    with replace_folder(target) as unfinished:
        overlays, problems = _draw_overlays(comparison, unfinished, images)
        documents = {
            REPORT_HTML: report_page(comparison, overlays, title, sections),
            REPORT_MD: markdown_report(comparison, title, sections),
            TABLE_TEX: latex_table(comparison),
            CASES_CSV: csv_text(comparison.case_rows()),
            RESULTS_JSON: to_json_text(comparison.to_dict()),
            **documents,
        }
        for name, text in documents.items():
            with replace_file(unfinished / part_of_path(name, "file")) as stream:
                stream.write(text.encode())
    return tuple(target / part_of_path(name, "file") for name in documents), problems


def refuse_to_replace(target: Path, overwrite: bool, documents: Collection[str] = ()) -> None:
    """Refuse a folder that has something in it, before any work.

    `documents` are the names of further files of the report.

    Raises
    ------
    FileError
        It has, and is not to be replaced, or holds other things than a report.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise FileError(f"{target}: is a file. Choose a folder for the report.")
    names = {path.name for path in target.iterdir()}
    is_report = RESULTS_JSON in names
    others = sorted(names - _NAMES - {*documents})
    if is_report and others:
        raise FileError(
            f"{target}: holds {listed(others)}, which is no part of a report. Choose another "
            "folder."
        )
    if names and not (overwrite and is_report):
        remedy = ", or replace the report (`overwrite=`)" if is_report else ""
        raise FileError(f"{target}: already exists. Choose another folder{remedy}.")


def _draw_overlays(
    comparison: Comparison, folder: Path, images: "Callable[[str], Images] | None"
) -> tuple[dict[str, dict[str, str]], tuple[CaseProblem, ...]]:
    """Pictures of the worst cases by the first metric, and their addresses by dataset and case."""
    if images is None:
        return {}, ()
    from resenc_plans.visualization.overlay import draw_overlays

    addresses: dict[str, dict[str, str]] = {}
    problems: list[CaseProblem] = []
    for dataset in comparison.datasets:
        names = {int(key): name for key, name in dataset.labels.items() if key.isdigit() and name}
        place = folder / OVERLAYS / part_of_path(dataset.dataset or "results", "dataset")
        titles = _titles(dataset.results[by_rank(dataset.metrics[0])[0]])
        for files, references in _by_reference_folder(dataset):
            problems += draw_overlays(
                files,
                images(dataset.dataset),
                place,
                references=references,
                names=names,
                titles=titles,
            )
        drawn = {path.stem: path for path in sorted(place.glob("*.png"))}
        addresses[dataset.dataset] = {
            case: path.relative_to(folder).as_posix() for case, path in drawn.items()
        }
    return addresses, tuple(problems)


def _by_reference_folder(dataset: DatasetComparison) -> Iterator[tuple[list[str], Path]]:
    """The predictions of the best method for the worst cases, by folder of references."""
    order = by_rank(dataset.metrics[0])
    best = dataset.results[order[0]]
    groups: dict[Path, list[str]] = {}
    for case in worst_cases(dataset.metrics[0], order[0], order[1]):
        if case in best.cases:
            entry = best.cases[case]
            groups.setdefault(Path(entry.reference_file).parent, []).append(entry.prediction_file)
    for references, files in groups.items():
        yield files, references


def _titles(result: MethodResult) -> dict[str, str]:
    """Of the pictures by case: its name, the method, and of which seed and fold it is."""
    return {
        case: ", ".join(filter(None, (f"{case}: {result.name}", result.origins.get(case))))
        for case in result.cases
    }
