"""The command create: plan a dataset."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.commands.preprocess import preprocess_cases
from resenc_plans.cli.options import (
    DatasetOption,
    DryRunOption,
    OutputOption,
    OverwriteOption,
    WorkersOption,
    option_names,
    parse_gigabytes,
    parse_numbers,
    with_options,
)
from resenc_plans.cli.plans_table import print_configurations
from resenc_plans.cli.render import end_with, note, print_commands, say
from resenc_plans.errors import PlanningError
from resenc_plans.folders import FINGERPRINT_JSON
from resenc_plans.reprs import numbers

if TYPE_CHECKING:
    from resenc_plans.cli.scope import Scope
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.datasets.fingerprint import Fingerprint
    from resenc_plans.planning.planner import PlanningResult
    from resenc_plans.plans.plans import Plans


def create(
    context: typer.Context,
    dataset: DatasetOption = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-pl",
            help="M, L, XL, resenc or default; nnU-Net's planner names are understood too. "
            "Default: L, or M scaled to --gpu-memory.",
            show_default=False,
        ),
    ] = None,
    gpu_memory_gb: Annotated[
        str | None,
        typer.Option(
            "--gpu-memory",
            "-gpu_memory_target",
            metavar="GB",
            help="GPU memory target, as nnU-Net counts it.",
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
    transpose: Annotated[
        bool,
        typer.Option("--transpose/--no-transpose", help="Put the coarsest axis first."),
    ] = True,
    batch_cap: Annotated[
        float | None,
        typer.Option(
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
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Plan a dataset: spacing, patch size, batch size and network, as nnU-Net 2.8.1 would.

    The fingerprint is extracted first where there is none.
    Example: resenc-plans create --gpu-memory 80 --name Plans_80G
    """
    from resenc_plans.cli.scope import find_scope
    from resenc_plans.files import make_folder
    from resenc_plans.planning.planner import plan_dataset
    from resenc_plans.planning.replanning import copy_dataset_json, replan, save_plans
    from resenc_plans.planning.settings import PlanningSettings

    settings = PlanningSettings(
        preset=preset,
        gpu_memory_gb=(
            None if gpu_memory_gb is None else parse_gigabytes(gpu_memory_gb, "--gpu-memory")
        ),
        fit_gb=_memory_to_fit(fit_gb),
        name=name,
        spacing=parse_numbers(spacing, float, "--spacing") if spacing else None,
        transpose=transpose,
        batch_cap=batch_cap,
        own_data=own_data,
    )
    scope = find_scope(dataset)
    data = scope.dataset()
    fingerprint, is_new = _fingerprint(scope, data, workers)
    result = plan_dataset(fingerprint, data, settings, provenance=provenance)
    _refuse_errors(result.plans, data)
    for warning in result.warnings:
        note(with_options(warning, option_names(context.command.params)))
    if settings.fit_gb is not None:
        unfitted = replace(settings, fit_gb=None, name=None)
        _compare_with_preset(result, plan_dataset(fingerprint, data, unfitted))
    target = _target(scope, output, result.plans.name)
    replanning = replan(target, result.plans)
    is_written = not dry_run and (overwrite or replanning.harmless)
    if is_written:
        make_folder(scope.preprocessed)
        if is_new:
            fingerprint.save(scope.fingerprint)
        if scope.raw is not None:
            copy_dataset_json(scope.raw, scope.preprocessed)
        save_plans(result.plans, target, overwrite=overwrite)
    _print(result, data, target)
    if replanning.retained:
        say(f"Kept from {target.name}: {', '.join(replanning.retained)}.")
    if not (is_written or dry_run):
        replanning.refuse_losses()
    if not replanning.harmless:
        note(replanning.describe())
        if not overwrite:
            note("Without --overwrite this would be refused.")
    if dry_run:
        say(f"Would write {target} (--dry-run).")
        return
    if is_new:
        say(f"Wrote {scope.fingerprint}.")
    say(f"Wrote {target}.")
    if preprocess_too:
        from resenc_plans.plans.plans import Plans

        planned = list(result.plans.configurations)
        end_with(preprocess_cases(scope, data, Plans.load(target), planned, workers=workers))


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


def _fingerprint(
    scope: "Scope", dataset: "Dataset", workers: int | None
) -> "tuple[Fingerprint, bool]":
    """The dataset's fingerprint, and whether it is yet to be written beside the plans.

    Where there are no images, the one beside dataset.json suffices.
    """
    from resenc_plans.cli.scope import dataset_option
    from resenc_plans.datasets.fingerprint import Fingerprint

    if scope.fingerprint.is_file():
        fingerprint = Fingerprint.load(scope.fingerprint)
        cases = len(dataset.cases)
        if cases and cases != len(fingerprint.spacings):
            note(
                f"{scope.fingerprint} is of {len(fingerprint.spacings)} cases, the dataset has "
                f"{cases}. Extract it again:"
            )
            command = ["resenc-plans", "fingerprint", *dataset_option(dataset.folder)]
            print_commands(shlex.join([*command, "--overwrite"]), error=True)
        return fingerprint, False
    beside = dataset.folder / FINGERPRINT_JSON
    if not dataset.cases and beside.is_file():
        return Fingerprint.load(beside), True
    from resenc_plans.cli.commands.fingerprint import extract_fingerprint

    return extract_fingerprint(scope, workers), True


def _refuse_errors(plan: "Plans", dataset: "Dataset") -> None:
    """Refuse plans that `train` would refuse, such as those of images too small for a network."""
    errors = [f for f in plan.validate_rules(dataset) if f.severity == "error"]
    if errors:
        faults = "".join(
            f"\n  {' '.join(filter(None, (f.configuration, f.key)))}: {f.message} [{f.rule}]"
            for f in errors
        )
        raise PlanningError(
            "These plans could not be trained, so none were written. Plan with another preset, "
            f"memory or spacing, or mend what the dataset says.{faults}"
        )


def _target(scope: "Scope", output: Path | None, name: str) -> Path:
    from resenc_plans.files import inside, part_of_path

    folder = scope.preprocessed if output is None else output
    own = folder / part_of_path(name, "plans_name", ending=".json")
    if output is None:
        return inside(folder, own)
    if output.is_dir() or not output.suffix:
        return own
    if output.suffix != ".json":
        raise PlanningError(f"--output {output}: plans are a file that ends in .json, or a folder.")
    return output


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
