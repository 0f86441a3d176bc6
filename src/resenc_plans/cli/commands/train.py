"""The command that trains: train."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.options import AllowImportOption, PlansOption
from resenc_plans.cli.render import note, numbers, print_table, say
from resenc_plans.errors import ResencPlansError

if TYPE_CHECKING:
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.plans.training_settings import TrainingSettings
    from resenc_plans.training.ranks import Ranks
    from resenc_plans.training.trainer import Trainer

_COMPILER = ("torch._dynamo", "torch._inductor")
"""Where torch.compile's errors are defined."""
SPLIT_IS_PRINTED = "RESENC_PLANS_SPLIT_IS_PRINTED"
"""Set for the processes that `train --gpus` starts."""


def train(
    dataset: Annotated[str, typer.Argument(help="Dataset by id, name or path.")],
    configuration: Annotated[str, typer.Argument(help="Such as 3d_fullres.")],
    fold: Annotated[str, typer.Argument(help="Number of the fold, or all.")],
    plans: PlansOption = None,
    gpus: Annotated[
        int, typer.Option("--gpus", "-num_gpus", min=1, help="Processes that share the batch.")
    ] = 1,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            "-device",
            help="cpu, cuda or mps. Without it: a GPU if there is one.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="Settings of the training, as JSON.", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Instead of 1000.", show_default=False)
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(min=1, help="Per epoch, instead of 250.", show_default=False),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp16, bf16, fp32 or auto.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that load data, per GPU.", show_default=False),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, show_default=False)] = None,
    max_time: Annotated[
        float | None,
        typer.Option(
            "--max-time",
            metavar="MINUTES",
            help="End with a checkpoint after so long.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", "--c", help="Go on from the last checkpoint, if there is one."),
    ] = False,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            "--pretrained",
            "-pretrained_weights",
            help="Start from the weights of this checkpoint.",
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
    goes on. Under torchrun it is one of many. Example: resenc-plans train 4 3d_fullres 0
    """
    from resenc_plans.cli.scope import find_plans, find_scope

    scope = find_scope(dataset)
    config = find_plans(plans, dataset).resolve(configuration)
    overrides = {
        "epochs": epochs,
        "iterations": iterations,
        "precision": precision,
        "workers": workers,
        "seed": seed,
        "max_minutes": max_time,
    }
    wanted = _settings(settings, {k: v for k, v in overrides.items() if v is not None})
    chosen_fold: int | str = int(fold) if fold.isdigit() else fold
    if chosen_fold != "all" and not isinstance(chosen_fold, int):
        raise ResencPlansError(f"Fold {fold!r}: a number from 0, or all, is needed.")
    if resume and pretrained is not None:
        raise ResencPlansError("--resume and --pretrained contradict each other: give one.")
    if probabilities and not validation:
        raise ResencPlansError("--probabilities and --no-validation contradict each other.")
    data = scope.dataset()
    is_rank = "RANK" in os.environ
    processes = int(os.environ["WORLD_SIZE"]) if is_rank else gpus
    if processes > 1 or dry_run:
        _print_split(config, processes, wanted)
    if dry_run:
        from resenc_plans.cli.training_preview import print_preview

        print_preview(config, data, chosen_fold, wanted, gpus)
        return
    if gpus > 1 and not is_rank:
        from resenc_plans.training.launch import check_gpus, launch

        check_gpus(gpus, device)
        os.environ[SPLIT_IS_PRINTED] = "1"
        end = launch(gpus, _without_gpus(sys.argv[1:]))
        if end.reason is not None:
            note(f"Error: {end.reason}", style="bold red")
        raise typer.Exit(end.code)
    _train(
        config,
        data,
        chosen_fold,
        wanted,
        device,
        resume,
        pretrained,
        tuple(allow_import or ()),
        validation,
        probabilities,
    )


def _train(
    config: "ResolvedConfiguration",
    dataset: "Dataset",
    fold: int | str,
    settings: "TrainingSettings",
    device: str | None,
    resume: bool,
    pretrained: Path | None,
    allow_import: tuple[str, ...],
    validation: bool,
    probabilities: bool,
) -> None:
    from resenc_plans.cli.training_preview import print_task
    from resenc_plans.cli.training_progress import shown_progress
    from resenc_plans.execution.signals import STOPPED
    from resenc_plans.training.ranks import device_of_rank, joined_ranks
    from resenc_plans.training.state import load_pretrained
    from resenc_plans.training.trainer import Trainer

    with (
        joined_ranks(device_of_rank(device)) as ranks,
        shown_progress(settings.epochs) as on_progress,
        _named_faults(config, dataset, ranks),
    ):
        trainer = Trainer(
            config,
            dataset,
            fold,
            settings,
            ranks=ranks,
            allow_import=allow_import,
            on_progress=on_progress,
        )
        if ranks.is_first:
            print_task(config, fold, settings)
            kind = str(trainer.precision or "float32").removeprefix("torch.")
            say(f"Device: {trainer.device}, {kind}. Results: {trainer.folder.path}")
        _begin(trainer, resume)
        if pretrained is not None:
            skipped = load_pretrained(trainer.network, pretrained)
            if skipped and ranks.is_first:
                note(f"Left as initialised, of another shape: {', '.join(skipped)}.")
        result = trainer.fit()
    if not ranks.is_first:
        return
    if not result.is_complete:
        note(f"Stopped, since {result.reason}. Go on with --resume from {result.checkpoint}.")
        raise typer.Exit(STOPPED)
    say(f"Trained {settings.epochs} epochs: {result.checkpoint}")
    if validation:
        from resenc_plans.workflows.final_validation import validate

        validate(
            trainer.folder,
            config,
            dataset,
            device,
            settings.precision,
            allow_import,
            probabilities=probabilities,
        )


def _begin(trainer: "Trainer", resume: bool) -> None:
    """Go on from a checkpoint if there is one, and say where training begins."""
    checkpoint, ranks = trainer.folder.resumable(), trainer.ranks
    said = ""
    if resume:
        [seen] = ranks.total([float(checkpoint is not None)])
        if 0 < seen < ranks.world:
            raise ResencPlansError(
                f"{trainer.folder.path}: only {seen:.0f} of {ranks.world} processes see a "
                "checkpoint there. All machines have to share the folder of results."
            )
        if checkpoint is None:
            said = f"{trainer.folder.path} has no checkpoint yet: training begins at the start."
        else:
            said = f"Going on from {trainer.resume()}."
    elif checkpoint is not None:
        said = (
            f"{trainer.folder.path} has checkpoints of an earlier run, which will be replaced; "
            "--resume would go on from them."
        )
    if said and ranks.is_first:
        note(said)


@contextmanager
def _named_faults(
    config: "ResolvedConfiguration", dataset: "Dataset", ranks: "Ranks"
) -> Iterator[None]:
    """Say what is behind a fault; among many processes, of which rank it is, before all end."""
    from resenc_plans.networks.device import is_out_of_memory
    from resenc_plans.training.ranks import LOST, is_lost_connection

    try:
        yield
    except Exception as error:
        fault: Exception = error
        if is_out_of_memory(error):
            fault = ResencPlansError(_out_of_memory(config, dataset, ranks.world))
        elif type(error).__module__.startswith(_COMPILER):
            why = str(error).strip().partition("\n")[0].rstrip(".")
            fault = ResencPlansError(
                f'torch.compile failed: {why}. {{"compile": false}} in a file for --settings '
                "trains without it."
            )
        if ranks.world == 1:
            if fault is error:
                raise
            raise fault from error
        if isinstance(error, RuntimeError) and is_lost_connection(error):
            note(f"Rank {ranks.rank} has lost another rank and ends.")
            raise typer.Exit(LOST) from None
        is_expected = isinstance(fault, ResencPlansError)
        text = str(fault) if is_expected else f"{type(fault).__name__}: {fault}"
        note(f"Error: Rank {ranks.rank} of {ranks.world}: {text}", style="bold red")
        if is_expected:
            raise typer.Exit(1) from None
        raise


def _settings(path: Path | None, overrides: dict[str, Any]) -> "TrainingSettings":
    from pydantic import ValidationError

    from resenc_plans.plans.training_settings import TrainingSettings

    chosen = TrainingSettings.load(path) if path is not None else TrainingSettings()
    try:
        return TrainingSettings.model_validate({**chosen.model_dump(), **overrides})
    except ValidationError as error:
        fault = error.errors()[0]
        raise ResencPlansError(f"--{fault['loc'][0]}: {fault['msg']}.") from None


def _print_split(config: "ResolvedConfiguration", gpus: int, settings: "TrainingSettings") -> None:
    """Refuse a batch that is too small, and print once, for all processes, how it is split."""
    from resenc_plans.training.ranks import split_batch

    shares = split_batch(config.batch_size, gpus, settings.oversampled_foreground)
    if SPLIT_IS_PRINTED in os.environ or os.environ.get("RANK", "0") != "0":
        return
    print_table(
        ["rank", "samples", "foreground for certain"],
        [[rank, s.size, s.foreground] for rank, s in enumerate(shares)],
        title=f"Batch of {config.batch_size} over {gpus} processes",
    )


def _without_gpus(arguments: Sequence[str]) -> list[str]:
    """The command line for one of the processes."""
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("--gpus", "-num_gpus"):
            skip = True
        elif not argument.startswith(("--gpus=", "-num_gpus=")):
            kept.append(argument)
    return kept


def _out_of_memory(config: "ResolvedConfiguration", dataset: "Dataset", world: int) -> str:
    from resenc_plans.cost.estimate import estimate_cost
    from resenc_plans.plans.configuration import input_channels

    channels = input_channels(config, dataset.labels)
    text = f"{config.name}: the device's memory does not suffice."
    try:
        cost = estimate_cost(config, channels, dataset.labels.num_heads, gpus=world)
        memory = cost.gpu_memory_gb
        text += f" Expected are {memory.expected:.1f} GB ({memory.low:.1f}-{memory.high:.1f})."
    except ResencPlansError:
        pass
    smaller = max(world, config.batch_size // 2)
    derive = f"resenc-plans derive --from {config.name}"
    if smaller == config.batch_size:
        return (
            f"{text} Use a patch smaller than {numbers(config.patch_size)}: {derive} --patch-size."
        )
    return (
        f"{text} Use a smaller batch: {derive} --batch-size {smaller} "
        f"(patch {numbers(config.patch_size)} stays)."
    )
