"""The commands that run studies: study check, run, status, report, verify, job."""

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import (
    AllowImportOption,
    DeviceOption,
    Format,
    FormatOption,
    OverwriteOption,
    dask_option,
    output_option,
)
from resenc_plans.cli.render import note, print_commands, print_json, print_table, say
from resenc_plans.cli.stopping import resumable
from resenc_plans.cli.unknown_options import AnsweringCommand, AnsweringGroup
from resenc_plans.errors import UsageError
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.reprs import rounded
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.study.unattended.checks import StudyCheck

study = typer.Typer(
    name="study",
    cls=AnsweringGroup,
    no_args_is_help=True,
    help="Compare methods over datasets, folds and seeds, from a study.json to a report.",
)

StudyArgument = Annotated[
    Path,
    typer.Argument(metavar="STUDY", help="A study.json, or its folder.", show_default=False),
]
RedoOption = Annotated[
    bool,
    typer.Option(
        "--redo",
        help="Train again what is stale or broken. What is there moves to replaced/.",
    ),
]
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@study.command(cls=AnsweringCommand)
def check(
    path: StudyArgument,
    allow_import: AllowImportOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Say what is wrong with a study, what it will take, and what it can show.

    Every method is planned and its network built. Nothing is trained. Example:
    resenc-plans study check study.json
    """
    from resenc_plans.study.unattended.study import Study

    checked = Study.load(path).check(allow_import=tuple(allow_import or ()))
    if format is Format.JSON:
        print_json(checked.to_dict())
    else:
        _print_check(checked)
    for finding in checked.findings:
        note(f"{finding.rule} {finding.sentence}", style=_STYLES[finding.severity])
    if checked.errors:
        raise typer.Exit(ExitCode.FAILED)


@study.command(cls=AnsweringCommand)
def run(
    path: StudyArgument,
    device: DeviceOption = None,
    at_once: Annotated[
        int,
        typer.Option("--at-once", metavar="N", min=1, help="Trainings at the same time."),
    ] = 1,
    dask: Annotated[
        str | None,
        dask_option("Scheduler of a Dask cluster on whose workers to train (extra dask)."),
    ] = None,
    slurm: Annotated[
        bool,
        typer.Option(
            "--slurm", help="Write array scripts for SLURM instead, and say how to submit them."
        ),
    ] = False,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(
            "--sbatch",
            metavar="OPTION",
            help="With --slurm: an option of sbatch, such as --sbatch=--gres=gpu:1. Repeatable.",
            show_default=False,
        ),
    ] = None,
    redo: RedoOption = False,
    allow_import: AllowImportOption = None,
) -> None:
    """Do everything that is missing of a study, then write its report.

    What is done stays, what was begun is resumed, and one run that fails stops no other. Example:
    resenc-plans study run study.json
    """
    from resenc_plans.study.unattended.study import Study

    opened = Study.load(path)
    if (slurm and dask is not None) or (sbatch and not slurm):
        raise UsageError(
            "--slurm and --dask contradict each other."
            if slurm
            else "--sbatch needs --slurm, which writes the scripts."
        )
    if slurm:
        written = opened.write_slurm(
            device=device,
            redo=redo,
            sbatch=tuple(sbatch or ()),
            allow_import=tuple(allow_import or ()),
            on_progress=say,
        )
        say(f"Wrote array scripts of {counted(written.tasks, 'task')}. Submit them:")
        print_commands(f"bash {shlex.quote(str(written.submit))}")
        return
    with resumable("The same command continues."):
        done = opened.run(
            device=device,
            at_once=at_once,
            dask=dask,
            redo=redo,
            allow_import=tuple(allow_import or ()),
            on_progress=say,
        )
    for piece, reason in done.failed.items():
        note(f"{piece}: {reason}", style="bold red")
    if done.report:
        say(f"Wrote {done.report[0].parent}.")
    elif done.why_no_report:
        note(done.why_no_report)
    if done.failed:
        raise typer.Exit(ExitCode.FAILED)


@study.command(cls=AnsweringCommand)
def status(path: StudyArgument, format: FormatOption = Format.TABLE) -> None:
    """Say how far a study is, and how long it takes yet.

    Example: resenc-plans study status study.json
    """
    from resenc_plans.study.unattended.study import Study

    found = Study.load(path).status()
    if format is Format.JSON:
        print_json(found.to_dict())
        return
    print_table(
        ["job", "state", "at", "epochs", "hours left", "on", "why"],
        [
            [
                one.job.name,
                one.state,
                one.piece or "-",
                f"{one.epochs}/{one.of_epochs}" if one.of_epochs else "-",
                _hours(one.hours_left, is_measured=one.is_measured),
                one.device or "-",
                one.reason or "-",
            ]
            for one in found.jobs
        ],
    )
    jobs = counted(len(found.jobs), "job is", "jobs are")
    done = found.count("done")
    left = f"; {found.time_left}, one after another" if done < len(found.jobs) else ""
    say(f"{done} of {jobs} done{left}.")


@study.command(cls=AnsweringCommand)
def report(
    path: StudyArgument,
    output: Annotated[
        Path | None,
        output_option(
            "FOLDER",
            "Folder for the report. Default: report beside the study's file, which is replaced.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write the report of what is done so far.

    Example: resenc-plans study report study.json
    """
    from resenc_plans.study.unattended.study import Study

    for file in Study.load(path).report(output, overwrite=overwrite):
        say(f"Wrote {file}.")


@study.command(cls=AnsweringCommand)
def verify(
    path: StudyArgument,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FOLDER",
            help="Folder of the report. Default: report beside the study's file.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Read every file that a report was made from, and make the report again.

    Exit code 1 if an input, a version or the report differs. Example:
    resenc-plans study verify study.json
    """
    from resenc_plans.study.unattended.study import Study

    found = Study.load(path).verify(report)
    for one in found.discrepancies:
        note(f"{one}.", style="bold red")
    if not found.is_confirmed:
        raise typer.Exit(ExitCode.FAILED)
    say(
        f"Confirmed: {counted(found.files, 'file is', 'files are')} unchanged, and the report made "
        "again is the same."
    )


@study.command(cls=AnsweringCommand)
def job(
    path: StudyArgument,
    name: Annotated[
        str,
        typer.Argument(
            metavar="JOB", help="The job, as `study status` names it.", show_default=False
        ),
    ],
    device: DeviceOption = None,
    redo: RedoOption = False,
    allow_import: AllowImportOption = None,
    parent: Annotated[
        int | None,
        typer.Option("--parent", hidden=True, help="The process with which this one ends."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", hidden=True, help="What decided the job when its run began."),
    ] = None,
) -> None:
    """Do one job of a study in this process, as `study run` and its SLURM script do.

    SIGTERM, SIGUSR1 and Ctrl-C end a training with a checkpoint and exit code 75; the same command
    resumes it. Example: resenc-plans study job study.json prepare/Dataset004_Hippocampus
    """
    from resenc_plans.execution.parents import end_with_parent
    from resenc_plans.study.unattended.jobs import JobOptions, do_job, find_job
    from resenc_plans.study.unattended.study import Study

    if parent is not None:
        end_with_parent(parent)
    opened = Study.load(path).opened
    options = JobOptions(device=device, allow_import=tuple(allow_import or ()), redo=redo)
    with resumable("The same command continues."):
        code = do_job(opened, find_job(opened, name), options, on_piece=say, key=key)
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


def _print_check(checked: "StudyCheck") -> None:
    if checked.methods:
        _print_methods(checked)
    if checked.gpu_hours is None:
        say("All that is missing: unknown, since not every method can be planned.")
    else:
        say(
            f"All that is missing: {rounded(checked.gpu_hours)} GPU hours (estimated, for an A100)."
        )
    for one in checked.detectable:
        patients = f" of {counted(one.patients, 'patient')}" if one.patients != one.cases else ""
        which = f"{one.dataset}: {counted(one.cases, 'held-out case')}{patients}"
        if math.isnan(one.difference):
            say(f"{which} can show no difference of means: at least two are needed.")
        else:
            say(
                f"{which} can show differences of means of {one.difference:.4f} or more, if "
                f"differences of cases spread by {one.spread:g}."
            )


def _print_methods(checked: "StudyCheck") -> None:
    print_table(
        ["dataset", "method", "trainings", "missing", "hours each", "GB", "parameters"],
        [
            [
                one.dataset,
                one.method,
                one.trainings,
                one.missing,
                _hours(one.hours, is_measured=False, is_bound=one.cost.is_bound),
                f"{rounded(one.cost.gigabytes)} (estimated)",
                f"{one.cost.parameters:,}",
            ]
            for one in checked.methods
        ],
        title="What trainings take on an A100",
        fixed=7,
        names=2,
    )


def _hours(value: float | None, *, is_measured: bool, is_bound: bool = False) -> str:
    if value is None:
        return "-"
    return f"{'up to ' if is_bound else ''}{rounded(value)}{'' if is_measured else ' (estimated)'}"
