"""The command preprocess: crop, normalise, resample and store the cases of a dataset."""

from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import (
    DatasetOption,
    PlansOption,
    WorkersOption,
    dask_option,
)
from resenc_plans.cli.progress import case_progress
from resenc_plans.cli.render import end_with, note, say
from resenc_plans.cli.stopping import resumable
from resenc_plans.errors import ResencPlansError
from resenc_plans.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resenc_plans.cli.scope import Scope
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.execution.cases import CaseProblem
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.plans.plans import Plans


def preprocess(
    dataset: DatasetOption = None,
    plans: PlansOption = None,
    configurations: Annotated[
        list[str] | None,
        typer.Option(
            "-c",
            "--configuration",
            metavar="CONFIGURATION",
            help="Configuration by name. Repeatable. Default: all that have data of their own.",
            show_default=False,
        ),
    ] = None,
    workers: WorkersOption = None,
    dask: Annotated[
        str | None,
        dask_option("Scheduler of a Dask cluster whose workers share the cases (extra dask)."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Preprocess all cases, including those that are up to date."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check the stored cases instead of preprocessing.")
    ] = False,
) -> None:
    """Crop, normalise, resample and store every case, as nnU-Net 2.8.1 does.

    Only cases that are missing or out of date are preprocessed; a run may be stopped at any time,
    with exit code 75. Exit code 1 if a case failed.
    Example: resenc-plans preprocess -d 4 -c 3d_fullres
    """
    from resenc_plans.cli.scope import find_plans, find_scope

    scope = find_scope(dataset)
    names = configurations or []
    problems = preprocess_cases(
        scope,
        scope.dataset(),
        find_plans(plans, dataset),
        names,
        workers=workers,
        dask=dask,
        force=force,
        check=check,
    )
    end_with(problems)


def preprocess_cases(
    scope: "Scope",
    data: "Dataset",
    plan: "Plans",
    names: "Sequence[str]",
    *,
    workers: int | None = None,
    dask: str | None = None,
    force: bool = False,
    check: bool = False,
) -> "list[CaseProblem]":
    """Preprocess the cases of configurations, or check those that are stored; what failed."""
    from resenc_plans.execution.cases import CaseProblem
    from resenc_plans.files import inside
    from resenc_plans.folders import GROUND_TRUTH
    from resenc_plans.plans.checks.chosen import remarks_on
    from resenc_plans.preprocessing.ground_truth import copy_ground_truth, outdated_copies
    from resenc_plans.preprocessing.preprocessor import with_own_data
    from resenc_plans.preprocessing.store.folder import store_folder

    problems: list[CaseProblem] = []
    folders = {
        config: store_folder(scope.preprocessed, config) for config in with_own_data(plan, names)
    }
    if not check:
        for folder in folders.values():
            inside(scope.preprocessed, folder)
        outdated_copies(data, scope.preprocessed)  # whatever is wrong with them, before any work
    if check:
        for folder in folders.values():
            problems += _check(folder)
        return problems
    for text in dict.fromkeys(text for config in folders for text in remarks_on(config, data)):
        note(text)
    with resumable("Cases that are stored stay. Run the same command again for the others."):
        for config, folder in folders.items():
            problems += _preprocess(data, config, folder, workers=workers, dask=dask, force=force)
        try:
            copy_ground_truth(data, scope.preprocessed)
        except ResencPlansError as error:
            problems.append(CaseProblem(GROUND_TRUTH, str(error)))
    return problems


def _preprocess(
    data: "Dataset",
    config: "ResolvedConfiguration",
    folder: Path,
    *,
    workers: int | None,
    dask: str | None,
    force: bool,
) -> "list[CaseProblem]":
    from resenc_plans.datasets.finding import by_rule
    from resenc_plans.files import make_folder
    from resenc_plans.preprocessing import PreprocessingProgress, Preprocessor

    make_folder(folder.parent)
    with case_progress(config.name, len(data.cases)) as on_case, _cluster(dask) as executor:

        def report(event: PreprocessingProgress) -> None:
            on_case(event.case)
            if event.note:
                note(f"{config.name}: {event.note}")

        result = Preprocessor(config).run(
            data, folder, executor, workers=workers, force=force, on_progress=report
        )
    for line in by_rule(result.findings, len(data.cases)):
        note(line)
    say(
        f"{config.name}: {counted(len(result.stored), 'case')} stored in {folder}, "
        f"{len(result.unchanged)} up to date, {len(result.problems)} failed."
    )
    return list(result.problems)


def _check(folder: Path) -> "list[CaseProblem]":
    from resenc_plans.preprocessing.store.check import check_store

    with case_progress(f"Checking {folder.name}", len(list(folder.glob("*.pkl")))) as on_case:
        result = check_store(folder, on_case)
    say(f"{folder}: {counted(len(result.cases), 'case')} checked, {len(result.problems)} damaged.")
    return list(result.problems)


def _cluster(address: str | None) -> AbstractContextManager[Executor | None]:
    if address is None:
        return nullcontext()
    from resenc_plans.execution.dask import dask_executor

    return dask_executor(address)
