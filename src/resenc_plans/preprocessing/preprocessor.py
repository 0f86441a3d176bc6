"""`Preprocessor`: all cases of a dataset, on any executor, in a run that may be interrupted."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from resenc_plans.datasets.dataset import Case, Dataset, expect_dataset
from resenc_plans.datasets.file_naming import naming_fault
from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import (
    ConfigurationError,
    DatasetError,
    FileError,
    PreprocessingError,
    expect_type,
)
from resenc_plans.execution.cases import CaseProblem, as_cases_complete
from resenc_plans.execution.cpus import usable_cpus
from resenc_plans.execution.memory import free_memory
from resenc_plans.execution.processes import LocalWorkers
from resenc_plans.execution.signals import raise_on_termination
from resenc_plans.files import part_of_path
from resenc_plans.plans.configuration import ResolvedConfiguration, expect_resolved
from resenc_plans.plans.nnunet_parts import reader_of
from resenc_plans.plans.plans import Plans
from resenc_plans.preprocessing.case import Recipe, StoredCase, preprocess_case
from resenc_plans.preprocessing.case_task import CaseTask, store_case
from resenc_plans.preprocessing.resampling.labels import DEFAULT_RULE, LabelRule
from resenc_plans.preprocessing.store.case_store import LABELS
from resenc_plans.preprocessing.store.folder import open_for_writing, remove_case
from resenc_plans.preprocessing.store.manifest import Manifest, ManifestEntry, recipe_digest
from resenc_plans.preprocessing.worker_memory import memory_of_case, workers_that_fit
from resenc_plans.reprs import card, listed, numbers
from resenc_plans.words import counted


@dataclass(frozen=True)
class PreprocessingProgress:
    """How far a run is, each time a case is finished or is to be retried."""

    case: str
    done: int
    """Cases that are finished, stored or failed."""
    total: int
    """Cases to do, without those that were up to date."""
    seconds: float
    """Since the first case began."""
    note: str | None = None
    """One line about a problem with this case."""


@dataclass(frozen=True)
class PreprocessingReport:
    """The result of a run."""

    folder: Path
    stored: tuple[str, ...]
    """Cases that were preprocessed."""
    unchanged: tuple[str, ...]
    """Cases that were up to date."""
    problems: tuple[CaseProblem, ...]
    """Cases that are not stored, and why."""
    findings: tuple[Finding, ...] = ()
    """About cases that are stored: a segmentation of another spacing, origin or direction."""

    def __repr__(self) -> str:
        return card(
            f"PreprocessingReport of {self.folder}",
            {
                "stored": listed(self.stored),
                "unchanged": listed(self.unchanged),
                "problems": listed(problem.case for problem in self.problems),
                "findings": len(self.findings),
            },
        )


@dataclass(frozen=True)
class Preprocessor:
    """Preprocesses images by a configuration of plans.

    Raises
    ------
    PreprocessingError
        `plan` has another configuration of this name than `config`.
    UsageError
        `config` is not a resolved configuration.
    """

    config: ResolvedConfiguration
    plan: Plans | None = None
    """The plans that `config` was resolved from; only checked, since `config` knows them."""
    label_rule: LabelRule = DEFAULT_RULE
    """How segmentations are resampled where labels meet, see `resample_labels`."""

    def __post_init__(self) -> None:
        expect_resolved(self.config)
        name = self.config.name
        if self.plan is not None and self.plan.resolve(name) != self.config:
            raise PreprocessingError(
                f"{self.plan.source}: {name} is not the configuration of that name that is to be "
                "preprocessed. Resolve it from these plans."
            )

    def __repr__(self) -> str:
        config = self.config
        return card(
            f"Preprocessor of {config.name}",
            {
                "plans": config.plans.name,
                "spacing": f"{numbers(config.spacing)} mm",
                "normalisation": listed(config.normalization_schemes),
                "data": config.data_identifier,
                "labels": self.label_rule,
            },
        )

    def preprocess_case(
        self,
        images: npt.NDArray[Any],
        labels: npt.NDArray[Any] | None,
        properties: Mapping[str, Any],
        dataset_labels: Labels | None = None,
    ) -> StoredCase:
        """Preprocess one case in memory, see `preprocessing.case.preprocess_case`.

        With `dataset_labels`, class locations are sampled and unknown labels are an error.
        """
        expect_type(dataset_labels, (Labels, type(None)), "dataset_labels", "those of a `Dataset`")
        recipe = Recipe.of(self.config, dataset_labels, self.label_rule)
        return preprocess_case(images, labels, properties, recipe)

    def run(
        self,
        dataset: Dataset,
        output_folder: str | os.PathLike[str],
        executor: Executor | None = None,
        *,
        workers: int | None = None,
        force: bool = False,
        on_progress: Callable[[PreprocessingProgress], None] | None = None,
    ) -> PreprocessingReport:
        """Preprocess the cases that are missing or out of date into `output_folder`.

        A case is out of date when its files, the settings of preprocessing in plans and
        dataset.json, or the version of preprocessing have changed; its old files are removed before
        any case is preprocessed. A case that fails does not stop the others.

        Parameters
        ----------
        dataset
            The raw data.
        output_folder
            The store: nnU-Net's <preprocessed>/<dataset>/<data_identifier>.
        executor
            Where the cases are done, such as `dask_executor(address)`; by default `workers`
            processes on this machine.
        workers
            Number of processes; by default as many as usable CPUs and free memory allow.
        force
            Preprocess all cases, including those that are up to date.
        on_progress
            Called in this thread after each case.

        Returns
        -------
        Which cases were stored, were up to date, or failed.

        Raises
        ------
        ConfigurationError
            The plans do not fit the dataset, or name something unknown.
        DatasetError
            The dataset has no cases, or images without a channel number.
        FileError
            The folder cannot be written to, another run is writing to it, or a case has a name that
            no file can have.
        """
        folder = Path(output_folder).absolute()
        tasks = self._tasks(dataset, folder)
        with raise_on_termination(), open_for_writing(folder) as run:
            tasks = [replace(task, run=run) for task in tasks]
            manifest = Manifest(folder)
            fresh, pending = _sort_out(tasks, manifest.read(), folder, force)
            manifest.write(fresh)
            stored, problems, findings = [], [], list[Finding]()
            begun, done = time.monotonic(), 0
            with ExitStack() as stack:
                pool = stack.enter_context(_executor_for(pending, executor, workers))
                outcomes = as_cases_complete(
                    store_case, pending, pool, name=_case_name, retry_lost=True
                )
                for outcome in stack.enter_context(closing(outcomes)):
                    task = pending[outcome.index]
                    name, note = task.case.name, None
                    done += not outcome.will_be_retried
                    problem = (
                        _with_path(outcome.result, task)
                        if isinstance(outcome.result, CaseProblem)
                        else _record(outcome.result.entry, manifest, folder)
                    )
                    if not isinstance(outcome.result, CaseProblem):
                        findings += outcome.result.findings
                    if problem is None:
                        stored.append(name)
                    elif outcome.will_be_retried:
                        note = f"{problem}; it will be tried again alone"
                    else:
                        note = str(problem)
                        problems.append(problem)
                    if on_progress is not None:
                        seconds = time.monotonic() - begun
                        on_progress(PreprocessingProgress(name, done, len(pending), seconds, note))
        return PreprocessingReport(
            folder,
            tuple(stored),
            tuple(entry.case for entry in fresh),
            tuple(problems),
            tuple(findings),
        )

    def memory_per_worker(self, dataset: Dataset) -> int:
        """The most memory that a worker takes for any case, in bytes, judged by the headers."""
        recipe = Recipe.of(self.config, dataset.labels, self.label_rule)
        return max((memory_of_case(case, recipe) for case in dataset.cases), default=0)

    def _tasks(self, dataset: Dataset, folder: Path) -> list[CaseTask]:
        expect_dataset(dataset)
        fault = naming_fault(dataset)
        if fault is not None:
            raise DatasetError(f"{dataset.folder}: {fault.message}")
        for case in dataset.cases:
            for ending in (LABELS, dataset.json.file_ending):
                part_of_path(case.name, "case", ending=ending)
        recipe = Recipe.of(self.config, dataset.labels, self.label_rule)
        plans = self.config.plans
        if len(recipe.channels) != len(dataset.channels):
            raise ConfigurationError(
                f"{plans.source}: {self.config.name} is for "
                f"{counted(len(recipe.channels), 'channel')}, but {dataset.json.source} names "
                f"{len(dataset.channels)}. Are these the plans of another dataset?"
            )
        reader = reader_of(plans) or dataset.reader_name
        digest = recipe_digest(self.config, dataset.json, self.label_rule)
        return [CaseTask(_absolute(case), reader, recipe, digest, folder) for case in dataset.cases]


def with_own_data(plan: Plans, names: Sequence[str] = ()) -> tuple[ResolvedConfiguration, ...]:
    """The first of these configurations, by default of all, for each folder of stored cases."""
    by_folder: dict[str, ResolvedConfiguration] = {}
    for name in names or plan.configurations:
        config = plan.resolve(name)
        by_folder.setdefault(config.data_identifier, config)
    return tuple(by_folder.values())


def _sort_out(
    tasks: Sequence[CaseTask], entries: Mapping[str, ManifestEntry], folder: Path, force: bool
) -> tuple[list[ManifestEntry], list[CaseTask]]:
    """Entries of cases that are up to date, and tasks for the others, whose files are removed."""
    fresh, pending = [], []
    for task in tasks:
        entry = entries.get(task.case.name)
        if entry and not force and entry.is_fresh(folder, task.recipe_digest, task.inputs):
            fresh.append(entry)
        else:
            pending.append(task)
    up_to_date = {entry.case for entry in fresh}
    for name in {*entries, *(task.case.name for task in pending)} - up_to_date:
        remove_case(folder, name)
    return fresh, pending


def _case_name(task: CaseTask) -> str:
    return task.case.name


def _with_path(problem: CaseProblem, task: CaseTask) -> CaseProblem:
    """The problem, with the path of the case where its reason names no file, read or written."""
    named = (*task.inputs, task.folder)
    if not task.inputs or any(str(path) in problem.reason for path in named):
        return problem
    return CaseProblem(problem.case, f"{task.inputs[0]}: {problem.reason}")


def _record(entry: ManifestEntry, manifest: Manifest, folder: Path) -> CaseProblem | None:
    """Enter a stored case into the manifest; a case that cannot be entered is not stored."""
    try:
        manifest.append(entry)
    except FileError as error:
        remove_case(folder, entry.case)
        return CaseProblem(entry.case, str(error))
    return None


@contextmanager
def _executor_for(
    tasks: Sequence[CaseTask], executor: Executor | None, workers: int | None
) -> Iterator[Executor]:
    """Yield `executor`, or else processes of our own, which are killed on an interruption."""
    if executor is not None:
        yield executor
        return
    cpus = usable_cpus()
    if workers is None:
        needs = [memory_of_case(task.case, task.recipe) for task in tasks]
        workers = workers_that_fit(needs, cpus, free_memory())
    workers = max(1, min(workers, len(tasks)))
    pool = LocalWorkers(workers, threads=max(1, cpus // workers))
    try:
        yield pool
    except BaseException:
        pool.kill()
        raise
    pool.shutdown()


def _absolute(case: Case) -> Case:
    label = None if case.label is None else case.label.absolute()
    return Case(case.name, tuple(path.absolute() for path in case.images), label)
