"""Plans of one dataset for another, to pre-train there or to compare on equal terms.

The document is what nnU-Net's `move_plans_between_datasets` writes. What nnU-Net does not look at
is checked here: whether channels, labels and spacings of the datasets allow it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.finding import Finding, worst_first
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import FileError, PlanningError, PlansError
from resenc_plans.planning.configuration import normalization_schemes
from resenc_plans.planning.spacing import axis_order, target_spacing
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans, plans_files
from resenc_plans.reprs import listed, numbers
from resenc_plans.words import counted

MAX_SCALING = 2
"""A moved spacing that is more than this many times as fine or as coarse is told."""

_MAX_NAMES = 5


@dataclass(frozen=True)
class MovedPlans:
    """Plans as they would be written for another dataset.

    Attributes
    ----------
    plans
        The moved plans.
    findings
        What the datasets differ in; errors are what keeps the plans from being used.
    stores
        The folder of preprocessed cases that each configuration needs, by its name.
    """

    plans: Plans
    findings: tuple[Finding, ...]
    stores: Mapping[str, str]

    def refuse_errors(self) -> None:
        """Stop where the plans could not be used.

        Raises
        ------
        PlanningError
            There is an error among the findings.
        """
        errors = [finding for finding in self.findings if finding.severity == "error"]
        if errors:
            reasons = "\n".join(f"  {finding.message} [{finding.rule}]" for finding in errors)
            raise PlanningError(f"These plans do not fit the dataset.\n{reasons}")


def move_plans(
    plans: Plans,
    target: Dataset,
    name: str | None = None,
    *,
    source: DatasetJson | None = None,
    fingerprint: Fingerprint | None = None,
    preprocessed: Path | None = None,
) -> MovedPlans:
    """Make plans of another dataset those of `target`.

    Parameters
    ----------
    plans
        The plans to move, which are not changed.
    target
        The dataset that gets them.
    name
        Their new name, of which the folders of preprocessed cases get new names too; by default
        both are kept.
    source
        The dataset.json of the plans' own dataset, with which channels and labels are compared.
    fingerprint
        That of `target`, with which spacings are compared.
    preprocessed
        The folder of the target's plans, where folders of preprocessed cases may exist.

    Raises
    ------
    DatasetError
        The labels of a dataset contradict each other.
    """
    document = plans.to_dict()
    old = plans.name if plans.path is None else plans.path.stem
    new = old if name is None else name
    if new != old:
        for configuration in document["configurations"].values():
            if "data_identifier" in configuration:
                configuration["data_identifier"] = _moved_identifier(
                    configuration["data_identifier"], old, new
                )
    document |= {
        "dataset_name": target.name,
        "image_reader_writer": target.reader_name,
        "plans_name": new,
    }
    moved = Plans.from_dict(document, f"{new}.json")
    configs = list(_resolved(moved))
    stores = {config.name: config.data_identifier for config in configs}
    findings = [
        *_channel_findings(configs, source, target.json),
        *_label_findings(source, target),
        *_reader_findings(plans, moved),
        *_spacing_findings(moved, configs, fingerprint),
        *_store_findings(new, stores, preprocessed),
    ]
    return MovedPlans(moved, worst_first(findings), stores)


def _moved_identifier(identifier: str, old: str, new: str) -> str:
    is_named_after = identifier.startswith(old)
    return new + identifier[len(old) :] if is_named_after else f"{new}_{identifier}"


def _resolved(plans: Plans) -> Iterator[ResolvedConfiguration]:
    for name in plans.configurations:
        try:
            yield plans.resolve(name)
        except PlansError:
            continue


def _channel_findings(
    configs: list[ResolvedConfiguration], source: DatasetJson | None, target: DatasetJson
) -> Iterator[Finding]:
    planned = {len(config.normalization_schemes) for config in configs}
    if planned - {len(target.channels)}:
        *others, most = sorted(planned)
        numbers_of_channels = (*map(str, others), counted(most, "channel"))
        yield Finding(
            "channels",
            "error",
            f"The plans are for {' or '.join(numbers_of_channels)}, the dataset has "
            f"{len(target.channels)}: {listed(target.channels, _MAX_NAMES)}.",
        )
        return
    if source is not None and source.channels != target.channels:
        yield Finding(
            "channel-names",
            "warning",
            f"The plans' dataset has the channels {listed(source.channels, _MAX_NAMES)}, this one "
            f"{listed(target.channels, _MAX_NAMES)}; they are taken in this order.",
        )
    usual = normalization_schemes(target)
    for schemes in sorted({config.normalization_schemes for config in configs} - {usual}):
        yield Finding(
            "normalization",
            "warning",
            f"The plans normalise by {', '.join(schemes)}; plans of this dataset would by "
            f"{', '.join(usual)}.",
        )
    if any("CTNormalization" in config.normalization_schemes for config in configs):
        yield Finding(
            "intensities",
            "note",
            "CTNormalization takes the intensities of the plans' own dataset, as pre-training "
            "needs.",
        )


def _label_findings(source: DatasetJson | None, target: Dataset) -> Iterator[Finding]:
    labels = target.labels
    if source is None or dict(source.labels) == dict(target.json.labels):
        return
    before = Labels.from_dataset(source)
    if before.num_heads == labels.num_heads:
        what = f"as many outputs ({labels.num_heads}), but other labels"
        effect = "A trained model's outputs mean other labels here"
    else:
        what = f"{counted(labels.num_heads, 'output')} instead of {before.num_heads}"
        effect = "The output layers of a trained model do not fit; all its other layers do"
    yield Finding(
        "labels",
        "warning",
        f"The network has {what}: {_label_list(target.json)} instead of {_label_list(source)}. "
        f"{effect}.",
    )


def _label_list(dataset: DatasetJson) -> str:
    return listed((f"{name} {value}" for name, value in dataset.labels.items()), _MAX_NAMES)


def _reader_findings(plans: Plans, moved: Plans) -> Iterator[Finding]:
    before, after = plans.header.image_reader_writer, moved.header.image_reader_writer
    if before != after:
        yield Finding("reader", "note", f"Images are read by {after} instead of {before}.")


def _spacing_findings(
    plans: Plans, configs: list[ResolvedConfiguration], fingerprint: Fingerprint | None
) -> Iterator[Finding]:
    if fingerprint is None:
        yield Finding(
            "no-fingerprint",
            "note",
            "The dataset has no fingerprint, so spacings and sizes were not compared. Extract it.",
        )
        return
    has_slices = all(shape[0] == 1 for shape in fingerprint.shapes_after_crop)
    own = target_spacing(fingerprint).tolist()
    forward = plans.header.transpose_forward
    own_order = tuple(axis_order(own)[0])
    if own_order != tuple(forward):
        yield Finding(
            "axes",
            "warning",
            f"The plans put the axes in the order {numbers(forward)}; plans of this dataset would "
            f"take {numbers(own_order)}, the coarsest first.",
        )
    in_order = [own[axis] for axis in forward]
    for config in configs:
        if has_slices and len(config.spacing) == 3:
            yield Finding(
                "slices",
                "error",
                f"{config.name} is for volumes, but the images have one slice. Keep 2d only.",
                configuration=config.name,
            )
            continue
        usual = in_order[len(in_order) - len(config.spacing) :]
        scaling = [new / old for new, old in zip(config.spacing, usual, strict=True)]
        if config.previous_stage is None and not config.next_stage and _is_far(scaling):
            yield Finding(
                "spacing",
                "warning",
                f"{config.name} resamples to {numbers(config.spacing)} mm; plans of this dataset "
                f"would to {numbers([round(value, 3) for value in usual])} mm.",
                configuration=config.name,
            )


def _is_far(scaling: list[float]) -> bool:
    return any(not 1 / MAX_SCALING <= factor <= MAX_SCALING for factor in scaling)


def _store_findings(
    name: str, stores: Mapping[str, str], preprocessed: Path | None
) -> Iterator[Finding]:
    if preprocessed is None:
        return
    for identifier in dict.fromkeys(stores.values()):
        users = [
            other.name
            for other in _other_plans(name, preprocessed)
            if identifier in (config.data_identifier for config in _resolved(other))
        ]
        if users:
            yield Finding(
                "shared-data",
                "warning",
                f"{identifier} is where {listed(users, _MAX_NAMES)} of this dataset has its "
                "preprocessed cases: preprocess again before each change between them, or give "
                "the moved plans a name of their own (`name=`).",
            )


def _other_plans(name: str, folder: Path) -> Iterator[Plans]:
    for file in plans_files(folder):
        if file.stem != name:
            try:
                yield Plans.load(file)
            except (FileError, PlansError):
                continue
