"""How far a study is, and how long it takes yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from resenc_plans.errors import FileError
from resenc_plans.files import MAX_JSON_BYTES, parse_json, read_bytes
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.reprs import card, rounded
from resenc_plans.runs.run_cost import COST_JSON, Session, load_cost
from resenc_plans.runs.run_folder import METRICS
from resenc_plans.study.unattended.costs import ExpectedCost
from resenc_plans.study.unattended.graph import Job, Piece
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.records import PieceRecord, State, why_old
from resenc_plans.words import counted


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """How far a job is."""

    job: Job
    state: State
    """That of its first piece that is not done."""
    piece: str
    """The kind of that piece; empty where all are done."""
    reason: str
    """Why it failed, or is stale or broken; empty otherwise."""
    epochs: int
    """That are trained."""
    of_epochs: int
    """That are to be trained; 0 where nothing is trained."""
    hours_left: float | None
    """None where nothing tells."""
    is_measured: bool
    """Whether the hours are those of epochs that were trained, rather than estimated."""
    device: str = ""
    """Of which the hours are; empty where nothing tells."""


@dataclass(frozen=True)
class StudyStatus:
    """How far all jobs of a study are."""

    jobs: tuple[JobStatus, ...]

    def __repr__(self) -> str:
        return card(
            f"StudyStatus: {self.count('done')} of {counted(len(self.jobs), 'job is', 'jobs are')} "
            "done",
            {
                **{state: self.count(state) or None for state in _NOT_DONE},
                "one after another": self.time_left,
            },
        )

    def count(self, state: State) -> int:
        """How many jobs are in a state."""
        return sum(one.state == state for one in self.jobs)

    @property
    def hours_left(self) -> float | None:
        """Of all jobs, one after another; None where that of one is not known."""
        hours = [one.hours_left for one in self.jobs if one.state != "done"]
        known = [value for value in hours if value is not None]
        return sum(known) if len(known) == len(hours) else None

    @property
    def estimated_hours_left(self) -> float:
        """The part of the hours that is estimated, for an A100."""
        return sum(one.hours_left or 0 for one in self.jobs if not one.is_measured)

    @property
    def time_left(self) -> str:
        """The hours of all jobs in words, with what is estimated, and for which device.

        >>> StudyStatus(()).time_left
        '0 hours left'
        """
        if self.hours_left is None:
            return f"unknown hours left{self._why_unknown}"
        text = f"{counted(float(rounded(self.hours_left)), 'hour', form='.15g')} left"
        estimated = self.estimated_hours_left
        if not estimated:
            return text
        part = "" if estimated == self.hours_left else f"{rounded(estimated)} of them "
        return f"{text} ({part}{ESTIMATED})"

    @property
    def _why_unknown(self) -> str:
        unknown = [one for one in self.jobs if one.hours_left is None and one.device]
        is_planned = all(one.state == "done" for one in self.jobs if _training(one.job) is None)
        if unknown and not is_planned and unknown[0].device == _ESTIMATED_DEVICE:
            return " (`study check` estimates them; plans are not made yet)"
        return f" (no estimate exists for {unknown[0].device})" if unknown else ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "hours_left": self.hours_left,
            "estimated_hours_left": self.estimated_hours_left,
            "jobs": [
                {
                    "job": one.job.name,
                    "state": one.state,
                    "piece": one.piece,
                    "reason": one.reason,
                    "epochs": one.epochs,
                    "of_epochs": one.of_epochs,
                    "hours_left": one.hours_left,
                    "is_measured": one.is_measured,
                    "device": one.device,
                }
                for one in self.jobs
            ],
        }


ESTIMATED = "estimated, for an A100"
_ESTIMATED_DEVICE = "A100"
_NOT_DONE: tuple[State, ...] = ("missing", "begun", "failed", "stale", "broken")


def study_status(study: OpenedStudy) -> StudyStatus:
    """How far the jobs of a study are.

    The time that a training takes yet is that of its epochs so far, else that of the epochs of the
    method's other trainings on the dataset, else an estimate for an A100. Where all trainings so
    far ran on a CPU, nothing is estimated.

    Raises
    ------
    FileError, DatasetError
        Inputs of the study cannot be read.
    """
    seconds = {
        job.name: [*_epoch_seconds(study, job)] for job in study.graph.jobs if _training(job)
    }
    sessions = {job.name: _last_session(study, job) for job in study.graph.jobs}
    return StudyStatus(tuple(_status(study, job, seconds, sessions) for job in study.graph.jobs))


def _status(
    study: OpenedStudy,
    job: Job,
    seconds: dict[str, list[float]],
    sessions: dict[str, Session | None],
) -> JobStatus:
    states = {piece: study.state(piece) for piece in job.pieces}
    first = next((piece for piece in job.pieces if states[piece] != "done"), None)
    record = None if first is None else PieceRecord.load(study.places.record(first))
    state = "done" if first is None else states[first]
    training = _training(job)
    is_trained = training is not None and states[training] == "done"
    settings = None if training is None else _settings(study, training)
    of_epochs = 0 if settings is None else settings.epochs
    epochs = of_epochs if is_trained else len(seconds.get(job.name, ()))
    hours, is_measured, device = 0.0 if first is None or is_trained else None, True, ""
    if training is not None and settings is not None and not is_trained:
        hours, is_measured = _hours_left(study, job, training, settings, seconds)
        device = _device(job, training, sessions) if is_measured else _ESTIMATED_DEVICE
        cpu = None if is_measured else _only_cpu(sessions)
        if cpu is not None:
            hours, device = None, cpu
    if training is None and first is not None:
        hours = 0.0
    return JobStatus(
        job=job,
        state=state,
        piece="" if first is None else first.kind,
        reason=(record.reason or "") if record and state == "failed" else why_old(state),
        epochs=epochs,
        of_epochs=of_epochs,
        hours_left=hours,
        is_measured=is_measured,
        device=device,
    )


def _hours_left(
    study: OpenedStudy,
    job: Job,
    training: Piece,
    settings: TrainingSettings,
    seconds: dict[str, list[float]],
) -> tuple[float | None, bool]:
    own = seconds.get(job.name, [])
    run, alike = training.run, _alike(training)
    others = [value for name, row in seconds.items() if name.startswith(alike) for value in row]
    left = max(0, settings.epochs - len(own))
    if own or others:
        return fmean(own or others) * left / 3600, True
    expected = ExpectedCost.load(study.places.expected_cost(run.dataset, run.method))
    return (None if expected is None else expected.hours(settings)), False


def _alike(training: Piece) -> str:
    """How the names of the jobs begin that train the method on the dataset."""
    return f"run/{training.run.dataset}/{training.run.method}/"


def _last_session(study: OpenedStudy, job: Job) -> Session | None:
    """Where a training ran last; None where it has not recorded it."""
    training = _training(job)
    try:
        cost = None if training is None else study.places.run(training.run).path / COST_JSON
        return None if cost is None or not cost.is_file() else load_cost(cost).sessions[-1]
    except (FileError, IndexError):
        return None


def _device(job: Job, training: Piece, sessions: dict[str, Session | None]) -> str:
    """Where the epochs were trained whose time is known."""
    alike = [
        sessions[job.name],
        *(s for name, s in sessions.items() if name.startswith(_alike(training))),
    ]
    return next((session.device_name for session in alike if session is not None), "")


def _only_cpu(sessions: dict[str, Session | None]) -> str | None:
    """The CPU on which all trainings so far ran; None where none has, or one ran on a GPU."""
    known = [session for session in sessions.values() if session is not None]
    is_of_cpu = bool(known) and all(session.device == "cpu" for session in known)
    return known[0].device_name if is_of_cpu else None


def _training(job: Job) -> Piece | None:
    return next((piece for piece in job.pieces if piece.kind == "training"), None)


def _settings(study: OpenedStudy, training: Piece) -> TrainingSettings:
    run = training.run
    return study.file.settings_of(run.method, run.seed or 0)


def _epoch_seconds(study: OpenedStudy, job: Job) -> Iterator[float]:
    """How long each epoch of a training took that has begun from what the study is now."""
    training = _training(job)
    if training is None or study.state(training) not in ("begun", "done", "failed"):
        return
    yield from epoch_seconds(study.places.run(training.run).path / METRICS)


def epoch_seconds(path: Path) -> list[float]:
    """The seconds of each epoch of a metrics.jsonl; nothing where it is missing or damaged."""
    if not path.is_file():
        return []
    seconds = []
    try:
        for line in read_bytes(path, MAX_JSON_BYTES).splitlines():
            epoch = parse_json(line.decode(), METRICS)
            seconds.append(float(epoch["ended"]) - float(epoch["begun"]))
    except (FileError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        pass
    return seconds
