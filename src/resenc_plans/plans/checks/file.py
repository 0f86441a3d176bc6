"""Whether the file is what nnU-Net expects: keys, names, stages, transposes."""

import re

from resenc_plans.files import fault_of_part
from resenc_plans.folders import DATASET_JSON, PLANS_JSON, dataset_id
from resenc_plans.plans.checks.context import CheckContext, Violations
from resenc_plans.plans.checks.keys import CONFIGURATION_KEYS
from resenc_plans.plans.inheritance import INHERITS_FROM, inherit
from resenc_plans.plans.legacy import OLD_INTENSITIES, OLD_KEYS
from resenc_plans.plans.nnunet_planners import NNUNET_PLANNERS

_KEY_FIRST = re.compile(r"(?P<place>(?P<key>\w+)[^ ]*) (?P<what>.+)", re.DOTALL)
"""A fault of one value: `patch_size[0] must be at least 1, not 0`."""


def resolves(context: CheckContext) -> Violations:
    """Inheritance leads to a complete configuration of possible values."""
    for name, reason in context.unresolved.items():
        faults = [_KEY_FIRST.fullmatch(fault) for fault in reason.removesuffix(".").split("; ")]
        if all(fault and fault["key"] in CONFIGURATION_KEYS for fault in faults):
            for fault in filter(None, faults):
                end = "" if fault["what"].endswith("?") else "."
                yield name, fault["place"], f"{fault['what']}{end}"
        else:
            yield name, "", reason


def transposes(context: CheckContext) -> Violations:
    """The two transposes are permutations and undo each other."""
    forward = context.document.get("transpose_forward")
    backward = context.document.get("transpose_backward")
    if forward is None and backward is None:
        return
    if not isinstance(forward, list) or not isinstance(backward, list):
        yield None, "transpose_forward", "transpose_forward and transpose_backward belong together."
        return
    if sorted(forward) != [0, 1, 2]:
        yield None, "transpose_forward", f"{forward} is not an order of the axes 0, 1 and 2."
    elif backward != [forward.index(axis) for axis in range(len(forward))]:
        inverse = [forward.index(axis) for axis in range(len(forward))]
        yield (
            None,
            "transpose_backward",
            f"{backward} does not undo transpose_forward {forward}: predictions would come back "
            f"with their axes mixed up. Use {inverse}.",
        )


def cascade(context: CheckContext) -> Violations:
    """previous_stage and next_stage exist and point at each other."""
    names = context.document["configurations"]
    for name, config in context.resolved.items():
        previous = config.previous_stage
        if previous is not None and previous not in names:
            yield name, "previous_stage", f"{previous!r} does not exist."
        elif previous is not None and not _leads_to(context, previous, name):
            yield (
                name,
                "previous_stage",
                f"{previous} does not name {name} (or what it inherits from) as next_stage, so its "
                "predictions for this stage would never be written.",
            )
        for stage in config.next_stage:
            if stage not in names:
                yield name, "next_stage", f"{stage!r} does not exist."
            elif stage in context.resolved and context.resolved[stage].previous_stage is None:
                yield name, "next_stage", f"{stage} has no previous_stage that points back."


def _leads_to(context: CheckContext, previous: str, name: str) -> bool:
    """Whether `previous` names `name` or one of its ancestors as a next stage, if it resolves."""
    if previous not in context.resolved:
        return True
    written = context.document["configurations"]
    candidate: str | None = name
    while candidate is not None:
        if candidate in context.resolved[previous].next_stage:
            return True
        candidate = written[candidate].get(INHERITS_FROM)
    return False


def old_format(context: CheckContext) -> Violations:
    """Older formats still work; upgrading makes them readable."""
    if OLD_INTENSITIES in context.document:
        yield None, OLD_INTENSITIES, "is an old name; upgrade the plans to rename it."
    written = context.document["configurations"]
    for name in context.resolved:
        old = [key for key in OLD_KEYS if key in written[name]]
        if old and "architecture" not in inherit(written, name):
            yield (
                name,
                old[0],
                "is in the old format, which nnU-Net converts at each run; upgrade the plans to "
                "rewrite it.",
            )


def name_of_file(context: CheckContext) -> Violations:
    """Results are stored under plans_name, whatever the file is called."""
    name, path = context.document.get("plans_name"), context.path
    if path is None or path.suffix != ".json" or path.name in ("plans.json", "nnUNetPlans.json"):
        return
    if name is not None and name != path.stem:
        yield (
            None,
            "plans_name",
            f"is {name}, but the file is called {path.name}: nnU-Net names the results folder "
            f"after plans_name, so results of {name} could be overwritten.",
        )


def dataset_of_folder(context: CheckContext) -> Violations:
    """Results are stored under dataset_name, wherever the plans lie."""
    name, path = context.document.get("dataset_name"), context.path
    if name is None or path is None or path.name == PLANS_JSON:
        return
    folder = path.parent.resolve()
    is_dataset = dataset_id(folder.name) is not None or (folder / DATASET_JSON).is_file()
    if is_dataset and name not in (folder.name, path.absolute().parent.name):
        yield (
            None,
            "dataset_name",
            f"is {name}, but the file is in {folder.name}: results are stored under {name}, where "
            f"those of {folder.name} are not looked for. Write {folder.name}.",
        )


def names_of_paths(context: CheckContext) -> Violations:
    """Files and folders are named after what plans and dataset.json say."""
    names: list[tuple[str | None, str, object]] = [
        (None, key, context.document.get(key)) for key in ("dataset_name", "plans_name")
    ]
    for name, values in context.document["configurations"].items():
        names += [(name, "", name), (name, "data_identifier", values.get("data_identifier"))]
    if context.dataset is not None:
        names.append((None, "dataset.json: file_ending", f"case{context.dataset.file_ending}"))
    for configuration, key, name in names:
        fault = fault_of_part(name) if isinstance(name, str) else None
        if fault is not None:
            yield (
                configuration,
                key,
                f"{fault}, so no file or folder can be named after it, and nothing is written with "
                "these plans. Give it another name.",
            )


def missing_of_file(context: CheckContext) -> Violations:
    """Without these keys nnU-Net cannot run the plans."""
    if not context.document["configurations"]:
        yield None, "configurations", "is empty; there is nothing to run."
    for key in ("dataset_name", "plans_name", "transpose_forward", "image_reader_writer"):
        if key not in context.document:
            yield None, key, "is missing; nnU-Net cannot train or predict with these plans."


def preset_target(context: CheckContext) -> Violations:
    """A preset's plans name promises the preset's memory target."""
    target = context.provenance.get("gpu_memory_gb")
    name = context.document.get("plans_name")
    standard = {p.plans_name: p.gpu_memory_gb for p in NNUNET_PLANNERS.values()}
    if target is not None and name in standard and target != standard[name]:
        yield (
            None,
            "plans_name",
            f"is {name}, which stands for {standard[name]} GB, but these plans are for "
            f"{target} GB. Give them a name of their own, such as nnUNetResEncUNetPlans_{target}G.",
        )
