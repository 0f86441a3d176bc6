"""Runs that exist, ours or nnU-Net's: whether they are those of a study, and taking them over."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resenc_plans.errors import LockedError, ResencPlansError
from resenc_plans.execution.locks import lock
from resenc_plans.files import followed, make_folder, replace_file, replace_folder
from resenc_plans.folders import (
    DATASET_JSON,
    FINAL_CHECKPOINT,
    FINGERPRINT_JSON,
    PLANS_JSON,
    SUMMARY_JSON,
    TRAINER_NAME,
    VALIDATION,
)
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.reprs import listed
from resenc_plans.runs.folds import CASES_JSON, MAX_NAMES
from resenc_plans.runs.model_folder import ModelFolder, is_model_folder
from resenc_plans.runs.run_cost import COST_JSON
from resenc_plans.runs.run_facts import FoldFacts, ModelFacts
from resenc_plans.runs.run_folder import DEBUG_JSON, METRICS, PROGRESS_PNG, TRAINING_LOG, RunFolder
from resenc_plans.runs.run_record import (
    RUN_JSON,
    RunRecord,
    decisive_configuration,
    decisive_settings,
    differences,
)
from resenc_plans.runs.run_record import changes as changes_of
from resenc_plans.runs.validation_record import VALIDATION_JSON
from resenc_plans.study.unattended.graph import Piece, Run
from resenc_plans.study.unattended.jobs import find_job
from resenc_plans.study.unattended.methods import folder_of, trainer_name
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.places import RUNS
from resenc_plans.study.unattended.records import PieceRecord, digests_below

STEP_SIZE = 0.5
"""Between the tiles of a validation, in patches."""

MAX_DIFFERENCES = 4
"""With more of them, a run is taken for one of another method."""

_LEVELS = ("", "*", "*/*")
"""Below a folder of results: where models are looked for."""
_OF_RUN = (
    FINAL_CHECKPOINT, RUN_JSON, CASES_JSON, COST_JSON, DEBUG_JSON, METRICS, TRAINING_LOG,
    PROGRESS_PNG,
)  # fmt: skip
"""The files of a fold that are copied, beside its validation."""

Configurations = Mapping[tuple[str, str], ResolvedConfiguration]
"""What each method trains, by dataset and method."""


@dataclass(frozen=True)
class Existing:
    """A finished run that lies elsewhere, and the run of the study that it may stand for."""

    run: Run
    source: RunFolder
    differences: tuple[str, ...]
    """Why it is not taken over, as clauses; empty where it is."""
    trainer: str
    """The first part of the name that its model has in the study."""


def find_existing(study: OpenedStudy, configurations: Configurations) -> tuple[Existing, ...]:
    """For each run of the study that has not begun, the finished run that it agrees with.

    Where none agrees, the one that comes closest is listed with its differences, unless these are
    so many that it is of another method.

    Raises
    ------
    FileError, DatasetError
        Inputs of the study cannot be read.
    """
    found: list[Existing] = []
    takers = {
        Path(record.taken_from): run
        for run in study.graph.runs
        if (record := study.record(Piece("training", run))) and record.taken_from
    }
    for run in study.graph.runs:
        config = configurations.get((run.dataset, run.method))
        if run.seed is None or config is None:
            continue
        if not _may_be_taken(study, run):
            continue
        settings = study.file.settings_of(run.method, run.seed).over(config.training)
        name = trainer_name(run.method, study.file.methods[run.method], settings.trainer)
        candidates = [
            Existing(run, source, tuple(_differences(study, run, config, source)), name)
            for source in _finished(study, run)
            if takers.get(source.path, run) == run
        ]
        best = min(candidates, key=lambda one: len(one.differences), default=None)
        if best is not None and len(best.differences) <= MAX_DIFFERENCES:
            found.append(best)
            if not best.differences:
                takers[best.source.path] = run
    return tuple(found)


def take_over(
    study: OpenedStudy, existing: Sequence[Existing], on_progress: Callable[[str], object]
) -> None:
    """Copy the runs that agree into the study's folder, and record where they come from.

    A run that another process has begun meanwhile, or is doing, is left to it. What a failed
    training has left moves to `replaced`.

    Raises
    ------
    FileError
        A file cannot be read or written.
    """
    make_folder(study.places.state_folder)
    for one in existing:
        if one.differences:
            continue
        try:
            with _sole(study, one.run):
                if _may_be_taken(study, one.run):
                    _take(study, one, on_progress)
        except LockedError as error:
            on_progress(f"{one.run}: not taken over. {error}")


@contextmanager
def _sole(study: OpenedStudy, run: Run) -> Iterator[None]:
    """Keep other processes from doing a run while the block is executed.

    Raises
    ------
    LockedError
        Another process does it.
    """
    job_lock = study.places.job_lock(find_job(study, f"run/{run}"))
    with lock(job_lock, study.places.root / RUNS), study.places.run(run).locked():
        yield


def _may_be_taken(study: OpenedStudy, run: Run) -> bool:
    return study.state(Piece("training", run)) in ("missing", "failed")


def _take(study: OpenedStudy, one: Existing, on_progress: Callable[[str], object]) -> None:
    piece = Piece("training", one.run)
    if one.source.path == study.places.run(one.run).path:
        before = study.record(piece)
        taken_from = None if before is None else before.taken_from
        on_progress(f"{one.run}: is finished in {one.source.path}.")
    else:
        taken_from = str(one.source.path)
        # Should this be interrupted, the files in the study's folder are known to be a copy.
        begun = PieceRecord(
            status="failed", key="", reason="it was being taken over", taken_from=taken_from
        )
        begun.save(study.places.record(piece))
        aside = _copy_files(study, one)
        moved = "" if aside is None else f" What was there moved to {aside}."
        on_progress(f"{one.run}: taken over from {one.source.path}.{moved}")
    _record(study, one.run, taken_from)


def _copy_files(study: OpenedStudy, one: Existing) -> Path | None:
    """Copy a run; where what was in its place has moved to."""
    run, source = one.run, one.source
    target = study.places.run(run)
    identifier = ModelFolder(source.model).identifier.split("__", 1)[1]
    study.places.name_model(run, f"{one.trainer}__{identifier}")
    for name in (PLANS_JSON, DATASET_JSON, FINGERPRINT_JSON):
        old, new = source.model / name, target.model / name
        if old.is_file() and not new.is_file():
            with replace_file(new) as stream:
                stream.write(old.read_bytes())
    with replace_folder(target.path) as folder:
        make_folder(folder / VALIDATION)
        ending = study.data[run.dataset].dataset.json.file_ending
        files = [source.path / name for name in _OF_RUN]
        scores = [source.validation / name for name in (SUMMARY_JSON, VALIDATION_JSON)]
        for path in (*files, *scores, *sorted(source.validation.glob(f"*{ending}"))):
            if path.is_file():
                _copy_file(path, folder / path.relative_to(source.path))
        return target.move_aside()


def _record(study: OpenedStudy, run: Run, taken_from: str | None) -> None:
    target = study.places.run(run)
    outputs = {
        "training": [target.path / name for name in _OF_RUN[:4]],
        "prediction": [path for path in target.validation.iterdir() if path.is_file()],
    }
    pieces = Piece("training", run), Piece("prediction", run)
    for piece in pieces:
        written = [path for path in outputs[piece.kind] if path.is_file()]
        PieceRecord(
            status="done",
            key=study.keys[piece],
            outputs=digests_below(study.places.root, written),
            taken_from=taken_from,
        ).save(study.places.record(piece))


def _copy_file(old: Path, new: Path) -> None:
    with old.open("rb") as source, replace_file(new) as stream:
        shutil.copyfileobj(source, stream)


def _finished(study: OpenedStudy, run: Run) -> Iterator[RunFolder]:
    """The finished runs of a fold: that in the study's own folder, and where its file says."""
    own = study.places.run(run)
    if _is_finished(own):
        yield own
    for text in study.file.existing:
        root = followed(folder_of(text, run.dataset, study.places.root))
        for level in _LEVELS:
            for folder in sorted(root.glob(level)) if level else (root,):
                if (
                    run.dataset not in folder.parts
                    or not is_model_folder(folder)
                    or run.fold is None
                ):
                    continue
                source = RunFolder(folder, run.fold)
                if _is_finished(source):
                    yield source


def _is_finished(run: RunFolder) -> bool:
    is_trained = run.checkpoint(FINAL_CHECKPOINT).is_file()
    return is_trained and (run.validation / SUMMARY_JSON).is_file()


def _differences(
    study: OpenedStudy, run: Run, config: ResolvedConfiguration, source: RunFolder
) -> Iterator[str]:
    assert run.seed is not None, "it is trained"
    method = study.file.methods[run.method]
    if method.network is not None:
        yield "networks of your own are not compared"
        return
    settings = study.file.settings_of(run.method, run.seed).over(config.training)
    try:
        record = RunRecord.load(source.path)
        facts = ModelFacts.of(ModelFolder(source.model), [str(run.fold)]).folds[str(run.fold)]
    except ResencPlansError as error:
        yield str(error)
        return
    if record is not None:
        precision = settings.precision
        planned = RunRecord.of(record.name, config, settings, record.precision, {})
        yield from differences(record, planned)
        if record.flat_settings["seed"] != run.seed:
            yield f"seed {record.flat_settings['seed']}, now {run.seed}"
        names = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
        if precision != "auto" and names[precision] != record.precision:
            yield f"precision {record.precision}, now {names[precision]}"
    else:
        own, wanted = ModelFolder(source.model).trainer, settings.trainer or TRAINER_NAME
        if own != wanted and source.path != study.places.run(run).path:
            yield f"trainer {own}, now {wanted}"
        yield from _other_settings(facts, config, settings)
    yield from _other_cases(study, run, facts)
    if facts.step_size not in (None, STEP_SIZE):
        yield f"validated with a step of {facts.step_size}"
    if facts.postprocessing:
        yield "its validation is post-processed"


def _other_settings(
    facts: FoldFacts, config: ResolvedConfiguration, settings: TrainingSettings
) -> Iterator[str]:
    """How a run of nnU-Net differs in what its folder says."""
    planned: dict[str, Any] = RunRecord.of("", config, settings, "", {}).flat_settings
    known = facts.settings
    yield from changes_of(known, {key: planned.get(key) for key in known})
    of_trainer = TrainingSettings(trainer=settings.trainer)
    usual = RunRecord.of("", config, of_trainer, "", {}).flat_settings
    for key, value in decisive_settings(planned).items():
        if key not in known and value != usual[key]:
            yield f"{key} is not known, now {value}"
    if facts.configuration is None:
        yield "its configuration is not known"
        return
    yield from changes_of(
        decisive_configuration(facts.configuration), decisive_configuration(config.to_dict())
    )


def _other_cases(study: OpenedStudy, run: Run, facts: FoldFacts) -> Iterator[str]:
    split = study.data[run.dataset].splits()[run.fold or 0]
    for what, used, wanted in (
        ("cases to train on", facts.train, split.train),
        ("held-out cases", facts.held_out, split.val),
        ("cases with a prediction", facts.scored, split.val),
    ):
        if used is not None and used != {*wanted}:
            yield f"{what}: {listed(sorted(used ^ {*wanted}), MAX_NAMES)}"
