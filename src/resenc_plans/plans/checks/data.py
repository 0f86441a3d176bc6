"""Whether configurations, preprocessed data and dataset.json belong together."""

from collections.abc import Iterable, Sequence

from resenc_plans.datasets.images.readers import READERS
from resenc_plans.plans.checks.context import CheckContext, Violations
from resenc_plans.plans.configuration import PREPROCESSING_KEYS, PROVENANCE, dataset_share
from resenc_plans.plans.inheritance import INHERITS_FROM, inherit
from resenc_plans.plans.legacy import INTENSITIES, OLD_INTENSITIES, modernize
from resenc_plans.plans.nnunet_parts import (
    CT_NORMALIZATION,
    LABEL_MANAGERS,
    NORMALIZATIONS,
    PREPROCESSORS,
    PURPOSES,
    RESAMPLING_ARGUMENTS,
    argument_faults,
    name_fault,
)
from resenc_plans.plans.nnunet_planners import NNUNET_PLANNERS
from resenc_plans.plans.topology import MIN_BATCH_SIZE
from resenc_plans.reprs import listed
from resenc_plans.words import counted

_CAPPED = NNUNET_PLANNERS["resenc"]
"""The residual-encoder planner whose batch stops at a share of the dataset."""
_BATCH_CAPS = {planner.class_name: planner.batch_cap for planner in NNUNET_PLANNERS.values()}


def identifier_of_parent(context: CheckContext) -> Violations:
    """A child whose preprocessing differs from its parent's must not use its parent's data."""
    written = context.document["configurations"]
    for name in context.resolved:
        parent = written[name].get(INHERITS_FROM)
        if parent is None or "data_identifier" in written[name]:
            continue
        own = modernize(name, inherit(written, name))
        inherited = modernize(parent, inherit(written, parent))
        changed = [key for key in PREPROCESSING_KEYS if own.get(key) != inherited.get(key)]
        if changed:
            yield (
                name,
                "data_identifier",
                f"{_differ(changed)} from {parent}'s, but its preprocessed data "
                f"({own['data_identifier']}) would be used. Give it a data_identifier of its own.",
            )


def shared_identifier(context: CheckContext) -> Violations:
    """Two configurations under one data_identifier have one preprocessing."""
    first: dict[str, str] = {}
    written = context.document["configurations"]
    for name, config in context.resolved.items():
        other = first.setdefault(config.data_identifier, name)
        if other == name or "data_identifier" not in written[name]:
            continue
        differing = [
            key
            for key in PREPROCESSING_KEYS
            if getattr(config, key) != getattr(context.resolved[other], key)
        ]
        if differing:
            yield (
                name,
                "data_identifier",
                f"{config.data_identifier} is {other}'s too, but {_differ(differing)}: "
                "one would train on the other's data.",
            )


def _differ(keys: Sequence[str]) -> str:
    return f"{', '.join(keys)} {'differs' if len(keys) == 1 else 'differ'}"


def channels(context: CheckContext) -> Violations:
    """Per-channel lists are as long as each other and as the dataset's channels."""
    for name, config in context.resolved.items():
        count = len(config.normalization_schemes)
        if len(config.use_mask_for_norm) != count:
            yield (
                name,
                "use_mask_for_norm",
                f"has {counted(len(config.use_mask_for_norm), 'entry', 'entries')}, "
                f"normalization_schemes has {count}.",
            )
        if context.dataset and count != len(context.dataset.channel_names):
            yield (
                name,
                "normalization_schemes",
                f"has {counted(count, 'entry', 'entries')}, dataset.json has "
                f"{counted(len(context.dataset.channel_names), 'channel')}.",
            )


def parts(context: CheckContext) -> Violations:
    """nnU-Net finds readers, preprocessors and what they do by name, and fails when none has it."""
    named: list[tuple[str | None, str, str | None, Iterable[str]]] = [
        (None, "image_reader_writer", context.document.get("image_reader_writer"), READERS),
        (None, "label_manager", context.document.get("label_manager"), LABEL_MANAGERS),
    ]
    for name, config in context.resolved.items():
        named.append((name, "preprocessor_name", config.preprocessor_name, PREPROCESSORS))
        for scheme in dict.fromkeys(config.normalization_schemes):
            named.append((name, "normalization_schemes", scheme, NORMALIZATIONS))
        for purpose in PURPOSES:
            key = f"resampling_fn_{purpose}"
            named.append((name, key, getattr(config, key), RESAMPLING_ARGUMENTS))
    for configuration, key, part, known in named:
        fault = None if part is None else name_fault(part, known)
        if fault is not None:
            yield configuration, key, f"{fault} Nothing is preprocessed or predicted with it."


def resampling_arguments(context: CheckContext) -> Violations:
    """Resampling functions take the arguments that the plans give them."""
    for name, config in context.resolved.items():
        for purpose in PURPOSES:
            yield from ((name, key, fault) for key, fault in argument_faults(config, purpose))


def intensities(context: CheckContext) -> Violations:
    """There are intensity properties for each channel of the dataset, and where they are used."""
    document = context.document
    properties = document.get(INTENSITIES, document.get(OLD_INTENSITIES))
    known = 0 if properties is None else len(properties)
    for name, config in context.resolved.items():
        channels = [
            channel
            for channel, scheme in enumerate(config.normalization_schemes)
            if scheme == CT_NORMALIZATION and channel >= known
        ]
        if channels:
            yield (
                name,
                "normalization_schemes",
                f"{CT_NORMALIZATION} needs {INTENSITIES} of the file, which lacks channel "
                f"{listed(channels)}.",
            )
    if properties is None or not context.dataset:
        return
    count = len(context.dataset.channel_names)
    if known != count:
        yield (
            None,
            INTENSITIES,
            f"has {counted(known, 'channel')}, dataset.json has {count}.",
        )


def small_batch(context: CheckContext) -> Violations:
    """A batch under 2 is suspicious."""
    for name, config in context.resolved.items():
        if config.batch_size < 2:
            yield (
                name,
                "batch_size",
                f"is {config.batch_size}; nnU-Net never plans under 2, with which training is less "
                "stable, and more than one GPU needs at least one sample each.",
            )


def large_batch(context: CheckContext) -> Violations:
    """A batch that somebody chose, beyond the share of the dataset at which a planner stops.

    What the plans' own planner has sized is no finding. Where its preset has no such limit, that
    is the batch of any configuration but those that somebody derived.
    """
    cases = context.dataset.num_training if context.dataset else None
    if not cases:
        return
    planner = str(context.document.get("experiment_planner_used"))
    recorded = context.provenance.get("batch_cap")
    cap = _BATCH_CAPS.get(planner) if recorded is None else recorded
    for name, config in context.resolved.items():
        share = dataset_share(config, cases)
        if share is None or share > 1 or not _is_chosen(context, name, cases, cap):
            continue
        limit = cap if isinstance(cap, float) and cap < 1 else _CAPPED.batch_cap
        if share > limit:
            meant = planner if limit == cap else f"nnU-Net's {_CAPPED.class_name}"
            other = "" if limit == cap else f"; {planner}, which these plans name, does not"
            yield (
                name,
                "batch_size",
                f"is {config.batch_size}, which covers {share:.0%} of the voxels of "
                f"{counted(cases, 'case')}. {meant} stops at {limit:.0%}{other}.",
            )


def _is_chosen(context: CheckContext, name: str, cases: int, cap: object) -> bool:
    """Whether somebody, not a planner, made a configuration's share of the dataset what it is."""
    written, config = context.document["configurations"][name], context.resolved[name]
    share = dataset_share(config, cases) or 0
    parent = context.resolved.get(written.get(INHERITS_FROM))
    if parent is not None:
        chosen = written.keys() & {"batch_size", "patch_size", "spacing"}
        return bool(chosen) and share > (dataset_share(parent, cases) or 0)
    if not isinstance(cap, float) or cap >= 1:
        return False
    planned = max(MIN_BATCH_SIZE, round(cap / share * config.batch_size))
    return config.batch_size > planned + 1


def batch_within_dataset(context: CheckContext) -> Violations:
    """A batch of more voxels than the dataset has, which nnU-Net never plans."""
    cases = context.dataset.num_training if context.dataset else None
    written = context.document["configurations"]
    for name, config in context.resolved.items():
        share = dataset_share(config, cases) if cases else None
        is_own = written[name].keys() & {"batch_size", "patch_size", "spacing"}
        if cases is None or share is None or not is_own:
            continue
        largest = max(MIN_BATCH_SIZE, round(config.batch_size / share))
        if config.batch_size > largest:
            yield (
                name,
                "batch_size",
                f"is {config.batch_size}, which covers {share:.0%} of the voxels of "
                f"{counted(cases, 'case')}: voxels repeat within a batch. nnU-Net plans at most "
                f"{largest}.",
            )


def stale_fingerprint(context: CheckContext) -> Violations:
    """The fingerprint that the plans were made from is still the dataset's."""
    recorded = context.provenance.get("fingerprint_digest")
    now = context.fingerprint_digest
    source = context.provenance.get("dataset")
    target = context.document.get("dataset_name")
    if recorded and now and recorded != now and source not in (None, target):
        yield (
            None,
            PROVENANCE,
            f"these plans were made for {source} and moved to {target}: spacing, sizes and "
            "intensities are those of the former. Plan the dataset anew unless that is intended, "
            "as for fine-tuning.",
        )
    elif recorded and now and recorded != now:
        yield (
            None,
            PROVENANCE,
            "the dataset's fingerprint has changed since these plans were made. Plan the dataset "
            "again, or ignore this if the plans are to stay as they are.",
        )
