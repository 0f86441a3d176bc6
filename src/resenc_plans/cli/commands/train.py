"""The command that trains: train."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.options import (
    AllowImportOption,
    DeviceOption,
    PlansOption,
    option_names,
    refuse_one_gpu_for_several,
)
from resenc_plans.cli.render import note, print_table
from resenc_plans.cli.stopping import resumable
from resenc_plans.cli.training_job import (
    TOLD,
    TrainingJob,
    is_first,
    run_job,
    started_by_torchrun,
    world,
)
from resenc_plans.errors import DeviceError, UsageError
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.plans.training_settings import TrainingSettings

_OPTIONS = {"max_minutes": "--max-time", "augment_on": "--augmentation"}
"""Options that are not called after their setting."""


def train(
    context: typer.Context,
    dataset: Annotated[
        str,
        typer.Argument(metavar="DATASET", help="Dataset by id, name or path.", show_default=False),
    ],
    configuration: Annotated[
        str,
        typer.Argument(
            metavar="CONFIGURATION",
            help="Configuration by name, such as 3d_fullres.",
            show_default=False,
        ),
    ],
    fold: Annotated[
        str, typer.Argument(metavar="FOLD", help="Number of the fold, or all.", show_default=False)
    ],
    plans: PlansOption = None,
    gpus: Annotated[
        int,
        typer.Option(
            "--gpus",
            "-num_gpus",
            metavar="N",
            min=1,
            help="GPUs of this machine that share the batch.",
        ),
    ] = 1,
    device: DeviceOption = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Settings of the training, as JSON; options override them.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Number of epochs. Default: 1000.", show_default=False
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Batches per epoch. Default: 250.", show_default=False
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="fp16|bf16|fp32|auto",
            help="Precision of the network. Default: auto, fp16 on CUDA, else "
            "bf16 where the CPU supports it.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Processes that make batches, per GPU; 0: none. Default: as many as CPUs allow.",
            show_default=False,
        ),
    ] = None,
    augment_on: Annotated[
        str | None,
        typer.Option(
            "--augmentation",
            metavar="cpu|device|auto",
            help="Where to augment. Default: auto, on a GPU that has few CPUs, else on the CPU.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Seed of the initial weights, patches and augmentation. Default: 0.",
            show_default=False,
        ),
    ] = None,
    max_time: Annotated[
        float | None,
        typer.Option(
            "--max-time",
            metavar="MINUTES",
            help="Time after which to end with a checkpoint. Default: none.",
            show_default=False,
        ),
    ] = None,
    trainer: Annotated[
        str | None,
        typer.Option(
            "--trainer",
            "-tr",
            metavar="TRAINER",
            help="A trainer of nnU-Net, such as nnUNetTrainer_100epochs, whose settings hold "
            "where nothing else is said.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the method, with which the model's folder begins. Default: the "
            "trainer's.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", "--c", help="Resume from the last checkpoint, if there is one."),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Begin a trained fold anew. What is there moves to replaced/."
        ),
    ] = False,
    allow_differences: Annotated[
        bool,
        typer.Option(
            "--allow-differences",
            help="Train even if other folds of the model, or this one so far, were trained with "
            "other settings or cases.",
        ),
    ] = False,
    allow_missing_cases: Annotated[
        bool,
        typer.Option(
            "--allow-missing-cases",
            help="Train even if cases are not preprocessed; they are left out.",
        ),
    ] = False,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            "--pretrained",
            "-pretrained_weights",
            metavar="FILE",
            help="Checkpoint from whose weights to start.",
            show_default=False,
        ),
    ] = None,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation/--no-validation",
            help="Predict and evaluate the held-out cases at the end.",
        ),
    ] = True,
    checkpoints: Annotated[
        bool,
        typer.Option(
            "--checkpoints/--no-checkpoints",
            " /--disable_checkpointing",
            help="Write checkpoints; without, nothing can be resumed or validated.",
        ),
    ] = True,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", "--npz", help="Keep the held-out cases' probabilities, for select."
        ),
    ] = False,
    allow_import: AllowImportOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained, train nothing.")
    ] = False,
) -> None:
    """Train a configuration on one fold, as nnU-Net does.

    SIGTERM, SIGUSR1, Ctrl-C and --max-time end a run with a checkpoint and exit code 75; --resume
    continues it. Under torchrun, it is one of the processes that train together. Example:
    resenc-plans train 4 3d_fullres 0
    """
    from resenc_plans.cli.scope import find_plans, find_scope, note_results_beside_plans
    from resenc_plans.plans.trained_configuration import trained_configuration
    from resenc_plans.runs.beginning import refuse_to_replace
    from resenc_plans.training.defaults import default_run_folder
    from resenc_plans.training.own_parts import model_name
    from resenc_plans.workflows.held_out import refuse_unpredictable

    scope = find_scope(dataset)
    plan = find_plans(plans, dataset)
    config = plan.resolve(configuration)
    overrides = {
        "trainer": trainer,
        "epochs": epochs,
        "iterations": iterations,
        "precision": precision,
        "workers": workers,
        "augment_on": augment_on,
        "seed": seed,
        "max_minutes": max_time,
        "save_checkpoints": None if checkpoints else False,
    }
    values = {key: value for key, value in overrides.items() if value is not None}
    resolved = _settings(values, settings).over(config.training)
    name = model_name(name, resolved)
    config = trained_configuration(config, resolved.trainer)
    chosen_fold = _fold(fold)
    if resume and pretrained is not None:
        raise UsageError("--resume and --pretrained contradict each other: give one.")
    if resume and overwrite:
        raise UsageError("--resume and --overwrite contradict each other: give one.")
    if probabilities and not validation:
        raise UsageError("--probabilities and --no-validation contradict each other.")
    refuse_one_gpu_for_several(gpus, device)
    data = scope.dataset()
    if validation:
        refuse_unpredictable(config, data)
    if is_first():
        note_results_beside_plans(plan)
    if not (resume or overwrite):
        refuse_to_replace(default_run_folder(config, data, chosen_fold, name))
    is_rank = started_by_torchrun()
    processes = world() if is_rank else gpus
    if processes > 1 or dry_run:
        _print_split(config, processes, resolved)
    if dry_run:
        from resenc_plans.cli.training_preview import print_preview

        print_preview(
            config,
            data,
            chosen_fold,
            resolved,
            gpus=gpus,
            device=device,
            name=name,
            pretrained=pretrained,
            resume=resume,
            allow_differences=allow_differences,
            allow_import=tuple(allow_import or ()),
            allow_missing_cases=allow_missing_cases,
        )
        return
    options = context.find_root().params
    job = TrainingJob(
        plans=str(config.plans.path),
        configuration=configuration,
        dataset=str(data.folder),
        fold=chosen_fold,
        settings=resolved.model_dump(),
        device=device,
        name=name,
        resume=resume,
        overwrite=overwrite,
        allow_differences=allow_differences,
        allow_missing_cases=allow_missing_cases,
        pretrained=None if pretrained is None else str(pretrained),
        validation=validation,
        probabilities=probabilities,
        allow_import=tuple(allow_import or ()),
        options=option_names(context.command.params),
        verbose=options["verbose"],
        log_file=None if options["log_file"] is None else str(options["log_file"]),
    )
    if is_rank:
        code = run_job(job)
    else:
        with resumable("Continue with --resume."):
            code = run_job(job) if gpus == 1 else _run_on_gpus(job, gpus)
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


def _run_on_gpus(job: TrainingJob, gpus: int) -> ExitCode:
    """Train in several processes on this machine; the exit code."""
    from resenc_plans.networks.device import devices_of_processes
    from resenc_plans.training.launch import launch

    try:
        devices_of_processes(gpus, job.device)
    except DeviceError as error:
        raise DeviceError(f"--gpus {gpus}: {error}") from None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        job.save(path)
        end = launch(gpus, "resenc_plans.cli.training_rank", str(path))
        is_told = path.with_name(TOLD).exists()
    if end.code is ExitCode.STOPPED:
        if not is_told:
            note(f"{end.reason} Continue with --resume.")
    elif end.reason is not None:
        note(f"Error: {end.reason} Continue with --resume.", style="bold red")
    return end.code


def _fold(text: str) -> int | str:
    from resenc_plans.runs.folds import ALL

    if text != ALL and not text.isdigit():
        raise UsageError(f"Fold {text!r}: a number from 0, or {ALL}, is needed.")
    return text if text == ALL else int(text)


def _settings(values: dict[str, Any], path: Path | None) -> "TrainingSettings":
    """What the command line says, and where it says nothing, a file of settings."""
    from pydantic import ValidationError

    from resenc_plans.plans.training_settings import TrainingSettings, setting_faults

    try:
        chosen = TrainingSettings.model_validate(values)
    except ValidationError as error:
        key, what = setting_faults(error)[0]
        raise UsageError(
            f"{_OPTIONS.get(key, f'--{key}')} {what}." if key else f"{what}."
        ) from None
    return chosen.over(None if path is None else TrainingSettings.load(path))


def _print_split(
    config: "ResolvedConfiguration", processes: int, settings: "TrainingSettings"
) -> None:
    """Refuse a batch that is too small, and print how it is split, in the first process."""
    from resenc_plans.training.defaults import foreground_chance
    from resenc_plans.training.ranks import split_batch

    shares = split_batch(config.batch_size, processes, settings.oversampled_foreground)
    if not is_first():
        return
    chance = foreground_chance(settings, config.batch_size)
    print_table(
        ["rank", "samples", "foreground for certain"],
        [
            [rank, s.size, s.foreground if chance is None else f"each by {chance:.0%}"]
            for rank, s in enumerate(shares)
        ],
        title=f"Batch of {config.batch_size} over {counted(processes, 'process', 'processes')}",
    )
