"""The command that adds a configuration to plans."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.options import (
    AllowImportOption,
    DatasetOption,
    DryRunOption,
    OverwriteOption,
    PlansOption,
    PlansOutputOption,
    parse_numbers,
)
from resenc_plans.cli.plans_table import print_configurations
from resenc_plans.cli.render import note, print_diff, print_json, say
from resenc_plans.errors import FileError, ResencPlansError, UsageError, shown
from resenc_plans.files import parse_json
from resenc_plans.reprs import numbers

if TYPE_CHECKING:
    from resenc_plans.datasets.labels import Labels
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.plans.header import PlansHeader
    from resenc_plans.plans.plans import Plans

_NETWORK = "architecture.network_class_name"

_NOT_KEYS = (
    "inherits_from",
    "name",
    "from_",
    "gpus",
    "keep_topology",
    "overwrite",
    "check_network",
)
"""What `Plans.derive` takes beside keys of a configuration, and what options set."""


def derive(
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="The new batch size, over all GPUs.", show_default=False),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Multiply the parent's batch size by this.",
            show_default=False,
        ),
    ] = None,
    patch_size: Annotated[
        str | None,
        typer.Option(
            metavar="ZxYxX",
            help="The new patch size, rounded up to fit; strides and kernels are computed for it.",
            show_default=False,
        ),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="The new spacing in mm.", show_default=False),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Another network, by its import path. It replaces the parent's, arguments "
            "included; give its own with --set architecture.arch_kwargs.KEY=VALUE.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any value, as JSON; the key may be dotted. Repeatable.",
            show_default=False,
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="CONFIGURATION",
            help="The parent. Default: 3d_fullres, else 2d.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The new configuration's name. Default: the parent's with what is new.",
            show_default=False,
        ),
    ] = None,
    plans: PlansOption = None,
    dataset: DatasetOption = None,
    allow_import: AllowImportOption = None,
    output: PlansOutputOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Add a configuration that inherits from another and changes some of its values.

    Nothing else in the file is touched, and what could not be trained is refused. Example:
    resenc-plans derive --batch-size 16
    """
    from resenc_plans.cli.network_check import network_check
    from resenc_plans.cli.scope import find_plans, output_of
    from resenc_plans.plans.plans import Plans

    options: dict[str, Any] = {}
    if batch_size is not None:
        options["batch_size"] = batch_size
    if spacing is not None:
        options["spacing"] = list(parse_numbers(spacing, float, "--spacing"))
    if patch_size is not None:
        options["patch_size"] = list(parse_numbers(patch_size, int, "--patch-size"))
    if network is not None:
        options[_NETWORK] = network
    settings = _parse_settings(set_ or [])
    _refuse_contradictions(options, settings, gpus=gpus)

    plan = find_plans(plans, dataset)
    before = Plans.from_dict(plan.to_dict(), path=plan.path)
    overrides = {
        "from_": from_,
        "gpus": gpus,
        "keep_topology": "patch_size" in settings,
        **options,
        **settings,
    }
    name = plan.suggest_name(**overrides) if name is None else name
    plan.derive(name, overwrite=overwrite, check_network=network_check(allow_import), **overrides)
    config = plan.resolve(name)
    _note_patch_size(config, options)
    target = output_of(plan, output, overwrite=overwrite)
    written = plan.to_dict()["configurations"][name]
    if dry_run:
        say(f"Would write {name} to {target}:")
        if name in before.configurations:
            print_diff(before.diff(plan, resolved=False))
    else:
        plan.save(target)
        say(f"Wrote {name} to {target}:")
    print_json({name: written})
    _print_price(plan, [written["inherits_from"], name])


def _refuse_contradictions(
    options: dict[str, Any], settings: dict[str, Any], *, gpus: int | None
) -> None:
    if "batch_size" in options and gpus is not None:
        raise UsageError("--batch-size and --gpus both set the batch size: give one of them.")
    taken = {*_NOT_KEYS, *options}
    if gpus is not None:
        taken.add("batch_size")
    whole = {"architecture", _NETWORK} if _NETWORK in options else set()
    for key in settings:
        if key.partition(".")[0] in taken or key in whole:
            raise UsageError(
                f"--set {key}: another option sets this already (the parent is --from). "
                "Give one of them."
            )
    if not options and gpus is None and not settings:
        raise UsageError(
            "Nothing to change: give --batch-size, --gpus, --patch-size, --spacing, --network or "
            "--set."
        )


def _parse_settings(settings: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {setting!r}: write KEY=VALUE, such as batch_dice=true.")
        if key in values:
            raise UsageError(f"--set {key}: given twice. Give it once.")
        try:
            values[key] = parse_json(text, f"--set {key}")
        except FileError:
            if text[:1] in "[{\"'" or not text:
                raise UsageError(f"--set {key}: {shown(text)} is not JSON.") from None
            values[key] = text
    return values


def _print_price(plan: "Plans", names: list[str]) -> None:
    """What the new configuration costs, beside its parent, as far as the dataset is known."""
    from resenc_plans.plans.architectures import OtherArchitecture

    configs = [plan.resolve(name) for name in names]
    labels, cases = _labels_and_cases(plan.header)
    print_configurations(configs, labels, cases)
    if isinstance(configs[-1].architecture, OtherArchitecture):
        say(f"The memory of other networks needs PyTorch: resenc-plans cost {names[-1]}")
    elif labels is None:
        say("No GB: no dataset.json beside the plans says how many labels there are.")


def _labels_and_cases(header: "PlansHeader") -> "tuple[Labels | None, int | None]":
    from resenc_plans.datasets.labels import Labels

    try:
        dataset = header.dataset()
        labels = None if dataset is None else Labels.from_dataset(dataset)
    except ResencPlansError:
        return None, None
    return labels, None if dataset is None else dataset.num_training


def _note_patch_size(config: "ResolvedConfiguration", options: dict[str, Any]) -> None:
    size = numbers(config.patch_size)
    if "patch_size" in options and tuple(options["patch_size"]) != config.patch_size:
        note(
            f"Patch size {numbers(options['patch_size'])} is rounded up to {size}, "
            "which the strides divide."
        )
    elif "spacing" in options and "patch_size" not in options:
        note(f"Patch size {size} and batch size are kept at the new spacing.")
