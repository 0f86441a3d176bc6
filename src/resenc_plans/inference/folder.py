"""From a folder of images to a folder of segmentations, here or in parts on any executor."""

import os
from collections.abc import Callable
from concurrent.futures import Executor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.images.segmentation_files import (
    is_whole,
    npz_of,
    remove_old_summary,
    segmentation_file,
    write_segmentation,
)
from resenc_plans.errors import FileError, PredictionError, WorkerError, WorkerStartError
from resenc_plans.execution.cases import CaseProblem, is_loss
from resenc_plans.execution.changes import note_change
from resenc_plans.execution.locks import HeldLock, LockWatch, lock
from resenc_plans.execution.pipeline import Pipeline
from resenc_plans.files import make_folder, write_json
from resenc_plans.folders import DATASET_JSON, PLANS_JSON
from resenc_plans.inference.export.case import export_case
from resenc_plans.inference.export.probabilities import write_probabilities
from resenc_plans.inference.input_cases import (
    InputCase,
    find_cases,
    part_of,
    read_case,
    read_previous,
)
from resenc_plans.inference.predictor import DEFAULT_SETTINGS, Predictor
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.plans.nnunet_parts import reader_of
from resenc_plans.reprs import card, listed
from resenc_plans.runs.prediction_record import (
    CHECKPOINTS,
    begin_prediction_record,
    end_prediction_record,
)
from resenc_plans.runs.trained_model import Fold

Preprocessed = tuple[npt.NDArray[np.float32], dict[str, Any]]
Predicted = tuple[npt.NDArray[Any], dict[str, Any]]


@dataclass(frozen=True)
class PredictionReport:
    """What became of all cases."""

    written: tuple[str, ...]
    skipped: tuple[str, ...]
    """Those that already existed."""
    problems: tuple[CaseProblem, ...]
    remarks: tuple[str, ...] = ()
    """What a person should know of cases that were predicted nonetheless, and of other files."""

    def __repr__(self) -> str:
        return card(
            "PredictionReport",
            {
                "written": listed(self.written),
                "skipped": listed(self.skipped),
                "problems": listed(problem.case for problem in self.problems),
                "remarks": listed(self.remarks, 1),
            },
        )


@dataclass(frozen=True)
class PredictionProgress:
    """How far a run is."""

    case: str
    """The case in the network, or the one that is done."""
    cases_done: int
    cases: int
    """Cases of this run, without those that already existed."""
    tiles_done: int
    """Of the case in the network, in the current fold."""
    tiles: int
    """0 where no case is in the network."""


def predict_folder(
    predictor: Predictor,
    inputs: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    previous_stage: str | os.PathLike[str] | None = None,
    part: tuple[int, int] = (1, 1),
    on_progress: Callable[[PredictionProgress], None] | None = None,
) -> PredictionReport:
    """Segment all cases of a folder; a case that fails is reported and stops no other.

    Reading, the network and writing overlap; at most three cases and one per worker are in memory.

    Parameters
    ----------
    predictor
        The model; its settings say whether to write probabilities, to skip cases that exist, and
        how many threads work beside the network.
    inputs
        Holds CASE_0000.nii.gz and so on, one file per channel, with the dataset's file ending.
    output
        Receives CASE.nii.gz on the image's grid, and the plans.json and dataset.json that
        postprocessing and ensembles need. Created if it does not exist.
    previous_stage
        In a cascade's second stage: the folder of the first stage's segmentations.
    part
        (k, n): only every n-th case from the k-th, k from 1.
    on_progress
        Called in this thread after each batch of tiles and each case.

    Raises
    ------
    ConfigurationError
        The model's reader is none of nnU-Net's.
    FileError
        A folder is missing, empty or not writable.
    LockedError
        Another process predicts the same part into `output`.
    PredictionError
        There is no such part, or `previous_stage` is missing, or the model takes none; or cases
        that exist would be kept, and were predicted otherwise.
    """
    task = _Task.of(predictor, Path(inputs), Path(output), part, previous_stage)
    make_folder(task.output)
    number, parts = part
    with lock(task.output / f".part_{number}_of_{parts}.lock", task.output) as run:
        return _predict(predictor, task, run, on_progress)


@dataclass(frozen=True)
class _Task:
    """A part of a folder of images, checked before anything is written."""

    inputs: Path
    output: Path
    cases: tuple[InputCase, ...]
    """All of the folder."""
    part: tuple[int, int]
    previous: Path | None
    ending: str
    reader: str | None

    @classmethod
    def of(
        cls,
        predictor: Predictor,
        inputs: Path,
        output: Path,
        part: tuple[int, int],
        previous_stage: str | os.PathLike[str] | None,
    ) -> "_Task":
        previous = _previous_folder(predictor, previous_stage)
        ending = predictor.model.dataset.file_ending
        reader = reader_of(predictor.model.plan.header)
        cases = find_cases(inputs, ending)
        part_of(cases, part)
        if output.is_dir() and output.samefile(inputs):
            raise FileError(f"{output}: is the folder of the images. Name another output.")
        return cls(inputs, output, cases, part, previous, ending, reader)

    @property
    def chosen(self) -> tuple[InputCase, ...]:
        """The cases of the part."""
        return part_of(self.cases, self.part)

    def path_of(self, case: InputCase) -> Path:
        """The segmentation of a case."""
        return segmentation_file(self.output, case.name, self.ending)


def _predict(
    predictor: Predictor,
    task: _Task,
    run: HeldLock,
    on_progress: Callable[[PredictionProgress], None] | None = None,
) -> PredictionReport:
    """Segment the cases of a part, unless the run that it is of ends."""
    model, settings = predictor.model, predictor.settings
    chosen = task.chosen
    paths = {case: task.path_of(case) for case in chosen}
    watch = LockWatch(run)
    watch.expect_held()
    _write_run_files(predictor, task)
    report = on_progress or (lambda _: None)
    problems: dict[str, CaseProblem | None] = {}
    finished: set[str] = set()
    remarks: list[str] = []

    def read(case: InputCase) -> Preprocessed:
        watch.expect_held()
        image = read_case(case, model.dataset.channels, task.reader, remarks.append)
        stage = None
        if task.previous is not None:
            stage = read_previous(task.previous, case.name, task.ending, task.reader).array[0]
        return predictor.preprocess(image.array, image.properties, stage)

    def predict(case: InputCase, read: Preprocessed) -> Predicted:
        def on_tile(done: int, tiles: int) -> None:
            report(PredictionProgress(case.name, len(finished), len(todo), done, tiles))

        image, properties = read
        if predictor.exports_on_device:
            return predictor.segment(image, properties, on_tile), properties
        return predictor.predict_logits(image, on_tile).numpy(), properties

    def write(case: InputCase, predicted: Predicted) -> None:
        labels, properties = predicted
        if not predictor.exports_on_device:
            labels = export_case(*predicted, predictor.export_recipe)
        watch.expect_held()
        if settings.probabilities:
            write_probabilities(npz_of(paths[case]), *predicted, predictor.export_recipe)
        write_segmentation(labels, paths[case], properties)
        finished.add(case.name)

    done = {
        case
        for case in chosen
        if settings.skip_existing and is_whole(paths[case], probabilities=settings.probabilities)
    }
    todo = [case for case in chosen if case not in done]
    about_summary = remove_old_summary(task.output, [paths[case] for case in todo])
    if about_summary is not None:
        remarks.append(about_summary)
    pipeline = Pipeline(read, predict, write, settings.workers, attrgetter("name"))
    for case, problem in pipeline.run(todo):
        problems[case.name] = problem
        finished.add(case.name)
        report(PredictionProgress(case.name, len(finished), len(todo), 0, 0))
    if task.part == (1, 1) and not any(problems.values()):
        end_prediction_record(task.output)
    return PredictionReport(
        written=tuple(case.name for case in todo if problems[case.name] is None),
        skipped=tuple(case.name for case in chosen if case in done),
        problems=tuple(problem for case in todo if (problem := problems[case.name]) is not None),
        remarks=tuple(sorted(remarks)),
    )


@dataclass(frozen=True)
class PredictionJob:
    """A folder to predict, with all that a worker needs to do a part of it.

    Paths must mean the same here and wherever the executor works.
    """

    model: Path
    inputs: Path
    output: Path
    folds: tuple[Fold, ...] | None = None
    settings: PredictionSettings = DEFAULT_SETTINGS
    previous_stage: Path | None = None
    devices: tuple[str, ...] = ()
    """A device for each part, instead of that of the settings."""

    def run(self, part: tuple[int, int], run: HeldLock) -> PredictionReport:
        """Predict part k of n, k from 1; once `run` has ended, no more cases are written.

        Raises
        ------
        LockedError
            It has ended already.
        """
        settings = self.settings
        if self.devices:
            device = self.devices[part[0] - 1]
            settings = settings.model_copy(update={"device": device})
        predictor = Predictor.from_folder(self.model, self.folds, settings=settings)
        task = _Task.of(predictor, self.inputs, self.output, part, self.previous_stage)
        return _predict(predictor, task, run)


def predict_on(executor: Executor, job: PredictionJob, parts: int) -> PredictionReport:
    """Predict a job in `parts` parts at a time, each of which loads the model once.

    When this is interrupted, parts that a cluster works on write no more cases.

    Raises
    ------
    ResencPlansError
        As `Predictor.from_folder` and `predict_folder`; parts that have not begun are cancelled.
    WorkerError
        A worker is gone, perhaps with cases of its part.
    """
    is_new = not job.output.exists()
    make_folder(job.output)
    try:
        with lock(job.output / ".parts.lock", job.output) as run:
            report = _parts_predicted(executor, job, parts, run)
            if not report.problems:
                end_prediction_record(job.output)
            return report
    except BaseException:
        if is_new:
            with suppress(OSError):
                job.output.rmdir()  # where nothing was written to it
        raise


def _parts_predicted(
    executor: Executor, job: PredictionJob, parts: int, run: HeldLock
) -> PredictionReport:
    futures = [executor.submit(job.run, (number, parts), run) for number in range(1, parts + 1)]
    reports = []
    try:
        for future in as_completed(futures):
            reports.append(future.result())
            note_change()
    except BaseException as error:
        for future in futures:
            future.cancel()
        if is_loss(error) and not isinstance(error, WorkerStartError):
            raise WorkerError(
                f"{job.output}: a worker was lost ({error}). Cases that are written stay; "
                "predict again and keep them (`skip_existing=`)."
            ) from error
        raise
    problems = [problem for report in reports for problem in report.problems]
    return PredictionReport(
        tuple(sorted(case for report in reports for case in report.written)),
        tuple(sorted(case for report in reports for case in report.skipped)),
        tuple(sorted(problems, key=attrgetter("case"))),
        tuple(sorted(remark for report in reports for remark in report.remarks)),
    )


def _previous_folder(predictor: Predictor, folder: str | os.PathLike[str] | None) -> Path | None:
    config = predictor.model.config
    if config.previous_stage is None:
        if folder is not None:
            raise PredictionError(
                f"{config.name}: is not the second stage of a cascade, so it takes no "
                "segmentations of a previous stage."
            )
        return None
    if folder is None:
        raise PredictionError(
            f"{config.name}: continues the segmentations of {config.previous_stage}. Predict with "
            "that first, then name its output folder with `previous_stage=`."
        )
    if not Path(folder).is_dir():
        raise FileError(
            f"{folder}: no such folder. It should hold the previous stage's segmentations."
        )
    return Path(folder)


def _write_run_files(predictor: Predictor, task: _Task) -> None:
    """Write the three files that nnU-Net puts into the output folder."""
    settings, target = predictor.settings, task.output
    existing = {case for case in task.cases if task.path_of(case).exists()}
    begin_prediction_record(
        target,
        {
            "list_of_lists_or_source_folder": str(task.inputs),
            "output_folder_or_list_of_truncated_output_files": str(target),
            "save_probabilities": settings.probabilities,
            "overwrite": not settings.skip_existing,
            "folder_with_segs_from_prev_stage": (
                None if task.previous is None else str(task.previous)
            ),
            "num_parts": task.part[1],
            "part_id": task.part[0] - 1,
        },
        {
            CHECKPOINTS: [os.fspath(Path(path).absolute()) for path in predictor.model.weights],
            "mirror_axes": list(predictor.mirror_axes),
            "step_size": settings.step_size,
        },
        has_cases=bool(existing),
        keeps_cases=settings.skip_existing and not existing.isdisjoint(task.chosen),
    )
    write_json(target / PLANS_JSON, predictor.model.plan.to_dict())
    write_json(target / DATASET_JSON, predictor.model.dataset.to_dict())
