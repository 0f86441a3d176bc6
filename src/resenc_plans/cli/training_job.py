"""What `train` does in one process, be it the command's own or one of several."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from resenc_plans.cli.options import with_options
from resenc_plans.cli.render import note, say
from resenc_plans.errors import ResencPlansError
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.runs.run_folder import RunFolder
    from resenc_plans.training.ranks import Ranks
    from resenc_plans.training.trainer import Trainer

_RANK, _WORLD_SIZE = "RANK", "WORLD_SIZE"
TOLD = "told"
"""The file beside that of a job of several processes, once the first has told why it stopped."""


@dataclass(frozen=True)
class TrainingJob:
    """What to train, resolved from the command's options, so that other processes train the same.

    `settings` are those of `TrainingSettings`; paths are absolute.
    """

    plans: str
    configuration: str
    dataset: str
    fold: int | str
    settings: dict[str, Any]
    device: str | None
    name: str | None
    resume: bool
    overwrite: bool
    allow_differences: bool
    allow_missing_cases: bool
    pretrained: str | None
    validation: bool
    probabilities: bool
    allow_import: tuple[str, ...]
    options: dict[str, str]
    """The command's options by parameter, for what errors say."""
    verbose: bool
    log_file: str | None

    def save(self, path: Path) -> None:
        """Write the job for another process."""
        from resenc_plans.files import write_json

        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """A job that `save` wrote."""
        from resenc_plans.files import read_json

        document = read_json(path)
        return cls(**document | {"allow_import": tuple(document["allow_import"])})


def started_by_torchrun() -> bool:
    """Whether this process is one of those that torchrun, or `train --gpus`, started."""
    return _RANK in os.environ


def world() -> int:
    """The number of processes that train together."""
    return int(os.environ.get(_WORLD_SIZE, "1"))


def is_first() -> bool:
    """Whether this process prints and writes files."""
    return os.environ.get(_RANK, "0") == "0"


def rank_prefix() -> str:
    """Which of the processes that train together this is, before its errors; else nothing."""
    is_one_of_several = started_by_torchrun() and world() > 1
    return f"Rank {os.environ[_RANK]} of {world()}: " if is_one_of_several else ""


def run_job(job: TrainingJob) -> ExitCode:
    """Train, and predict and score the held-out cases; the exit code.

    Exit code 1 if a held-out case failed, or, among several processes, if this one did.
    """
    from resenc_plans.training.ranks import device_of_rank, is_lost_connection, joined_ranks

    try:
        with joined_ranks(device_of_rank(job.device)) as ranks:
            return _train(job, ranks)
    except Exception as error:
        if world() == 1:
            raise
        if isinstance(error, RuntimeError) and is_lost_connection(error):
            note(
                f"Rank {os.environ[_RANK]} has lost another rank and ends. Continue with --resume."
            )
            return ExitCode.LOST
        is_expected = isinstance(error, ResencPlansError)
        text = str(error) if is_expected else f"{type(error).__name__}: {error}"
        text = with_options(text, job.options)
        note(f"Error: {rank_prefix()}{text}", style="bold red")
        if is_expected:
            return ExitCode.FAILED
        raise


def _train(job: TrainingJob, ranks: "Ranks") -> ExitCode:
    from resenc_plans.cli.training_preview import print_task
    from resenc_plans.cli.training_progress import shown_progress
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.plans.plans import Plans
    from resenc_plans.plans.training_settings import TrainingSettings
    from resenc_plans.workflows.train_fold import train_fold

    settings = TrainingSettings.model_validate(job.settings)

    def announce(trainer: "Trainer") -> None:
        assert trainer.cases is not None, "its batches are of stored cases"
        print_task(config, job.fold, trainer.cases, settings)
        say(f"Device: {trainer.device}, {trainer.record.precision}. Results: {trainer.folder.path}")

    with shown_progress(settings.epochs) as on_progress:
        config = Plans.load(job.plans).resolve(job.configuration)
        dataset = Dataset.load(job.dataset)
        trained = train_fold(
            config,
            dataset,
            job.fold,
            settings=settings,
            device=job.device,
            name=job.name,
            resume=job.resume,
            overwrite=job.overwrite,
            allow_differences=job.allow_differences,
            allow_missing_cases=job.allow_missing_cases,
            pretrained=None if job.pretrained is None else Path(job.pretrained),
            validation=False,
            allow_import=job.allow_import,
            on_begin=announce,
            on_progress=on_progress,
            on_note=note,
            ranks=ranks,
        )
    result = trained.training
    is_validated = job.validation and result.is_complete and settings.save_checkpoints
    if not ranks.is_first:
        if is_validated:
            _validate(job, config, dataset, trained.folder, ranks)
        return ExitCode.DONE
    if not settings.save_checkpoints:
        state = "Trained" if result.is_complete else f"Stopped, since {result.reason}, after"
        say(
            f"{state} {counted(len(result.epochs), 'epoch')} without checkpoints: "
            f"{trained.folder.path}"
        )
        return ExitCode.DONE
    if not result.is_complete:
        note(f"Stopped, since {result.reason}. Continue with --resume from {result.checkpoint}.")
        return ExitCode.STOPPED
    is_complete_already = trained.resumed_after >= settings.epochs
    state = "Complete already, with" if is_complete_already else "Trained"
    say(f"{state} {counted(len(result.epochs), 'epoch')}: {result.checkpoint}")
    return _validate(job, config, dataset, trained.folder, ranks) if is_validated else ExitCode.DONE


def _validate(
    job: TrainingJob,
    config: "ResolvedConfiguration",
    dataset: "Dataset",
    folder: "RunFolder",
    ranks: "Ranks",
) -> ExitCode:
    from resenc_plans.folders import SUMMARY_JSON
    from resenc_plans.plans.training_settings import TrainingSettings
    from resenc_plans.workflows.held_out import validate_together
    from resenc_plans.workflows.train_fold import prediction_settings

    settings = TrainingSettings.model_validate(job.settings)
    validated = validate_together(
        config,
        dataset,
        folder,
        prediction_settings(settings, job.device, job.allow_import),
        ranks=ranks,
        name=job.name,
        probabilities=job.probabilities,
        allow_missing_cases=job.allow_missing_cases,
        on_cases=lambda cases: say(f"Predicting {counted(len(cases), 'held-out case')}."),
    )
    if validated is None:
        return ExitCode.DONE
    summary, problems = validated.evaluation.summary, validated.evaluation.problems
    if summary is not None:
        mean = summary.foreground_mean["Dice"]
        target = folder.validation / SUMMARY_JSON
        say(f"Dice of {counted(len(summary.cases), 'held-out case')}: {mean:.4f} ({target})")
    for stage in validated.next_stages:
        say(f"Predictions for {stage.name}: {stage.folder}")
    for problem in problems:
        note(f"{problem.case}: {problem.reason}")
    return ExitCode.FAILED if problems else ExitCode.DONE
