"""A study on a SLURM cluster: array scripts, one task for each job, requeued when stopped."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.errors import StudyError, UsageError, shown
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.files import make_folder, part_of_path, replace_file
from resenc_plans.study.unattended.graph import Job
from resenc_plans.study.unattended.jobs import JobOptions
from resenc_plans.study.unattended.opened import OpenedStudy

SLURM = "slurm"
SECONDS_TO_STOP = 300
"""Before the end of a task's time, when SLURM sends SIGUSR1."""


@dataclass(frozen=True)
class SlurmScripts:
    """What was written."""

    submit: Path
    """To be run once, by `bash`; again to continue what is left."""
    prepare: Path
    runs: Path
    tasks: int
    """Jobs, one in each task."""


def write_slurm(
    study: OpenedStudy, options: JobOptions, sbatch: Sequence[str] = ()
) -> SlurmScripts:
    """Write `slurm/submit.sh` and two array scripts beside the study's file.

    The first array prepares datasets, one in each task; the second has a task for each training,
    and begins when the first has ended; a last task writes the report. A task that is preempted, or
    whose time ends, writes a checkpoint and is requeued. Tasks of jobs that are done end at once,
    and so do, with an error, those whose study or data have changed since.

    Parameters
    ----------
    study
        The study, whose folder all nodes see under the same path.
    options
        Those of all jobs.
    sbatch
        Lines for `#SBATCH`, such as `--time=24:00:00`; those of trainings, hence also of GPUs.

    Raises
    ------
    UsageError
        An option is more than one line, or does not begin with a dash.
    StudyError
        The path of the study has characters that sbatch does not take.
    FileError
        A script cannot be written.
    """
    check_sbatch(sbatch)
    _check_path(study.path.absolute())
    folder = study.places.root / SLURM
    make_folder(folder)
    make_folder(study.places.state_folder / "logs")
    waves = [[job for job in study.graph.jobs if job.is_run is is_run] for is_run in (False, True)]
    names = "prepare", "runs"
    scripts = []
    for name, jobs in zip(names, waves, strict=True):
        tasks = folder / part_of_path(name, "wave", ending=".txt")
        _write(tasks, "".join(f"{job.name}\t{study.keys[job.pieces[-1]]}\n" for job in jobs))
        lines = sbatch if name == "runs" else [line for line in sbatch if not _is_of_gpu(line)]
        script = folder / part_of_path(name, "wave", ending=".sh")
        _write(script, _array(study, name, tasks, jobs, lines, options))
        scripts.append(script)
    submit = folder / "submit.sh"
    _write(submit, _submit(study, scripts, [len(jobs) for jobs in waves]))
    return SlurmScripts(submit, scripts[0], scripts[1], tasks=sum(map(len, waves)))


def check_sbatch(options: Sequence[str]) -> None:
    """Refuse what is no option of sbatch.

    Raises
    ------
    UsageError
        An option is more than one line, or does not begin with a dash.
    """
    for option in options:
        if not option.startswith("-") or not option.isprintable():
            raise UsageError(
                f"`sbatch=` {option!r}: an option of sbatch is needed, such as --time=8:00:00."
            )


def _check_path(path: Path) -> None:
    """Refuse what would end a line of a script, or what sbatch takes for something else."""
    text = str(path)
    if not text.isprintable() or "\\" in text:
        raise StudyError(
            f"{shown(text)}: has control characters or a backslash, which sbatch does not take in "
            "the path of a log. Rename the folder."
        )


def _log(study: OpenedStudy, name: str) -> str:
    """The path of a log, whose name alone has the patterns of sbatch."""
    folder = study.places.state_folder / "logs"
    return f"{folder}/".replace("%", "%%") + part_of_path(name, "log", ending=".log")


def _write(path: Path, text: str) -> None:
    with replace_file(path) as stream:
        stream.write(text.encode())


def _is_of_gpu(line: str) -> bool:
    return line.startswith(("--gres", "--gpus", "-G"))


def _array(
    study: OpenedStudy,
    name: str,
    tasks: Path,
    jobs: Sequence[Job],
    sbatch: Sequence[str],
    options: JobOptions,
) -> str:
    log = _log(study, f"slurm_{name}_%A_%a").replace('"', '\\"')
    command = [sys.executable, "-m", "resenc_plans", "study", "job", str(study.path.absolute())]
    directives = [
        f"--job-name=study_{name}",
        f"--array=0-{max(0, len(jobs) - 1)}",
        f'--output="{log}"',
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{SECONDS_TO_STOP}",
        *sbatch,
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {line}" for line in directives),
            "# One job of the study in each task. A task that is stopped in time is requeued.",
            f'line=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(tasks))})',
            "IFS=$'\\t' read -r job key <<< \"$line\"",
            f'{shlex.join(command)} "$job" {shlex.join(options.arguments)} --key "$key" &',
            "task=$!",
            "trap 'kill -USR1 $task' USR1",
            "trap 'kill -TERM $task' TERM",
            "code=129",
            "while [ $code -gt 128 ] && kill -0 $task 2> /dev/null; do",
            "    wait $task",
            "    code=$?",
            "done",
            "# bash ends `wait` when it gets a signal; this asks for the exit code of the task.",
            "wait $task",
            "code=$?",
            f"if [ $code -eq {ExitCode.STOPPED.value} ]; then",
            '    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
            "fi",
            "exit $code",
            "",
        ]
    )


def _submit(study: OpenedStudy, scripts: Sequence[Path], counts: Sequence[int]) -> str:
    report = [sys.executable, "-m", "resenc_plans", "study", "report", str(study.path.absolute())]
    log = _log(study, "slurm_report_%j")
    lines = ["#!/bin/bash", "# Submits the study, and again what is left of it.", "set -e"]
    depends = ""
    for script, count in zip(scripts, counts, strict=True):
        if count:
            lines.append(f"id=$(sbatch --parsable{depends} {shlex.quote(str(script))})")
            lines.append("id=${id%%;*}")
            depends = ' --dependency="afterany:$id"'
    lines += [
        f"sbatch{depends} --job-name=study_report --output={shlex.quote(log)} "
        f"--wrap={shlex.quote(shlex.join(report))}",
        "",
    ]
    return "\n".join(lines)
