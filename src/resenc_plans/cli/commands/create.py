"""The command create: plan a dataset."""

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import (
    DatasetOption,
    DryRunOption,
    OverwriteOption,
    WorkersOption,
    option_names,
    output_option,
    parse_gigabytes,
    parse_numbers,
    with_options,
)
from resenc_plans.cli.plans_table import print_configurations
from resenc_plans.cli.plans_writing import PlansWriting
from resenc_plans.cli.render import end_with, note, print_commands, say
from resenc_plans.errors import UsageError
from resenc_plans.folders import FINGERPRINT_JSON
from resenc_plans.reprs import numbers
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.cli.scope import Scope
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.datasets.fingerprint import Fingerprint
    from resenc_plans.planning.planner import PlanningResult


def create(
    context: typer.Context,
    dataset: DatasetOption = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-pl",
            metavar="PRESET",
            help="M, L, XL, resenc, default or another that `resenc-plans presets` lists, or the "
            "name of a planner of nnU-Net. Default: L, or M scaled to --gpu-memory.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|all",
            help="Plan a published system instead, such as mednext-l-k3; "
            "`resenc-plans baselines` lists them.",
            show_default=False,
        ),
    ] = None,
    gpu_memory_gb: Annotated[
        str | None,
        typer.Option(
            "--gpu-memory",
            "-gpu_memory_target",
            metavar="GB",
            help="GPU memory target, as nnU-Net counts it. Default: the preset's.",
            show_default=False,
        ),
    ] = None,
    fit_gb: Annotated[
        str | None,
        typer.Option(
            "--fit",
            metavar="GB|auto",
            help="Experimental: fill this GPU memory (auto: of the GPU at hand) by the estimated "
            "cost, instead of nnU-Net's target.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            "-overwrite_plans_name",
            metavar="NAME",
            help="Name of the plans; needed with a target that is not the preset's.",
            show_default=False,
        ),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(
            metavar="Z,Y,X",
            help="Target spacing in mm of 3d_fullres and 2d, instead of the dataset's.",
            show_default=False,
        ),
    ] = None,
    patch_size: Annotated[
        str | None,
        typer.Option(
            metavar="ZxYxX",
            help="Patch of a baseline's 3d_fullres in voxels, the coarsest axis first.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Batch size of a baseline's 3d_fullres.", show_default=False
        ),
    ] = None,
    transpose: Annotated[
        bool,
        typer.Option("--transpose/--no-transpose", help="Put the coarsest axis first."),
    ] = True,
    batch_cap: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the dataset's voxels that one batch may cover, such as 0.05.",
            show_default=False,
        ),
    ] = None,
    own_data: Annotated[
        bool,
        typer.Option(
            "--own-data",
            help="Keep these plans' preprocessed cases apart from those of other plans.",
        ),
    ] = False,
    resampling: Annotated[
        str | None,
        typer.Option(
            metavar="spline|torch|torch-separate-z|none",
            help="How images, segmentations and logits are resampled; what differs from the "
            "preset's has preprocessed cases of its own.",
            show_default=False,
        ),
    ] = None,
    preprocess_too: Annotated[
        bool,
        typer.Option("--preprocess", help="Preprocess all planned configurations afterwards."),
    ] = False,
    provenance: Annotated[
        bool,
        typer.Option(
            "--provenance/--no-provenance",
            help="End the file with a key that says how it was made; nnU-Net ignores it.",
        ),
    ] = True,
    workers: WorkersOption = None,
    output: Annotated[
        Path | None,
        output_option(
            "FILE|FOLDER",
            "Plans file to write, or the folder for it. Default: where nnU-Net looks for it.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Plan a dataset: spacing, patch size, batch size and network, as nnU-Net 2.8.1 would.

    The fingerprint is extracted first where there is none.
    Example: resenc-plans create --gpu-memory 80 --name Plans_80G
    """
    from resenc_plans.cli.scope import find_scope

    target_spacing = parse_numbers(spacing, float, "--spacing") if spacing else None
    patch = parse_numbers(patch_size, int, "--patch-size") if patch_size else None
    _refuse_contradictions(context, baseline)

    def writing() -> PlansWriting:
        scope = find_scope(dataset)
        data = scope.dataset()
        return PlansWriting(
            scope=scope,
            dataset=data,
            fingerprint=_fingerprint(scope, data, workers),
            output=output,
            overwrite=overwrite,
            dry_run=dry_run,
            preprocess=preprocess_too,
            workers=workers,
        )

    if baseline is not None:
        from resenc_plans.cli.baseline_plans import create_baselines
        from resenc_plans.planning.baselines.baseline import BaselineSettings

        chosen = BaselineSettings(
            spacing=target_spacing,
            patch_size=None if patch is None else tuple(map(int, patch)),
            batch_size=batch_size,
            name=name,
            own_data=own_data,
        )
        create_baselines(baseline, chosen, writing, provenance=provenance)
        return
    from resenc_plans.planning.planner import plan_dataset, refuse_errors
    from resenc_plans.planning.resampling import checked_resampling
    from resenc_plans.planning.settings import PlanningSettings

    settings = PlanningSettings(
        preset=preset,
        gpu_memory_gb=(
            None if gpu_memory_gb is None else parse_gigabytes(gpu_memory_gb, "--gpu-memory")
        ),
        fit_gb=_memory_to_fit(fit_gb),
        name=name,
        spacing=target_spacing,
        transpose=transpose,
        batch_cap=batch_cap,
        own_data=own_data,
        resampling=None if resampling is None else checked_resampling(resampling),
    )
    job = writing()
    result = plan_dataset(job.fingerprint, job.dataset, settings, provenance=provenance)
    refuse_errors(result.plans, job.dataset)
    for warning in result.warnings:
        note(with_options(warning, option_names(context.command.params)))
    if settings.fit_gb is not None:
        unfitted = replace(settings, fit_gb=None, name=None)
        _compare_with_preset(result, plan_dataset(job.fingerprint, job.dataset, unfitted))
    end_with(job.write(result.plans, partial(_print, result, job.dataset)))


_PRESETS_ONLY = ("preset", "gpu_memory_gb", "fit_gb", "batch_cap", "transpose", "resampling")
_BASELINES_ONLY = ("patch_size", "batch_size")


def _refuse_contradictions(context: typer.Context, baseline: str | None) -> None:
    """Refuse options of presets beside --baseline, and its options without it."""
    foreign = _BASELINES_ONLY if baseline is None else _PRESETS_ONLY
    names = option_names(context.command.params)
    for key in foreign:
        value = context.params[key]
        if value is None or value is True:
            continue
        if baseline is None:
            raise UsageError(
                f"{names[key]} is for --baseline: a preset plans patch and batch itself. "
                "`resenc-plans derive` changes them in plans."
            )
        option = "--no-transpose" if key == "transpose" else names[key]
        raise UsageError(
            f"--baseline and {option} contradict each other: the recipe of a baseline decides what "
            "a preset would. --spacing, --patch-size and --batch-size change it."
        )


def _print(result: "PlanningResult", dataset: "Dataset", target: Path) -> None:
    """What was planned, why, and which other plans beside the file have the same."""
    from resenc_plans.plans.twins import twins

    print_configurations(
        [result.plans.resolve(name) for name in result.plans.configurations],
        dataset.labels,
        dataset.json.num_training,
        result.fits,
    )
    for remark in (*result.remarks, *(str(twin) for twin in twins(result.plans, target))):
        say(remark)


def _fingerprint(scope: "Scope", dataset: "Dataset", workers: int | None) -> "Fingerprint":
    """The dataset's fingerprint, which may be yet to be written beside the plans.

    Where there are no images, the one beside dataset.json suffices.
    """
    from resenc_plans.cli.scope import dataset_option
    from resenc_plans.datasets.fingerprint import Fingerprint

    if scope.fingerprint.is_file():
        fingerprint = Fingerprint.load(scope.fingerprint)
        cases = len(dataset.cases)
        if cases and cases != len(fingerprint.spacings):
            note(
                f"{scope.fingerprint} is of {counted(len(fingerprint.spacings), 'case')}, the "
                f"dataset has {cases}. Extract it again:"
            )
            command = ["resenc-plans", "fingerprint", *dataset_option(dataset.folder)]
            print_commands(shlex.join([*command, "--overwrite"]), error=True)
        return fingerprint
    beside = dataset.folder / FINGERPRINT_JSON
    if not dataset.cases and beside.is_file():
        return Fingerprint.load(beside)
    from resenc_plans.cli.commands.fingerprint import extract_fingerprint

    return extract_fingerprint(scope, workers)


def _memory_to_fit(text: str | None) -> float | None:
    """The GB of `24`, `24GB` or `auto`, the GPU at hand."""
    if text is None:
        return None
    if text.casefold() == "auto":
        from resenc_plans.execution.memory import installed_gpu_memory

        return installed_gpu_memory()
    return parse_gigabytes(text, "--fit", examples="24, or auto")


def _compare_with_preset(result: "PlanningResult", preset: "PlanningResult") -> None:
    """How plans that are fitted to a memory differ from the preset's own."""
    for name in result.fits:
        config = result.plans.resolve(name)
        if name not in preset.fits:
            note(f"{name}: the preset has none.")
            continue
        unfitted = preset.plans.resolve(name)
        note(
            f"{name}: patch {numbers(config.patch_size)}, batch {config.batch_size}; preset "
            f"{preset.preset.key}: {numbers(unfitted.patch_size)}, {unfitted.batch_size}."
        )
