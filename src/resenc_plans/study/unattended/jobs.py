"""One job of a study, in this process: its missing pieces, in order, each with its record."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.errors import ResencPlansError, StudyError
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.execution.locks import lock
from resenc_plans.files import make_folder
from resenc_plans.study.unattended.graph import Job, Piece
from resenc_plans.study.unattended.methods import network_code, other_source
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.pieces import Doing
from resenc_plans.study.unattended.records import PieceRecord, digests_below

logger = logging.getLogger(__name__)

CHANGED = (
    "the study's file or its data have changed since this run began; run the study again, or write "
    "its scripts for SLURM again"
)


@dataclass(frozen=True)
class JobOptions:
    """What a machine decides about jobs, and the study's file does not."""

    device: str | None = None
    """cpu, cuda or mps; None takes a GPU if there is one."""
    allow_import: tuple[str, ...] = ()
    """Modules that the networks of methods may be imported from."""
    redo: bool = False
    """Whether trainings that are stale or broken are done again."""

    @property
    def arguments(self) -> list[str]:
        """Of `resenc-plans study job`."""
        return [
            *(("--device", self.device) if self.device else ()),
            *(part for name in self.allow_import for part in ("--allow-import", name)),
            *(("--redo",) if self.redo else ()),
        ]


def do_job(
    study: OpenedStudy,
    job: Job,
    options: JobOptions,
    on_piece: Callable[[str], object] = logger.info,
    *,
    key: str | None = None,
) -> ExitCode:
    """Do the pieces of a job that are not done; one that fails stops those that need it.

    The exit code is DONE, FAILED where a piece failed or cannot begin, or STOPPED where a training
    was asked to stop.

    Parameters
    ----------
    study
        The study, as it is now.
    job
        One of its jobs.
    options
        What this machine decides.
    on_piece
        Called with a sentence about each piece.
    key
        What decided the last piece when a run of the study was begun, or its scripts were written,
        where this is of one.

    Raises
    ------
    StudyError
        The study's file or its data have changed since the run was begun.
    LockedError
        Another process does the job.
    FileError
        A record cannot be written, as on a full disk.
    """
    if key is not None and study.keys[job.pieces[-1]] != key:
        raise StudyError(f"{job.name}: {CHANGED}.")
    make_folder(study.places.state_folder)
    code = ExitCode.DONE
    with lock(study.places.job_lock(job), study.places.root / "runs"):
        for piece in job.pieces:
            state = study.state(piece)
            if state == "done":
                continue
            waits_for = [one for one in study.graph.needs[piece] if study.state(one) != "done"]
            if waits_for:
                on_piece(f"{piece}: waits for the {waits_for[0]}.")
                code = ExitCode.FAILED
                continue
            if piece.kind == "training" and state in ("stale", "broken") and not options.redo:
                on_piece(f"{piece}: is {state}. It is trained again with `redo=` only.")
                code = ExitCode.FAILED
                continue
            outcome = _do(study, piece, options, is_begun=state == "begun", on_piece=on_piece)
            if outcome is ExitCode.STOPPED:
                return outcome
            code = max(code, outcome)
    return code


def _do(
    study: OpenedStudy,
    piece: Piece,
    options: JobOptions,
    *,
    is_begun: bool,
    on_piece: Callable[[str], object],
) -> ExitCode:
    path, key = study.places.record(piece), study.keys[piece]
    begun = time.monotonic()
    doing = Doing(
        study=study.file,
        data=study.data[piece.run.dataset],
        piece=piece,
        places=study.places,
        is_begun=is_begun or _failed_with(path, key),
        device=options.device,
        allow_import=options.allow_import,
    )
    if piece.kind == "training" and not doing.is_begun:
        _move_aside(study, piece)
    before = PieceRecord.load(path)
    record = PieceRecord(status="begun", key=key)
    if doing.is_begun and before is not None:
        record = record.model_copy(update={"network": before.network})
    record.save(path)
    on_piece(f"{piece}: begins.")
    try:
        if piece.kind == "training":
            record = _with_network(study, piece, record, options)
            record.save(path)
        written = doing.do()
        outputs = {} if written is None else digests_below(study.places.root, written)
    except Exception as error:
        logger.debug("%s failed", piece, exc_info=error)
        is_expected = isinstance(error, ResencPlansError)
        reason = str(error) if is_expected else f"{type(error).__name__}: {error}"
        on_piece(f"{piece}: failed. {reason}")
        record.model_copy(update={"status": "failed", "reason": reason}).save(path)
        return ExitCode.FAILED
    if written is None:
        on_piece(f"{piece}: was stopped, and can be resumed.")
        return ExitCode.STOPPED
    seconds = time.monotonic() - begun
    done = {"status": "done", "seconds": seconds, "outputs": outputs}
    record.model_copy(update=done).save(path)
    on_piece(f"{piece}: done in {seconds:.0f} s.")
    return ExitCode.DONE


def _with_network(
    study: OpenedStudy, piece: Piece, record: PieceRecord, options: JobOptions
) -> PieceRecord:
    """The record of a training, with what makes its network.

    Raises
    ------
    StudyError
        The source of that has changed since the training began.
    NetworkError
        It may not be imported.
    """
    network = network_code(study.file.methods[piece.run.method], options.allow_import)
    if network is not None and record.has_other_source(network):
        raise StudyError(f"{other_source(network, study.places.run(piece.run).path)}.")
    return record.model_copy(update={"network": network})


def _move_aside(study: OpenedStudy, piece: Piece) -> None:
    """Take an old training away before its successor counts as begun, which would resume it."""
    folder = study.places.run(piece.run)
    with folder.locked():
        folder.move_aside()


def _failed_with(path: Path, key: str) -> bool:
    """Whether the same piece failed before: then a training goes on from its last checkpoint."""
    record = PieceRecord.load(path)
    return record is not None and record.status == "failed" and record.key == key


def find_job(study: OpenedStudy, name: str) -> Job:
    """The job of a name.

    Raises
    ------
    StudyError
        The study has none of this name.
    """
    for job in study.graph.jobs:
        if job.name == name:
            return job
    raise StudyError(f"{study.path}: has no job {name!r}. Its jobs are those of `status`.")
