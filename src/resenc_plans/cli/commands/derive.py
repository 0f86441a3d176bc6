"""Commands that change or compare plans files: derive, diff, upgrade."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.commands.diff import print_diff
from resenc_plans.cli.options import (
    DatasetOption,
    DryRunOption,
    OutputOption,
    OverwriteOption,
    PlansOption,
    parse_numbers,
)
from resenc_plans.cli.render import (
    note,
    numbers,
    print_json,
    say,
)
from resenc_plans.errors import ConfigurationError, PlansError, ResencPlansError

if TYPE_CHECKING:
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.plans.plans import Plans


def derive(
    batch_size: Annotated[
        int | None, typer.Option(help="The new batch size, over all GPUs.", show_default=False)
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="Multiply the parent's batch size by this.", show_default=False),
    ] = None,
    patch_size: Annotated[
        str | None,
        typer.Option(
            metavar="ZxYxX",
            help="The new patch size; the topology is computed anew, sizes are rounded up to fit.",
            show_default=False,
        ),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="The new spacing in mm.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any value, as JSON; the key may be dotted. May be given several times.",
            show_default=False,
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="The parent. Without it: 3d_fullres, or 2d.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="The new configuration's name. Without it: from the change.", show_default=False
        ),
    ] = None,
    plans: PlansOption = None,
    dataset: DatasetOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Add a configuration that inherits from another and changes some of its values.

    Nothing else in the file is touched. Example: resenc-plans derive --batch-size 16
    """
    from resenc_plans.cli.scope import find_plans
    from resenc_plans.plans.plans import Plans

    plan = find_plans(plans, dataset)
    parent = from_ or _default_parent(plan)
    config = plan.resolve(parent)
    overrides: dict[str, Any] = {}
    suffixes = []
    if batch_size is not None and gpus is not None:
        raise ResencPlansError("--batch-size and --gpus both set the batch size: give one of them.")
    if gpus is not None:
        batch_size = config.batch_size * gpus
    if batch_size is not None:
        overrides["batch_size"] = batch_size
        suffixes.append(f"bs{batch_size}")
    if spacing is not None:
        values = parse_numbers(spacing, float, "--spacing")
        overrides["spacing"] = list(values)
        suffixes.append("sp" + numbers(values))
    if patch_size is not None:
        size = parse_numbers(patch_size, int, "--patch-size")
        changes = _for_patch_size(config, size, overrides.get("spacing"))
        overrides.update(changes)
        suffixes.append("ps" + numbers(changes["patch_size"]))
    settings = _parse_settings(set_ or [])
    for key in settings:
        if key.partition(".")[0] in {*overrides, "inherits_from"}:
            raise ResencPlansError(
                f"--set {key}: another option sets this already (the parent is --from). "
                "Give one of them."
            )
    overrides.update(settings)
    if not overrides:
        raise ResencPlansError(
            "Nothing to change: give --batch-size, --gpus, --patch-size, --spacing or --set."
        )
    if name is None:
        if not suffixes:
            raise ResencPlansError("--set alone does not suggest a name: give --name.")
        name = "_".join([parent, *suffixes])

    before = Plans.from_dict(plan.to_dict(), path=plan.path)
    plan.derive(name, from_=parent, overwrite=overwrite, **overrides)
    _note_consequences(before, plan, name)
    if spacing is not None and patch_size is None:
        note(f"Patch size {numbers(config.patch_size)} and batch size are kept at the new spacing.")
    child = plan.to_dict()["configurations"][name]
    target = output_of(plan, output, overwrite=overwrite)
    if dry_run:
        say(f"Would write to {target}:")
        print_diff(before.diff(plan, resolved=False))
    else:
        plan.save(target)
        say(f"Wrote {name} to {target}:")
    print_json({name: child})


def output_of(plan: "Plans", output: Path | None, *, overwrite: bool) -> Path:
    """Where changed plans go: their own file, or a new one; a folder gets a file of their name."""
    source = plan.path or Path(f"{plan.name}.json")
    if output is None:
        return source
    target = output / source.name if output.is_dir() else output
    if target.suffix != ".json":
        raise ResencPlansError(f"--output {output}: plans are a file that ends in .json.")
    if target.exists() and not overwrite and not target.samefile(source):
        raise ResencPlansError(
            f"{target} exists already. Choose another --output, or replace it with --overwrite."
        )
    return target


def _default_parent(plan: "Plans") -> str:
    for name in ("3d_fullres", "2d", *plan.configurations):
        if name in plan.configurations:
            return name
    raise PlansError(f"{plan.source}: has no configurations.")


def _for_patch_size(
    config: "ResolvedConfiguration", size: tuple[float, ...], spacing: list[float] | None
) -> dict[str, Any]:
    from resenc_plans.plans.topology import overrides_for_patch_size

    patch = tuple(int(value) for value in size)
    changes = overrides_for_patch_size(config, patch, tuple(spacing) if spacing else None)
    if tuple(changes["patch_size"]) != patch:
        note(
            f"Patch size {numbers(patch)} is rounded up to {numbers(changes['patch_size'])}, "
            "which the strides divide."
        )
    return changes


def _parse_settings(settings: list[str]) -> dict[str, Any]:
    import json

    found = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise ResencPlansError(f"--set {setting!r}: write KEY=VALUE, such as batch_dice=true.")
        if key in found:
            raise ResencPlansError(f"--set {key}: given twice. Give it once.")
        try:
            found[key] = json.loads(text)
        except json.JSONDecodeError:
            if text[:1] in "[{\"'" or not text:
                raise ResencPlansError(f"--set {key}: {text!r} is not JSON.") from None
            found[key] = text
    return found


def _note_consequences(before: "Plans", after: "Plans", name: str) -> None:
    """Warn of what the rules find in the new configuration that was not there before."""
    known = set(before.validate_rules())
    new = [f for f in after.validate_rules() if f.configuration == name and f not in known]
    for finding in new:
        text = f"{name}: {finding.key} {finding.message} [{finding.rule}]"
        if finding.severity == "error":
            raise ConfigurationError(f"{after.source}: {text}")
        if finding.severity == "warning":
            note(f"Warning: {text}")
