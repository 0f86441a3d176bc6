"""Every finding about a dataset, in one pass over its cases."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from operator import attrgetter
from pathlib import Path

from resenc_plans.datasets.case_check import CaseReport, check_case
from resenc_plans.datasets.dataset import IMAGES, LABELS, Dataset, expect_dataset, file_names
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.file_naming import naming_fault, other_endings
from resenc_plans.datasets.finding import Finding, Severity, worst_first
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError
from resenc_plans.execution.cases import CaseProblem, each_case
from resenc_plans.files import fault_of_part
from resenc_plans.folders import DATASET_JSON
from resenc_plans.words import counted


def verify_dataset(
    dataset: Dataset,
    executor: Executor | None = None,
    on_case: Callable[[str], None] | None = None,
) -> tuple[Finding, ...]:
    """All errors, warnings and notes about a dataset, worst first.

    These are the checks of nnU-Net's `verify_dataset_integrity` and more. Each file is read once.
    `executor` runs the cases (see `each_case`); `on_case` is called with the name of
    each finished case.
    """
    expect_dataset(dataset)
    try:
        reader = dataset.reader_name
    except DatasetError:
        return findings_of(dataset, None)
    work = partial(
        check_case,
        reader=reader,
        channels=len(dataset.channels),
        labels=usable_labels(dataset),
    )
    cases = [case for case in dataset.cases if case.images]
    outcomes = each_case(work, cases, name=attrgetter("name"), executor=executor, on_case=on_case)
    return findings_of(dataset, outcomes)


def findings_of(
    dataset: Dataset, outcomes: Iterable[CaseReport | CaseProblem] | None
) -> tuple[Finding, ...]:
    """The findings about a dataset whose cases have been checked, worst first.

    `outcomes` are None where no case could be read.
    """
    findings = [*_about_dataset_json(dataset), *_about_files(dataset)]
    if outcomes is not None:
        reports = []
        for outcome in outcomes:
            if isinstance(outcome, CaseProblem):
                message = outcome.reason
                findings.append(Finding("unreadable-case", "error", message, case=outcome.case))
            else:
                reports.append(outcome)
                findings.extend(outcome.findings)
        findings.extend(_about_all_cases(reports, dataset))
    return worst_first(findings)


def usable_labels(dataset: Dataset) -> Labels | None:
    """The labels of a dataset; None where they contradict each other, which is a finding."""
    try:
        return dataset.labels
    except DatasetError:
        return None


def _about_dataset_json(dataset: Dataset) -> Iterator[Finding]:
    path = dataset.folder / DATASET_JSON
    json = dataset.json

    def finding(severity: Severity, kind: str, message: str) -> Finding:
        return Finding(kind, severity, message, path=path)

    try:
        labels = dataset.labels
    except DatasetError as error:
        yield finding("error", "labels", str(error))
    else:
        yield from (finding(*fault) for fault in _about_labels(labels))
    try:
        _ = dataset.reader_name
    except DatasetError as error:
        yield finding("error", "no-reader", str(error))
    yield from (finding(*fault) for fault in _about_keys(json))
    if json.num_training is None:
        message = "The key numTraining is missing; nnU-Net's own check insists on it."
        yield finding("error", "num-training", message)
    elif json.num_training != len(dataset.cases) and naming_fault(dataset) is None:
        message = (
            f"numTraining is {json.num_training}, but "
            f"{counted(len(dataset.cases), 'case exists', 'cases exist')}."
        )
        yield finding("error", "num-training", message)


def _about_keys(json: DatasetJson) -> Iterator[tuple[Severity, str, str]]:
    if "channel_names" not in json.to_dict():
        message = "Channels are under the old key modality; nnU-Net now calls it channel_names."
        yield "warning", "old-key", message
    repeated = [name for name, count in Counter(json.channels).items() if count > 1]
    if repeated:
        yield "note", "repeated-channel-name", f"Several channels are called {', '.join(repeated)}."


def _about_labels(labels: Labels) -> Iterator[tuple[Severity, str, str]]:
    values = list(labels.all_labels)
    if labels.ignore_label is not None:
        values.append(labels.ignore_label)
    if values != list(range(len(values))):
        message = f"Label values must be 0, 1, 2, ... without gaps, but are {values}."
        yield "error", "labels-not-consecutive", message
    for label, painted in _mispainted(labels):
        yield (
            "warning",
            "region-order",
            f"regions_class_order {list(labels.regions_class_order or ())} turns label {label} "
            f"into {painted} on export: regions that contain others must come first.",
        )


def _mispainted(labels: Labels) -> Iterator[tuple[int, int]]:
    """Labels that painting their regions in order turns into labels of other regions."""
    regions = [set(r) if isinstance(r, tuple) else {r} for r in labels.regions or ()]
    member_of = {
        label: [index for index, region in enumerate(regions) if label in region]
        for label in labels.foreground_labels
    }
    for label, indices in member_of.items():
        if indices and labels.regions_class_order is not None:
            painted = labels.regions_class_order[indices[-1]]
            if member_of.get(painted) != indices:
                yield label, painted


def _about_files(dataset: Dataset) -> Iterator[Finding]:
    ending = dataset.json.file_ending
    fault = naming_fault(dataset)
    if fault is not None:
        yield fault
    for case in dataset.cases:
        fault_of_name = fault_of_part(case.name and case.name + ending)
        if case.images and fault_of_name is not None:
            message = f"Files are named after the case, but {fault_of_name}. Rename it."
            yield Finding("file-name", "error", message, case=case.name, path=dataset.folder)
    if dataset.json.dataset is not None or fault is not None:
        return
    others = other_endings(dataset.folder / IMAGES, ending)
    if dataset.cases and others:
        message = f"{IMAGES} also holds {others}, which are not used: file_ending is {ending}."
        yield Finding("other-ending", "warning", message, path=dataset.folder / IMAGES)
    known = {case.name for case in dataset.cases}
    for file in file_names(dataset.folder / LABELS, ending):
        name = file.removesuffix(ending)
        if name not in known:
            message = f"The segmentation {file} has no image, so it is not used."
            path = dataset.folder / LABELS / file
            yield Finding("label-without-image", "warning", message, case=name, path=path)


def _about_all_cases(reports: Sequence[CaseReport], dataset: Dataset) -> Iterator[Finding]:
    alike = defaultdict(list)
    for report in reports:
        if report.digest is not None:
            alike[report.digest].append(report.case)
    for first, *others in alike.values():
        if others:
            message = f"The same image as {', '.join(others)}: folds would share it."
            yield Finding("duplicate-case", "warning", message, case=first)
    labels = usable_labels(dataset)
    values = [report.label_values for report in reports]
    if labels is None or not values or None in values or len(values) < len(dataset.cases):
        return
    seen = frozenset().union(*(v for v in values if v is not None))
    yield from _never_seen(seen, labels, dataset.folder / DATASET_JSON)


def _never_seen(seen: frozenset[float], labels: Labels, path: Path) -> Iterator[Finding]:
    missing: Sequence[int] = [label for label in labels.foreground_labels if label not in seen]
    if missing:
        message = f"No case has the label values {', '.join(map(str, missing))}."
        yield Finding("unused-label", "warning", message, path=path)
