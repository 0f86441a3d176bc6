"""What is wrong with a study, before a GPU hour is spent, and what it will take."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.finding import Finding, worst_first
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.datasets.images.segmentation_files import segmentation_file
from resenc_plans.errors import ResencPlansError, StudyError
from resenc_plans.folders import FINGERPRINT_JSON
from resenc_plans.networks.check import check_network
from resenc_plans.plans.checks.chosen import remarks_on
from resenc_plans.plans.configuration import (
    PREPROCESSING_KEYS,
    ResolvedConfiguration,
    input_channels,
)
from resenc_plans.plans.trained_configuration import (
    trained_configuration as configuration_of_trainer,
)
from resenc_plans.reprs import listed, rounded
from resenc_plans.runs.comparability import compare_facts
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_facts import FoldFacts, ModelFacts
from resenc_plans.runs.run_record import OwnCode, RunRecord, changed_code
from resenc_plans.study.patients import patients_of
from resenc_plans.study.statistics.detectable import expected_detectable
from resenc_plans.study.unattended.costs import ExpectedCost, expect_cost
from resenc_plans.study.unattended.graph import Job, Piece, Run
from resenc_plans.study.unattended.jobs import JobOptions, do_job
from resenc_plans.study.unattended.methods import (
    folder_of,
    network_code,
    other_source,
    own_network,
    plan_method,
    trained_configuration,
    trainer_name,
)
from resenc_plans.study.unattended.opened import OpenedStudy, one_study_per_folder
from resenc_plans.study.unattended.study_data import StudyData
from resenc_plans.study.unattended.take_over import Existing, find_existing
from resenc_plans.words import counted


@dataclass(frozen=True, kw_only=True)
class ExpectedMethod:
    """What a method is expected to take on a dataset."""

    dataset: str
    method: str
    configuration: ResolvedConfiguration
    trainings: int
    missing: int
    """Of the trainings, those that are not done."""
    cost: ExpectedCost
    hours: float
    """Of one training, estimated."""


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """The smallest difference that a dataset can show."""

    dataset: str
    cases: int
    """That the folds hold out."""
    patients: int
    difference: float
    spread: float
    """The standard deviation of the differences of cases that this supposes."""


@dataclass(frozen=True, kw_only=True)
class StudyCheck:
    """What `study check` finds."""

    findings: tuple[Finding, ...]
    """Worst first."""
    methods: tuple[ExpectedMethod, ...]
    detectable: tuple[Detectable, ...]
    existing: tuple[Existing, ...]
    """Finished runs that lie elsewhere, to be taken over or not."""
    unplanned: int = 0
    """Methods that cannot be planned, summed over the datasets."""

    @property
    def gpu_hours(self) -> float | None:
        """Of all trainings that are missing, estimated; None where a method cannot be planned."""
        if self.unplanned:
            return None
        return sum(one.hours * one.missing for one in self.methods)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "gpu_hours": self.gpu_hours,
            "methods": [
                {
                    "dataset": one.dataset,
                    "method": one.method,
                    "trainings": one.trainings,
                    "missing": one.missing,
                    "hours": one.hours,
                    **asdict(one.cost),
                }
                for one in self.methods
            ],
            "detectable": [asdict(one) for one in self.detectable],
            "findings": [
                {"rule": one.rule, "severity": one.severity, "message": one.message}
                for one in self.findings
            ],
        }

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those for which nothing may begin."""
        return tuple(one for one in self.findings if one.severity == "error")


def check_study(study: OpenedStudy, allow_import: Sequence[str] = ()) -> StudyCheck:
    """Plan every method, build every network, and apply `compare`'s rules to what is planned.

    Every method that cannot be built is among the findings. A dataset's fingerprint is made where
    there is none yet, and kept in memory.

    Raises
    ------
    FileError, DatasetError
        A dataset or a file of the study cannot be read.
    """
    findings: list[Finding] = []
    methods: list[ExpectedMethod] = []
    detectable: list[Detectable] = []
    unplanned = 0
    for name, data in study.data.items():
        findings += _folds(study, data)
        planned: list[ExpectedMethod] = []
        trained = any(method.is_trained for method in study.file.methods.values())
        fingerprint = _fingerprint(study, data) if trained else None
        for method, described in study.file.methods.items():
            if described.predictions is not None:
                findings += _predictions(study, data, method, described.predictions)
                continue
            assert fingerprint is not None, "a method is trained"
            try:
                planned.append(_planned(study, data, method, fingerprint, allow_import))
            except ResencPlansError as error:
                unplanned += 1
                findings.append(
                    Finding("S001", "error", f"{method} on {name}: cannot be trained. {error}")
                )
            else:
                findings += _remarks(study, planned[-1], data.dataset)
        findings += [*_same_twice(study, name, planned), *_shared_data(name, planned)]
        if not any(one.rule == "S002" for one in findings):
            findings += _comparability(study, data, planned)
            detectable.append(_detectable(study, data))
        methods += planned
    existing: tuple[Existing, ...] = ()
    if not any(one.rule == "S002" for one in findings):
        existing = find_existing(
            study, {(one.dataset, one.method): one.configuration for one in methods}
        )
    methods = [_without(one, existing) for one in methods]
    findings += [*_budget(study, methods), *_existing(existing), *_old_trainings(study)]
    if (other := study.other_file()) is not None:
        findings.append(Finding("S009", "error", one_study_per_folder(other)))
    return StudyCheck(
        findings=worst_first(findings),
        methods=tuple(methods),
        detectable=tuple(detectable),
        existing=existing,
        unplanned=unplanned,
    )


def _old_trainings(study: OpenedStudy) -> Iterator[Finding]:
    for piece, reason in study.old_trainings().items():
        yield Finding(
            "S103",
            "warning",
            f"the training of {piece.run} {reason}, so `study run` begins only if it may train it "
            "again",
        )


def _without(method: ExpectedMethod, existing: Sequence[Existing]) -> ExpectedMethod:
    """What a method takes yet when runs have been taken over."""
    taken = [
        one
        for one in existing
        if (one.run.dataset, one.run.method) == (method.dataset, method.method)
        and not one.differences
    ]
    return replace(method, missing=method.missing - len(taken))


def _existing(existing: Sequence[Existing]) -> Iterator[Finding]:
    for one in existing:
        if one.differences:
            text = f"{one.source.path}: differs in {'; '.join(one.differences)}"
            yield Finding("S102", "note", f"{one.run}: is not taken over from {text}")
        else:
            yield Finding("S101", "note", f"{one.run}: is taken over from {one.source.path}")


def _fingerprint(study: OpenedStudy, data: StudyData) -> Fingerprint:
    path = study.places.preprocessed(data.name) / FINGERPRINT_JSON
    piece = Piece("fingerprint", Run(data.name, ""))
    state = study.state(piece)
    if state in ("stale", "broken"):
        return Fingerprint.extract(data.dataset)
    if state != "done":
        do_job(study, Job(f"prepare/{data.name}", (piece,)), JobOptions())
    record = study.record(piece)
    if record is not None and record.reason is not None:
        raise StudyError(record.reason)
    return Fingerprint.load(path)


def _planned(
    study: OpenedStudy,
    data: StudyData,
    name: str,
    fingerprint: Fingerprint,
    allow_import: Sequence[str],
) -> ExpectedMethod:
    from resenc_plans.training.own_parts import model_name

    method = study.file.methods[name]
    runs = [run for run in study.graph.runs if (run.dataset, run.method) == (data.name, name)]
    plans = plan_method(name, method, data.dataset, fingerprint, study.places.root)
    config = plans.resolve(trained_configuration(name, method))
    settings = study.file.settings_of(name, study.file.seeds[0]).over(config.training)
    config = configuration_of_trainer(config, settings.trainer)
    own = () if method.network is None else ("network",)
    model_name(trainer_name(name, method, settings.trainer), settings, own)
    labels = data.dataset.labels
    if method.network is None:
        check_network(
            config,
            input_channels(config, labels),
            labels.num_heads,
            deep_supervision=settings.deep_supervision,
            allow_import=allow_import,
        )
    else:
        network = own_network(method, config, data.dataset, allow_import)
        _refuse_other_source(study, runs, network_code(method, allow_import), OwnCode.of(network))
    cost = expect_cost(method, config, data.dataset, allow_import)
    missing = [run for run in runs if study.state(Piece("training", run)) != "done"]
    return ExpectedMethod(
        dataset=data.name,
        method=name,
        configuration=config,
        trainings=len(runs),
        missing=len(missing),
        cost=cost,
        hours=cost.hours(settings),
    )


def _remarks(study: OpenedStudy, method: ExpectedMethod, dataset: Dataset) -> Iterator[Finding]:
    """What the checks of plans have against a method's own plans file."""
    if study.file.methods[method.method].plans is not None:
        for remark in remarks_on(method.configuration, dataset):
            yield Finding("S104", "warning", f"{method.method} on {method.dataset}: {remark}")


def _refuse_other_source(
    study: OpenedStudy, runs: Sequence[Run], maker: OwnCode | None, kind: OwnCode
) -> None:
    """Refuse a network whose source has changed since runs of the method began.

    `maker` is what the study's file names, `kind` the class of the network that it makes.

    Raises
    ------
    StudyError
        It has.
    """
    for run in runs:
        piece = Piece("training", run)
        if study.state(piece) not in ("begun", "done"):
            continue
        folder = study.places.run(run).path
        begun, record = study.record(piece), RunRecord.load(folder)
        if begun is not None and maker is not None and begun.has_other_source(maker):
            raise StudyError(other_source(maker, folder))
        if record is not None and changed_code(record.code, {"network": kind}):
            raise StudyError(other_source(kind, folder))


def _folds(study: OpenedStudy, data: StudyData) -> Iterator[Finding]:
    trained = any(method.is_trained for method in study.file.methods.values())
    try:
        data.require_folds(study.file.folds if trained else ())
    except ResencPlansError as error:
        yield Finding("S002", "error", str(error).rstrip("."))
        return
    cases = {case.name for case in data.dataset.cases}
    split = {case for fold in data.splits() for case in (*fold.train, *fold.val)}
    if strange := sorted(split - cases):
        text = (
            f"the splits name {counted(len(strange), 'case')} that it does not have: "
            f"{listed(strange)}"
        )
        yield Finding("S008", "error", f"{data.name}: {text}")
    if left_out := sorted(cases - split):
        text = (
            f"{counted(len(left_out), 'case is', 'cases are')} in no split, hence without any "
            f"effect: {listed(left_out)}"
        )
        yield Finding("S008", "warning", f"{data.name}: {text}")


def _predictions(
    study: OpenedStudy, data: StudyData, method: str, predictions: str
) -> Iterator[Finding]:
    folder = folder_of(predictions, data.name, study.places.root)
    ending = data.dataset.json.file_ending
    if not folder.is_dir():
        yield Finding("S003", "error", f"{method} on {data.name}: {folder} is no folder")
        return
    try:
        wanted = {case for split in _splits(study, data) for case in split}
    except ResencPlansError:
        return
    lacking = sorted(
        case for case in wanted if not segmentation_file(folder, case, ending).is_file()
    )
    if lacking:
        yield Finding(
            "S003",
            "error" if len(lacking) == len(wanted) else "warning",
            f"{method} on {data.name}: {len(lacking)} of "
            f"{counted(len(wanted), 'held-out case has', 'held-out cases have')} no prediction in "
            f"{folder}: {listed(lacking)}",
        )


def _splits(study: OpenedStudy, data: StudyData) -> list[tuple[str, ...]]:
    """The held-out cases of the study's folds."""
    splits = data.splits()
    return [splits[fold].val for fold in study.file.folds if fold < len(splits)]


def _same_twice(
    study: OpenedStudy, dataset: str, planned: Sequence[ExpectedMethod]
) -> Iterator[Finding]:
    for first, second in combinations(planned, 2):
        one, other = (study.file.methods[part.method] for part in (first, second))
        alike = _decisive(first.configuration) == _decisive(second.configuration)
        if alike and (one.network, one.settings) == (other.network, other.settings):
            yield Finding(
                "S004",
                "error",
                f"{first.method} and {second.method} on {dataset}: have the same network, "
                "preprocessing and settings, so there is nothing to compare",
            )


def _decisive(config: ResolvedConfiguration) -> dict[str, object]:
    return {key: value for key, value in config.to_dict().items() if key != "data_identifier"}


def _shared_data(dataset: str, planned: Sequence[ExpectedMethod]) -> Iterator[Finding]:
    """Two methods that would overwrite each other's stored cases."""
    for first, second in combinations(planned, 2):
        one, other = first.configuration, second.configuration
        if one.data_identifier != other.data_identifier:
            continue
        left, right = one.to_dict(), other.to_dict()
        differing = [key for key in PREPROCESSING_KEYS if left.get(key) != right.get(key)]
        if differing:
            yield Finding(
                "S005",
                "error",
                f"{first.method} and {second.method} on {dataset}: share the stored cases "
                f"{one.data_identifier}, but differ in {listed(differing)}. Give one of them "
                'another folder: "changes": {"data_identifier": ...}',
            )


def _comparability(
    study: OpenedStudy, data: StudyData, planned: Sequence[ExpectedMethod]
) -> Iterator[Finding]:
    """`compare`'s rules on runs, for those that are planned."""
    folds = [str(fold) for fold in study.file.folds]
    splits = data.splits()
    facts = []
    for one in planned:
        method, config = study.file.methods[one.method], one.configuration
        settings = study.file.settings_of(one.method, study.file.seeds[0]).over(config.training)
        record = RunRecord.of(one.method, config, settings, "auto", {})
        identifier = (
            f"{trainer_name(one.method, method, settings.trainer)}__{one.method}__{config.name}"
        )
        by_fold = {
            fold: _facts(record, splits[int(fold)].train, splits[int(fold)].val) for fold in folds
        }
        facts.append(ModelFacts(ModelFolder(Path(identifier)), by_fold, data.dataset.json.labels))
    names = [one.method for one in planned]
    for (first, second), comparison in zip(
        combinations(names, 2), compare_facts(facts), strict=True
    ):
        for difference in comparison.differences:
            if difference.is_known:
                text = f"{first} and {second} on {data.name}: {difference.message}"
                yield Finding(difference.rule, difference.severity, text)


def _facts(record: RunRecord, train: Sequence[str], held_out: Sequence[str]) -> FoldFacts:
    return FoldFacts(
        settings=record.flat_settings,
        precision=None,
        code={},
        changes=(),
        configuration=record.configuration,
        train=frozenset(train),
        held_out=frozenset(held_out),
        missing=frozenset(),
        unnamed=0,
        scored=frozenset(held_out),
        references=None,
        mirroring=None,
        step_size=None,
        postprocessing=(),
    )


def _detectable(study: OpenedStudy, data: StudyData) -> Detectable:
    cases = sorted({case for split in _splits(study, data) for case in split})
    known = data.patients
    patients = len(set(patients_of(cases, known))) if known is not None else len(cases)
    count = len(study.file.methods)
    alpha = (1 - study.file.bootstrap.level) / (count * (count - 1) / 2)
    return Detectable(
        dataset=data.name,
        cases=len(cases),
        patients=patients,
        difference=expected_detectable(study.file.expected_spread, patients, alpha),
        spread=study.file.expected_spread,
    )


def _budget(study: OpenedStudy, methods: Sequence[ExpectedMethod]) -> Iterator[Finding]:
    limit = study.file.budget
    hours = sum(one.hours * one.missing for one in methods)
    if limit.gpu_hours is not None and hours > limit.gpu_hours:
        yield Finding(
            "S006",
            "error",
            f"the missing trainings are expected to take {rounded(hours)} GPU hours (of an A100), "
            f"and the budget is {limit.gpu_hours:g}",
        )
    for one in methods:
        if limit.gigabytes is not None and one.cost.gigabytes > limit.gigabytes:
            yield Finding(
                "S007",
                "error",
                f"{one.method} on {one.dataset}: is expected to take "
                f"{rounded(one.cost.gigabytes)} GB of GPU memory, and the budget is "
                f"{limit.gigabytes:g}",
            )
