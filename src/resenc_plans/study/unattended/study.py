"""`Study`: everything that can be done with a study.json."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from resenc_plans.errors import EvaluationError, FileError, StudyError, UsageError
from resenc_plans.execution.dask import dask_executor
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.execution.locks import lock
from resenc_plans.reprs import card, listed
from resenc_plans.study.unattended.checks import StudyCheck, check_study
from resenc_plans.study.unattended.graph import Job
from resenc_plans.study.unattended.jobs import CHANGED, JobOptions
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.processes import JobCommand, run_here, run_on
from resenc_plans.study.unattended.records import PieceRecord
from resenc_plans.study.unattended.slurm import SlurmScripts, check_sbatch, write_slurm
from resenc_plans.study.unattended.status import StudyStatus, study_status
from resenc_plans.study.unattended.study_report import write_study_report
from resenc_plans.study.unattended.take_over import take_over
from resenc_plans.study.unattended.verification import Verification, verify_study
from resenc_plans.words import counted

Say = Callable[[str], object]

_KINDS_OF_JOBS = {
    False: ("preparation", "preparations"),
    True: ("training and evaluation", "trainings and evaluations"),
}
"""By whether the job is a run."""


@dataclass(frozen=True)
class StudyRun:
    """What `Study.run` has come to."""

    failed: dict[str, str]
    """Why, by the pieces that failed or wait for one that did, and by `report`."""
    report: tuple[Path, ...]
    """The files of the report; empty where there is nothing to compare yet."""
    why_no_report: str = ""
    """Where there is nothing to compare yet."""

    def __repr__(self) -> str:
        where = self.report[0].parent if self.report else self.why_no_report
        return card(
            f"StudyRun: {'all is done' if not self.failed else f'{len(self.failed)} failed'}",
            {"report": where, **self.failed},
        )


@dataclass(frozen=True)
class Study:
    """A study: methods compared on datasets, folds and seeds, from a file to a report."""

    opened: OpenedStudy

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Open a study by its study.json, or by the folder of that.

        Raises
        ------
        StudyError
            The file says something impossible.
        FileError, DatasetError
            The file or a dataset cannot be read.
        """
        return cls(OpenedStudy.open(path))

    def __repr__(self) -> str:
        file = self.opened.file
        return card(
            f"Study {file.name}",
            {
                "file": self.opened.path,
                "datasets": listed(self.opened.data),
                "methods": listed(file.methods),
                "folds": listed(file.folds),
                "seeds": listed(file.seeds),
                "runs": len(self.opened.graph.runs),
            },
        )

    @property
    def folder(self) -> Path:
        """Where everything of the study lies."""
        return self.opened.places.root

    def check(self, *, allow_import: Sequence[str] = ()) -> StudyCheck:
        """What is wrong with the study, what it will take, and what it can show.

        Parameters
        ----------
        allow_import
            Modules that networks of your own may be imported from.

        Raises
        ------
        FileError, DatasetError
            A dataset or a file of the study cannot be read.
        """
        return check_study(self.opened, allow_import)

    def status(self) -> StudyStatus:
        """How far the study is, and how long it takes yet.

        Raises
        ------
        FileError, DatasetError
            Inputs of the study cannot be read.
        """
        return study_status(self.opened)

    def run(
        self,
        *,
        device: str | None = None,
        allow_import: Sequence[str] = (),
        at_once: int = 1,
        dask: str | None = None,
        redo: bool = False,
        on_progress: Say = lambda _: None,
    ) -> StudyRun:
        """Do everything that is missing, then write the report.

        What is done stays; what was begun is resumed. A piece that fails stops those that need it,
        and no others. Each training is a process of its own, whose output is in `state/logs`.

        Parameters
        ----------
        device
            cpu, cuda or mps; by default a GPU if there is one.
        allow_import
            Modules that networks of your own may be imported from.
        at_once
            Trainings at the same time on this machine. Where it has several GPUs, they take turns.
        dask
            The address of a Dask scheduler, whose workers do the trainings instead.
        redo
            Whether trainings that are stale, since the study or its data have changed, or whose
            files are broken, are done again. What is there moves to `replaced`.
        on_progress
            Called with a sentence at each step.

        Raises
        ------
        StudyError
            A method cannot be built, or trainings are stale or broken and `redo` is not set.
        LockedError
            Another process runs the study.
        DeviceError
            This machine has no such device.
        WorkerStartError
            No Dask scheduler answers.
        FileError
            The folder cannot be written to.
        """
        if at_once < 1:
            raise UsageError(f"`at_once=` {at_once}: at least 1 is needed.")
        if device is not None and dask is None:
            from resenc_plans.networks.device import find_device

            find_device(device)
        study = self.opened
        options = JobOptions(device=device, allow_import=tuple(allow_import), redo=redo)
        with lock(study.places.lock_file, self.folder):
            checked = self.check(allow_import=allow_import)
            self._refuse(checked, redo=redo)
            study.claim()
            take_over(study, checked.existing, on_progress)

            def ended(job: Job, code: int) -> None:
                on_progress(f"{job.name}: {_outcome(code)}.")

            waves = self._waves(options, on_progress)
            if dask is None:
                run_here(waves, at_once, ended)
            else:
                with dask_executor(dask) as executor:
                    run_on(executor, waves, study.places, ended, on_progress)
            failed = dict(self._failures())
            report, why = tuple[Path, ...](), ""
            try:
                report = self._write_report()
            except StudyError as error:
                why = str(error)
            except (EvaluationError, FileError) as error:
                failed["report"] = str(error)
        return StudyRun(failed, report, why)

    def report(
        self, output: str | os.PathLike[str] | None = None, *, overwrite: bool = False
    ) -> tuple[Path, ...]:
        """Write the report of what is done; its files.

        Parameters
        ----------
        output
            A folder; by default `report` beside the study's file, which is replaced.
        overwrite
            Whether to replace an earlier report in `output`.

        Raises
        ------
        StudyError, EvaluationError
            There is nothing to compare yet.
        FileError
            The folder has something else in it, or cannot be written.
        """
        if output is None:
            return self._write_report()
        return write_study_report(self.opened, Path(output), overwrite=overwrite)

    def verify(self, report: str | os.PathLike[str] | None = None) -> Verification:
        """Whether a report still is what its inputs give, and what differs if not.

        Parameters
        ----------
        report
            The folder of the report; by default `report` beside the study's file.

        Raises
        ------
        FileError
            There is no report.
        """
        return verify_study(self.opened, None if report is None else Path(report))

    def write_slurm(
        self,
        *,
        device: str | None = None,
        allow_import: Sequence[str] = (),
        sbatch: Sequence[str] = (),
        redo: bool = False,
        on_progress: Say = lambda _: None,
    ) -> SlurmScripts:
        """Write the array scripts of a SLURM cluster into `slurm` beside the study's file.

        Parameters
        ----------
        device, allow_import, redo, on_progress
            As for `run`. Runs that exist are taken over at once.
        sbatch
            Options of sbatch, such as `--time=24:00:00` and `--gres=gpu:1`.

        Raises
        ------
        StudyError
            As `run`.
        UsageError
            An option is none of sbatch's.
        LockedError
            Another process runs the study.
        FileError
            A script cannot be written.
        """
        check_sbatch(sbatch)
        options = JobOptions(device=device, allow_import=tuple(allow_import), redo=redo)
        with lock(self.opened.places.lock_file, self.folder):
            checked = self.check(allow_import=allow_import)
            self._refuse(checked, redo=redo)
            self.opened.claim()
            take_over(self.opened, checked.existing, on_progress)
            return write_slurm(self.opened, options, sbatch)

    def _write_report(self) -> tuple[Path, ...]:
        self.opened.claim()
        return write_study_report(self.opened, self.opened.places.report, overwrite=True)

    def _refuse(self, checked: StudyCheck, *, redo: bool) -> None:
        """Refuse a study that cannot be run, before anything runs.

        Raises
        ------
        StudyError
            It cannot.
        """
        if checked.errors:
            faults = "".join(f"\n  {one.rule} {one.sentence}" for one in checked.errors)
            raise StudyError(f"{self.opened.path}: nothing was run.{faults}")
        old = self.opened.old_trainings()
        if old and not redo:
            others = sum(
                self.opened.state(piece) == "done"
                for piece in self.opened.graph.needs
                if piece.kind == "training"
            )
            stay = f"{counted(others, 'stays as it is', 'stay as they are')}. " if others else ""
            raise StudyError(
                f"{self.opened.path}: {counted(len(old), 'training was', 'trainings were')} done "
                "otherwise than the study now says, or their files have changed: "
                f"{listed(str(one.run) for one in old)}. {stay}Restore the study or its data, or "
                "train these again "
                "(`redo=`), which moves what is there to `replaced`."
            )

    def _waves(self, options: JobOptions, on_progress: Say) -> Iterator[list[JobCommand]]:
        """Commands of the jobs that are not done: first preparations, then runs."""
        study = self.opened
        for is_run in (False, True):
            jobs = [
                job
                for job in study.graph.jobs
                if job.is_run is is_run
                and any(study.state(piece) != "done" for piece in job.pieces)
            ]
            ready = [job for job in jobs if not self._waits(job)]
            if jobs:
                one, several = _KINDS_OF_JOBS[is_run]
                on_progress(f"{counted(len(ready), one, several)} to be done.")
            yield [
                JobCommand.of(study.path, job, options, study.places, study.keys[job.pieces[-1]])
                for job in ready
            ]

    def _waits(self, job: Job) -> bool:
        """Whether the job needs a piece of another one, which failed."""
        return any(
            need not in job.pieces and self.opened.state(need) != "done"
            for piece in job.pieces
            for need in self.opened.graph.needs[piece]
        )

    def _failures(self) -> Iterator[tuple[str, str]]:
        study = self.opened
        changed = study.changed_pieces()
        logs = {
            piece: study.places.job_log(job) for job in study.graph.jobs for piece in job.pieces
        }
        for piece in study.graph.needs:
            state = study.state(piece)
            if state == "done":
                continue
            record = PieceRecord.load(study.places.record(piece))
            if state == "failed" and record is not None and record.reason:
                yield str(piece), record.reason
            elif state == "begun":
                yield str(piece), f"it was stopped, or its process died, see {logs[piece]}"
            elif piece in changed:
                yield str(piece), CHANGED
            elif all(study.state(need) == "done" for need in study.graph.needs[piece]):
                yield str(piece), f"its process did not begin it, see {logs[piece]}"
            else:
                yield str(piece), "it waits for a piece that failed"


def _outcome(code: int) -> str:
    texts = {ExitCode.DONE: "done", ExitCode.FAILED: "failed", ExitCode.STOPPED: "stopped"}
    if code in [*texts]:
        return texts[ExitCode(code)]
    return f"its process ended with code {code}"
