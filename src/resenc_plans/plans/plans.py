"""`Plans`: a plans file in memory, lossless, with typed views of what it holds."""

import logging
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.document_kind import PLANS, PLANS_OF_NNUNET_1, kind_of
from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.fingerprint import Fingerprint, IntensityProperties
from resenc_plans.datasets.model_faults import fault_texts, sentences
from resenc_plans.errors import ConfigurationError, DatasetError, FileError, PlansError
from resenc_plans.files import MAX_JSON_BYTES, read_bytes, read_json, write_json
from resenc_plans.folders import DATASET_JSON, FINGERPRINT_JSON, SPLITS_JSON
from resenc_plans.plans.bounds import number_faults
from resenc_plans.plans.configuration import (
    Configuration,
    PlansDocument,
    ResolvedConfiguration,
)
from resenc_plans.plans.frozen import FrozenDict
from resenc_plans.plans.header import PlansHeader
from resenc_plans.plans.inheritance import INHERITS_FROM, inherit
from resenc_plans.plans.legacy import (
    INTENSITIES,
    OLD_INTENSITIES,
    Upgrade,
    modernize,
    upgrade_document,
)
from resenc_plans.reprs import card, numbers
from resenc_plans.words import nearest

if TYPE_CHECKING:
    from resenc_plans.plans.checks.context import CheckNetwork
    from resenc_plans.plans.diff import PlansDiff

logger = logging.getLogger(__name__)

_MANY = 3
"""Values that are missing, from which on a configuration is taken for one that inherits them."""


class Plans:
    """A plans file: the JSON document as read, and typed views of it.

    The document is the truth: `save` writes it with its key order, unknown keys and numbers as
    they were. `derive` and `upgrade` edit it; everything else leaves it alone.

    >>> plan = Plans.from_dict({"configurations": {"2d": {"batch_size": 12}}})
    >>> plan.configurations["2d"].batch_size
    12
    """

    def __init__(
        self, document: dict[str, Any], source: str = "plans", path: Path | None = None
    ) -> None:
        source = source if path is None else str(path)
        self._document = document
        self._view = _typed(document, source)
        self._header = _header(document, self._view, source, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a plans file.

        Raises
        ------
        FileError
            The file cannot be read or is not JSON.
        PlansError
            It is JSON of another kind, or has values of a wrong type; every place is named.
        """
        return cls(read_json(path), path=Path(path))

    @classmethod
    def from_dict(
        cls, document: Mapping[str, Any], source: str = "plans", *, path: Path | None = None
    ) -> Self:
        """Plans from a parsed JSON object, which is copied.

        `path` is the file that it was parsed from; without one, `source` names it in messages.
        """
        return cls(deepcopy(dict(document)), source, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the document as nnU-Net formats it, whole or not at all; `path` becomes its file.

        Where `path` is a symbolic link, the plans behind it are replaced.

        Raises
        ------
        FileError
            The file cannot be written; an existing one is unchanged.
        """
        write_json(path, self._document, follow_links=True)
        self._header = _header(self._document, self._view, str(path), Path(path))

    def to_dict(self) -> dict[str, Any]:
        """The document, as a copy."""
        return deepcopy(self._document)

    @property
    def header(self) -> PlansHeader:
        """What the file says for all of its configurations, frozen as it is now."""
        return self._header

    @property
    def name(self) -> str:
        """`plans_name`, or the file's stem where the file does not say."""
        return self._header.name

    @property
    def source(self) -> str:
        """What messages call the plans: their file, if they have one."""
        return self._header.source

    @property
    def path(self) -> Path | None:
        """The file that they were loaded from or saved to last; None before either."""
        return self._header.path

    @property
    def folder(self) -> Path:
        """The folder of their file, where the dataset's stored cases lie too.

        Raises
        ------
        PlansError
            They were neither loaded from a file nor saved.
        """
        return self._header.folder

    @property
    def document(self) -> PlansDocument:
        """The typed view of the whole file."""
        return self._view

    @property
    def configurations(self) -> Mapping[str, Configuration]:
        """The configurations as written, by name, in file order."""
        return MappingProxyType(self._view.configurations)

    @property
    def intensity_properties(self) -> tuple[IntensityProperties, ...]:
        """Foreground intensity statistics, one per channel; the old key's name counts too.

        Raises
        ------
        PlansError
            The file has none, or a key is not a channel number.
        """
        return self._header.intensity_properties

    def resolve(self, name: str) -> ResolvedConfiguration:
        """The configuration `name` with inheritance applied, in the current format.

        Raises
        ------
        InheritanceError
            `name` or an ancestor does not exist, or they form a circle.
        ConfigurationError
            A value is missing or impossible; all of them are named.
        """
        try:
            values = modernize(name, inherit(self._document["configurations"], name))
        except PlansError as error:
            raise type(error)(f"{self.source}: {error}{self._why_absent(name)}") from None
        try:
            config = ResolvedConfiguration.model_validate({**values, "name": name})
        except ValidationError as error:
            faults = self._without_parent(name, error) or f"{'; '.join(sentences(error))}."
            raise ConfigurationError(f"{self.source}: {name}: {faults}") from None
        silly = "; ".join(number_faults(config, self._header))
        if silly:
            raise ConfigurationError(f"{self.source}: {name}: {silly}.")
        config._plans = self._header
        config._document = values
        return config

    def derive(
        self,
        name: str | None = None,
        *,
        from_: str | None = None,
        gpus: int | None = None,
        keep_topology: bool = False,
        overwrite: bool = False,
        check_network: "CheckNetwork | None" = None,
        **overrides: Any,
    ) -> Self:
        """Add a configuration that inherits from another and overrides some of its values.

        The child gets the whole value of each key that is overridden, since inheritance replaces
        whole values. Where an override changes preprocessing, the child gets a `data_identifier`
        of its own, and with a new spacing the median image size at it. A network of another class
        replaces the parent's: none of the parent's arguments are kept.

        The child is checked by the rules of `validate`: an error is raised, warnings are logged.
        The dataset.json beside the plans' file, if there is one, counts too.

        Returns the plans themselves, edited; what was resolved before stays as it is.

        Parameters
        ----------
        name
            The new configuration's name; by default the parent's and what is new: batch size,
            spacing (mm), patch size (voxels), as in `3d_fullres_bs16_ps96x96x96`.
        from_
            The parent; by default 3d_fullres, else 2d, else the first configuration.
        gpus
            Multiplies the parent's batch size, instead of `batch_size`.
        keep_topology
            Whether the network keeps its strides and kernel sizes with a new `patch_size`. By
            default they are computed for it and for the spacing, and the patch size is rounded up
            to what the strides divide.
        overwrite
            Whether a configuration of that name is replaced.
        check_network
            Builds the network where it is none of nnU-Net's U-Nets, which takes torch (see
            `networks.check.check_network`). Without it, only what is known of its patch is checked.
        overrides
            Values by key. A key may be dotted (`**{"architecture.arch_kwargs.n_stages": 5}`), and
            a mapping is merged into what is inherited.

        >>> plan = Plans.load(path)  # doctest: +SKIP
        >>> plan.derive("3d_fullres_bs16", from_="3d_fullres", batch_size=16)  # doctest: +SKIP
        >>> plan.derive(batch_size=16)  # doctest: +SKIP

        Raises
        ------
        PlansError
            The name is taken (unless `overwrite`) or unusable, or the result does not resolve or
            cannot be trained; the plans are as before.
        UsageError
            Nothing is overridden, both `gpus` and `batch_size` are given, or the overrides do not
            suggest a name.
        """
        from resenc_plans.plans import derivation

        parent = self.resolve(from_ or derivation.default_parent(self._header))
        changes = derivation.complete_overrides(
            parent, overrides, gpus=gpus, keep_topology=keep_topology
        )
        name = derivation.derived_name(parent, changes) if name is None else name
        document = self.to_dict()
        document["configurations"][name] = derivation.derived_configuration(
            parent, name, changes, overwrite=overwrite
        )
        edited = type(self)(document, self.source, self.path)
        edited.resolve(name)
        for finding in edited.new_findings(
            self, name, self._dataset(), check_network=check_network
        ):
            if finding.severity == "error":
                raise ConfigurationError(f"{self.source}: {finding.line}")
            if finding.severity == "warning":
                logger.warning("%s", finding.line)
        self._become(edited)
        return self

    def suggest_name(
        self,
        *,
        from_: str | None = None,
        gpus: int | None = None,
        keep_topology: bool = False,
        **overrides: Any,
    ) -> str:
        """The name that `derive` gives to a configuration if it is called without one.

        Raises
        ------
        PlansError, UsageError
            As in `derive`.
        """
        from resenc_plans.plans.derivation import complete_overrides, default_parent, derived_name

        parent = self.resolve(from_ or default_parent(self._header))
        changes = complete_overrides(parent, overrides, gpus=gpus, keep_topology=keep_topology)
        return derived_name(parent, changes)

    def diff(self, other: "Plans", *, resolved: bool = True) -> "PlansDiff":
        """What differs in `other`, and what each difference costs (see `plans.diff`).

        With `resolved`, configurations are compared as they run, so that a child shows what it
        gets from a parent that changed; otherwise as they are written. A configuration that does
        not resolve is compared as written.
        """
        from resenc_plans.plans.diff import compare

        if resolved:
            return compare(self._as_it_runs(), other._as_it_runs())
        return compare(self._document, other._document)

    def validate_rules(
        self,
        dataset: Dataset | DatasetJson | None = None,
        *,
        fingerprint: Fingerprint | None = None,
        check_network: "CheckNetwork | None" = None,
    ) -> tuple[Finding, ...]:
        """Every finding of the checks beyond types, worst first (see `plans.checks.rules`).

        With `dataset`, channels and batch sizes are checked against it too; with `fingerprint`,
        whether it is the one that the plans were made from; with `check_network`, which needs
        torch, whether networks other than nnU-Net's U-Nets can be built (see
        `networks.check.check_network`).
        """
        from resenc_plans.plans.checks.context import CheckContext
        from resenc_plans.plans.checks.rules import check_rules

        resolutions = self._resolutions()
        return check_rules(
            CheckContext(
                document=self._document,
                path=self.path,
                resolved={
                    name: config
                    for name, config in resolutions.items()
                    if isinstance(config, ResolvedConfiguration)
                },
                unresolved={
                    name: str(error).removeprefix(f"{self.source}: ").removeprefix(f"{name}: ")
                    for name, error in resolutions.items()
                    if isinstance(error, PlansError)
                },
                dataset=dataset.json if isinstance(dataset, Dataset) else dataset,
                fingerprint_digest=fingerprint.digest() if fingerprint else None,
                check_network=check_network,
            )
        )

    def new_findings(
        self,
        before: "Plans",
        configuration: str,
        dataset: DatasetJson | None = None,
        *,
        check_network: "CheckNetwork | None" = None,
    ) -> tuple[Finding, ...]:
        """What the checks find in a configuration that they did not find in `before`."""

        def check_new(config: ResolvedConfiguration, channels: int, heads: int) -> None:
            if check_network is not None and config.name == configuration:
                check_network(config, channels, heads)

        known = set(before.validate_rules(dataset))
        found = self.validate_rules(dataset, check_network=check_new if check_network else None)
        return tuple(
            finding
            for finding in found
            if finding.configuration == configuration and finding not in known
        )

    def upgrade(self) -> Upgrade:
        """Rewrite older formats to the current one, in place (see `plans.legacy`)."""
        document = self.to_dict()
        report = upgrade_document(document)
        self._become(type(self)(document, self.source, self.path))
        return report

    def _dataset(self) -> DatasetJson | None:
        """The dataset.json beside the plans, where there is one that can be used."""
        try:
            return self._header.dataset()
        except (DatasetError, FileError):
            return None

    def _without_parent(self, name: str, error: ValidationError) -> str | None:
        """What is wrong with a configuration that lacks most values and inherits none."""
        written = self._document["configurations"][name]
        missing = [key for key, text in fault_texts(error).items() if text == "is missing"]
        others = [other for other in ("3d_fullres", *self.configurations) if other != name]
        parent = next((other for other in others if other in self.configurations), None)
        if len(missing) < _MANY or INHERITS_FROM in written or parent is None:
            return None
        slip = nearest(INHERITS_FROM, written)
        remedy = f"Write it in place of {slip}" if slip else "Name the configuration with them"
        return (
            f"{INHERITS_FROM} is missing, and so are {len(missing)} values, such as "
            f'{", ".join(missing[:3])}. {remedy}, as in "{INHERITS_FROM}": "{parent}".'
        )

    def _why_absent(self, name: str) -> str:
        """What is known of why the planner left out a configuration, as one more sentence."""
        from resenc_plans.plans.topology import why_no_lowres

        usual = ("3d_lowres", "3d_cascade_fullres")
        if (
            name not in usual
            or name in self.configurations
            or "3d_fullres" not in self.configurations
        ):
            return ""
        try:
            return f" {why_no_lowres(self.resolve('3d_fullres'))}"
        except PlansError:
            return ""

    def _resolutions(self) -> dict[str, ResolvedConfiguration | PlansError]:
        """Each configuration as it runs, or why it does not resolve."""
        resolutions: dict[str, ResolvedConfiguration | PlansError] = {}
        for name in self.configurations:
            try:
                resolutions[name] = self.resolve(name)
            except PlansError as error:
                resolutions[name] = error
        return resolutions

    def _as_it_runs(self) -> dict[str, Any]:
        """The document with each configuration resolved, where it resolves."""
        written = self._document["configurations"]
        return {
            **self._document,
            "configurations": {
                name: written[name] if isinstance(config, PlansError) else config.to_dict()
                for name, config in self._resolutions().items()
            },
        }

    def _become(self, edited: Self) -> None:
        """Take over what `edited` holds; what was resolved before keeps what it has."""
        self._document, self._view, self._header = (
            edited._document,
            edited._view,
            edited._header,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plans) and self._document == other._document

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        document = self.document
        return card(
            f"Plans {self.name}",
            {
                "file": self.path,
                "dataset": document.dataset_name,
                "planner": document.experiment_planner_used,
                **{name: _summary(config) for name, config in self.configurations.items()},
            },
        )


def plans_files(folder: Path) -> list[Path]:
    """The plans files in a folder, by name; other JSON files are passed over.

    A file that cannot be read counts if its name or its text says that plans are meant, so that a
    slip made in an editor is told and never lets other plans be taken instead.
    """
    if not folder.is_dir():
        return []
    others = (DATASET_JSON, FINGERPRINT_JSON, SPLITS_JSON)
    paths = (path for path in folder.glob("*.json") if path.name not in others and path.is_file())
    return sorted(path for path in paths if _is_plans_file(path))


def _is_plans_file(path: Path) -> bool:
    try:
        return kind_of(read_json(path)) == PLANS
    except FileError:
        return "plans" in path.stem.lower() or _mentions_plans(path)


def _mentions_plans(path: Path) -> bool:
    try:
        content = read_bytes(path, MAX_JSON_BYTES)
    except FileError:
        return False
    return any(key in content for key in (b"configurations", b"plans_name"))


def _summary(config: Configuration) -> str:
    """A configuration as written, in a line."""
    parts = [f"inherits from {config.inherits_from}"] if config.inherits_from else []
    if config.patch_size:
        parts.append(f"patch {numbers(config.patch_size)}")
    if config.batch_size:
        parts.append(f"batch {config.batch_size}")
    return ", ".join(parts) or "nothing"


def _header(
    document: dict[str, Any], view: PlansDocument, source: str, path: Path | None
) -> PlansHeader:
    intensities = document.get(INTENSITIES)
    if intensities is None:
        intensities = document.get(OLD_INTENSITIES)
    return PlansHeader(
        name=view.plans_name or Path(source).stem,
        dataset_name=view.dataset_name,
        image_reader_writer=view.image_reader_writer,
        label_manager=view.label_manager,
        transpose_forward=view.transpose_forward or (0, 1, 2),
        original_median_shape_after_transp=view.original_median_shape_after_transp,
        intensities=None if intensities is None else FrozenDict(intensities),
        source=source,
        path=path,
        _document=document,
    )


def _typed(document: Any, source: str) -> PlansDocument:
    """The typed view of a document; the old name of the intensity statistics counts too."""
    if not isinstance(document, dict) or not isinstance(document.get("configurations"), dict):
        raise PlansError(
            f"{source}: is not a plans file (no object 'configurations'). {_kind(document)}"
        )
    if OLD_INTENSITIES in document and document.get(INTENSITIES) is None:
        document = {**document, INTENSITIES: document[OLD_INTENSITIES]}
    try:
        return PlansDocument.model_validate(document)
    except ValidationError as error:
        faults = sentences(error)
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise PlansError(f"{source}: {'; '.join(faults[:5])}{more}.") from None


def _kind(document: Any) -> str:
    """What a JSON document that is not a plans file seems to be."""
    kind = kind_of(document)
    if kind == PLANS_OF_NNUNET_1:
        return "It looks like plans of nnU-Net 1, which have to be planned again."
    if kind not in (None, PLANS):
        return f"It looks like a {kind}."
    return "Give the path of a file that a planner wrote, such as nnUNetResEncUNetLPlans.json."
