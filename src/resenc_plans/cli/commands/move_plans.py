"""The command that takes plans of one dataset to another: move-plans."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import DryRunOption, OverwriteOption
from resenc_plans.cli.render import note, print_commands, print_table, say

if TYPE_CHECKING:
    from resenc_plans.cli.scope import Scope
    from resenc_plans.datasets.dataset_json import DatasetJson
    from resenc_plans.planning.moving import MovedPlans


def move_plans(
    target: Annotated[
        str,
        typer.Option(
            "-t",
            "--target",
            metavar="DATASET",
            help="The dataset that gets the plans, by id, name or path.",
            show_default=False,
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "-s",
            "--source",
            metavar="DATASET",
            help="The plans' own dataset, by id, name or path. Default: the current folder.",
            show_default=False,
        ),
    ] = None,
    plans: Annotated[
        str | None,
        typer.Option(
            "-sp",
            "-p",
            "--plans",
            metavar="PLANS",
            help="Plans by name or path. Default: the only plans of the source.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "-tp",
            "--name",
            metavar="NAME",
            help="The new name, with folders of preprocessed cases of their own. Default: the old.",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Take plans of one dataset to another, for pre-training or a comparison on equal terms.

    Says whether channels, labels and spacings allow it, and what to preprocess.
    Example: resenc-plans move-plans -s 4 -t 7 -p nnUNetResEncUNetLPlans --name LPlansOf4
    """
    from resenc_plans.cli.scope import find_plans, find_scope
    from resenc_plans.datasets.fingerprint import Fingerprint
    from resenc_plans.files import make_folder, part_of_path
    from resenc_plans.planning import moving
    from resenc_plans.planning.replanning import copy_dataset_json, replan, save_plans

    scope = find_scope(target)
    own = find_plans(plans, source)
    fingerprint = Fingerprint.load(scope.fingerprint) if scope.fingerprint.is_file() else None
    moved = moving.move_plans(
        own,
        scope.dataset(),
        name,
        source=own.header.dataset() or _dataset_json(source),
        fingerprint=fingerprint,
        preprocessed=scope.preprocessed,
    )
    path = scope.preprocessed / part_of_path(moved.plans.name, "plans_name", ending=".json")
    for finding in moved.findings:
        if finding.severity != "error":
            note(f"{finding.severity}: {finding.message} [{finding.rule}]")
    moved.refuse_errors()
    if dry_run:
        replanning = replan(path, moved.plans)
        if not replanning.harmless:
            note(replanning.describe())
        say(f"Would write {path} (--dry-run).")
        return
    make_folder(scope.preprocessed)
    if scope.raw is not None:
        copy_dataset_json(scope.raw, scope.preprocessed)
    save_plans(moved.plans, path, overwrite=overwrite)
    say(f"Wrote {path}.")
    _print_stores(moved, scope, target)


def _dataset_json(source: str | None) -> "DatasetJson | None":
    from resenc_plans.cli.scope import find_scope
    from resenc_plans.errors import DatasetError

    try:
        return find_scope(source).dataset().json
    except DatasetError:
        return None


def _print_stores(moved: "MovedPlans", scope: "Scope", target: str) -> None:
    """What must be preprocessed before these plans can be trained."""
    from resenc_plans.files import part_of_path

    rows = []
    for name, identifier in moved.stores.items():
        folder = scope.preprocessed / part_of_path(identifier, "data_identifier")
        rows.append([name, identifier, "exists" if folder.is_dir() else "new"])
    print_table(["to preprocess", "folder", ""], rows)
    print_commands(shlex.join(["resenc-plans", "preprocess", "-d", target, "-p", moved.plans.name]))
