"""Commands that plan: create, presets."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.memory_fit import announce_fit, memory_to_fit
from resenc_plans.cli.options import (
    DatasetOption,
    DryRunOption,
    OutputOption,
    OverwriteOption,
    WorkersOption,
    parse_numbers,
)
from resenc_plans.cli.render import note, numbers, print_table, say
from resenc_plans.errors import PlanningError
from resenc_plans.folders import DATASET_JSON

if TYPE_CHECKING:
    from resenc_plans.cli.scope import Scope
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.datasets.fingerprint import Fingerprint
    from resenc_plans.planning.fitting import FittedNetwork
    from resenc_plans.planning.planner import PlanningResult
    from resenc_plans.planning.replanning import Replanning


def create(
    dataset: DatasetOption = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-pl",
            help="M, L, XL, resenc or default; nnU-Net's planner names are understood too. "
            "Without it: L, or M scaled to --gpu-memory.",
            show_default=False,
        ),
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(
            "--gpu-memory",
            "-gpu_memory_target",
            metavar="GB",
            help="GPU memory target, as nnU-Net counts it.",
            show_default=False,
        ),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
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
    from resenc_plans.planning.planner import plan_dataset

    fit_gb = memory_to_fit(fit)
    scope = find_scope(dataset)
    fingerprint, is_new = _fingerprint(scope, workers)
    plan = partial(
        plan_dataset,
        fingerprint,
        scope.dataset(),
        preset=preset,
        spacing=parse_numbers(spacing, float, "--spacing") if spacing else None,
        transpose=transpose,
        batch_cap=batch_cap,
    )
    result = plan(gpu_memory_gb=gpu_memory, name=name, fit_gb=fit_gb, provenance=provenance)
    if fit_gb is None:
        _announce(result)
    else:
        announce_fit(result, plan())
    if spacing and result.preset.shares_default_data:
        note(
            "These plans share the folders nnUNetPlans_2d and nnUNetPlans_3d_fullres with other "
            "plans of the dataset, as nnU-Net has it: preprocess again before you train, and "
            "other plans again before you go back to them."
        )
    target = _target(scope, output, result.plans.name)
    _print_plans(result, scope.dataset())
    replanning = _replan(target, result)
    if replanning is not None:
        _report_replanning(target, replanning, overwrite=overwrite, dry_run=dry_run)
    if dry_run:
        say(f"Would write {target} (--dry-run).")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_new:
        scope.preprocessed.mkdir(parents=True, exist_ok=True)
        fingerprint.save(scope.fingerprint)
        say(f"Wrote {scope.fingerprint}.")
    _copy_dataset_json(scope)
    (replanning.plans if replanning else result.plans).save(target)
    say(f"Wrote {target}.")


def _fingerprint(scope: "Scope", workers: int | None) -> "tuple[Fingerprint, bool]":
    """The dataset's fingerprint, and whether it had to be extracted."""
    from resenc_plans.datasets.fingerprint import Fingerprint

    if scope.fingerprint.is_file():
        found = Fingerprint.load(scope.fingerprint)
        cases = len(scope.dataset().cases)
        if cases and cases != len(found.spacings):
            note(
                f"{scope.fingerprint} is of {len(found.spacings)} cases, the dataset has {cases}. "
                "Extract it again: resenc-plans fingerprint --overwrite."
            )
        return found, False
    from resenc_plans.cli.commands.fingerprint import extract_fingerprint

    return extract_fingerprint(scope, workers), True


def _target(scope: "Scope", output: Path | None, name: str) -> Path:
    if output is None:
        return scope.preprocessed / f"{name}.json"
    if output.is_dir() or not output.suffix:
        return output / f"{name}.json"
    if output.suffix != ".json":
        raise PlanningError(f"--output {output}: plans are a file that ends in .json, or a folder.")
    return output


def _announce(result: "PlanningResult") -> None:
    if result.gpu_memory_gb != result.preset.gpu_memory_gb:
        note(
            f"Non-standard GPU memory target: {result.gpu_memory_gb:g} GB instead of preset "
            f"{result.preset.key}'s {result.preset.gpu_memory_gb:g} GB. nnU-Net's target is a "
            "proxy, not what nvidia-smi will show."
        )


def _print_plans(result: "PlanningResult", dataset: "Dataset") -> None:
    from resenc_plans.cli.measurement import calibration_in_use
    from resenc_plans.cost.estimate import estimate_cost
    from resenc_plans.plans.configuration import input_channels

    labels, calibration = dataset.labels, calibration_in_use()
    rows = []
    for name in result.plans.configurations:
        config = result.plans.resolve(name)
        fit = result.fits.get(name)
        cost = estimate_cost(
            config,
            input_channels(config, labels),
            labels.num_heads,
            regions=labels.has_regions,
            calibration=calibration,
        )
        rows.append(
            [
                name,
                numbers(config.spacing, digits=3),
                numbers(config.median_image_size_in_voxels),
                numbers(config.patch_size),
                str(fit.unet.n_stages if fit else ""),
                str(config.batch_size),
                f"{fit.dataset_share:.2%}" if fit else "",
                f"{cost.gpu_memory_gb.low:.1f}-{cost.gpu_memory_gb.high:.1f}",
                _limits(fit) if fit else f"as {config.to_dict()['inherits_from']}",
            ]
        )
    print_table(
        [
            "configuration",
            "spacing (mm)",
            "median",
            "patch",
            "stages",
            "batch",
            "share",
            "GB",
            "limited by",
        ],
        rows,
    )
    say("Share: of the dataset's voxels, per batch. Limited by: what stopped the patch; the batch.")
    say(
        "GB: GPU memory in training, an estimate from and to, as nvidia-smi shows it. "
        f"Calibrated to: {calibration.name}."
    )
    for remark in result.remarks:
        say(remark)


def _limits(fit: "FittedNetwork") -> str:
    return f"{fit.patch_limit.removesuffix(' size')}; {fit.batch_limit}"


def _replan(target: Path, result: "PlanningResult") -> "Replanning | None":
    if not target.exists():
        return None
    from resenc_plans.planning.replanning import replan
    from resenc_plans.plans.plans import Plans

    return replan(Plans.load(target), result.plans)


def _report_replanning(
    target: Path, replanning: "Replanning", *, overwrite: bool, dry_run: bool
) -> None:
    if replanning.kept:
        say(f"Kept from {target.name}: {', '.join(replanning.kept)}.")
    if replanning.harmless:
        return
    lines = []
    for title, changes in (
        (
            "These planned values differ (another planner, target or fingerprint, or a hand edit):",
            replanning.lost,
        ),
        (
            "These configurations are kept, but would get other values from their parents:",
            replanning.inherited,
        ),
    ):
        if changes:
            lines.append(title)
            lines += [
                f"  {change.configuration or 'file'}: {change.key or '(whole)'}: "
                f"{_short(change.before)} -> {_short(change.after)}"
                for change in changes[:20]
            ]
            lines += [f"  and {len(changes) - 20} more"] if len(changes) > 20 else []
    text = "\n".join(lines)
    if overwrite or dry_run:
        note(text)
        if not overwrite:
            note("Without --overwrite this would be refused.")
        return
    raise PlanningError(
        f"{target} exists and is not what would be written now.\n{text}\n"
        "Nothing was written. --overwrite replaces it and keeps your own configurations; "
        "--name writes beside it. A hand edit survives as a configuration of its own: "
        "resenc-plans derive --set KEY=VALUE --name NAME."
    )


def _copy_dataset_json(scope: "Scope") -> None:
    """Put dataset.json beside the plans, as nnU-Net does, where it lies elsewhere."""
    if scope.raw is None or scope.raw == scope.preprocessed:
        return
    from resenc_plans.files import replace_file

    with replace_file(scope.preprocessed / DATASET_JSON) as stream:
        stream.write((scope.raw / DATASET_JSON).read_bytes())


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 70 else text[:67] + "..."
