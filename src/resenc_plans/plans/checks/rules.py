"""The rules beyond types: what a plans file may say, but should not.

A rule's id is stable: reviews and hooks refer to it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from resenc_plans.datasets.finding import Finding, Severity, worst_first
from resenc_plans.plans.checks import data, file, keys, network
from resenc_plans.plans.checks.context import CheckContext, Violations


@dataclass(frozen=True)
class Rule:
    """A rule: its id, how bad a violation is, what it says in one line, and its check."""

    id: str
    severity: Severity
    title: str
    check: Callable[[CheckContext], Violations]


RULES: tuple[Rule, ...] = (
    Rule("P001", "error", "every configuration resolves", file.resolves),
    Rule("P002", "error", "the strides divide the patch size", network.patch_divisible),
    Rule("P003", "error", "lists have one entry per stage and axis", network.stage_lengths),
    Rule("P004", "error", "dimensions agree", network.dimensions),
    Rule("P005", "error", "transpose_backward undoes transpose_forward", file.transposes),
    Rule("P006", "error", "cascade stages exist and point at each other", file.cascade),
    Rule("P007", "error", "changed preprocessing has its own data", data.identifier_of_parent),
    Rule("P008", "error", "a data_identifier stands for one preprocessing", data.shared_identifier),
    Rule("P009", "error", "per-channel lists agree with the channels", data.channels),
    Rule("P010", "error", "intensity properties agree with the channels", data.intensities),
    Rule("P011", "error", "operators work on the patch's axes", network.operators),
    Rule("P012", "error", "a network has a decoder", network.single_stage),
    Rule("P013", "error", "names can name files and folders", file.names_of_paths),
    Rule("P014", "error", "the network can be built and takes the patch", network.buildable),
    Rule("P015", "error", "resampling functions take their arguments", data.resampling_arguments),
    Rule("P101", "warning", "an unknown key is close to a known one", keys.unknown_keys),
    Rule("P102", "warning", "the bottleneck keeps 4 voxels", network.bottleneck_edge),
    Rule("P103", "warning", "a batch has at least 2 samples", data.small_batch),
    Rule("P104", "warning", "the file's name is its plans_name", file.name_of_file),
    Rule("P105", "warning", "the file says what nnU-Net needs", file.missing_of_file),
    Rule("P106", "warning", "a preset's plans name stands for its target", file.preset_target),
    Rule("P107", "warning", "the fingerprint is the one planned from", data.stale_fingerprint),
    Rule("P108", "warning", "an architecture has no other keys", network.architecture_keys),
    Rule("P109", "warning", "readers and preprocessors are nnU-Net's", data.parts),
    Rule(
        "P110", "warning", "the patch is at most twice the median image", network.patch_within_image
    ),
    Rule("P111", "warning", "a batch is not larger than the dataset", data.batch_within_dataset),
    Rule("P112", "warning", "the file is in its dataset's folder", file.dataset_of_folder),
    Rule("P113", "warning", "every key has an effect where it stands", keys.misplaced_keys),
    Rule("P114", "warning", "nnU-Net imports the layers that are named", network.imported_classes),
    Rule("P201", "note", "a batch is no larger a share than planners take", data.large_batch),
    Rule("P202", "note", "every key is one that nnU-Net reads", keys.extra_keys),
    Rule("P203", "note", "the format is the current one", file.old_format),
)


def check_rules(context: CheckContext) -> tuple[Finding, ...]:
    """All findings of all rules, worst first."""
    return worst_first(
        Finding(rule.id, rule.severity, message, configuration, key)
        for rule in RULES
        for configuration, key, message in rule.check(context)
    )
