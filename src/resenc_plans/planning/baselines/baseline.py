"""`Baseline`: a published system as a recipe, and the plans that it makes for a dataset."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import prod
from typing import Any, Literal

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.errors import PlanningError, shown
from resenc_plans.planning.baselines.networks import NetworkRecipe, planned_unet
from resenc_plans.planning.baselines.sizes import Sizes, SizesRecipe
from resenc_plans.planning.fitting import planned_network
from resenc_plans.planning.planner import (
    PlanningResult,
    plan_dataset,
    planning_input,
    refuse_errors,
)
from resenc_plans.planning.presets import find_preset, presets
from resenc_plans.planning.published import PublishedResult, published_results
from resenc_plans.planning.settings import PlanningSettings
from resenc_plans.planning.spacing import axis_order, resampled_median_shape, target_spacing
from resenc_plans.plans.configuration import PROVENANCE
from resenc_plans.plans.known_networks import resolutions_of
from resenc_plans.plans.nnunet_planners import NNUNET_PLANNERS
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.reprs import call, numbers
from resenc_plans.words import counted

Nearness = Literal["exact", "same network", "re-implemented", "partly unknown", "not in the study"]

NEARNESS: Mapping[Nearness, str] = {
    "exact": "The study's own plans, network and training.",
    "same network": "The study's network; settings of the same group's other publication.",
    "re-implemented": "The network is rebuilt here from its description.",
    "partly unknown": "What is not known of the study's settings may change results.",
    "not in the study": "A variant beside the study's systems.",
}
"""How near a baseline is to the study's system, and what that means."""

MAX_SIZE = 100_000
"""Voxels of a patch along an axis, and samples of a batch."""

EXTRAS: Mapping[str, tuple[str, ...]] = {"monai": ("monai", "einops")}
"""The modules that an extra of this package brings."""

FULLRES = "3d_fullres"

AS_NNUNET = TrainingSettings()
"""Nothing set: nnU-Net's training."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaselineSettings:
    """What may be chosen about a baseline's plans; None leaves a choice to the recipe.

    Attributes
    ----------
    spacing
        Target spacing in mm (z, y, x of the images).
    patch_size
        Patch of 3d_fullres in voxels, in the plans' axis order: the coarsest axis first.
    batch_size
        Samples per batch of 3d_fullres.
    name
        Name of the plans.
    own_data
        Whether every configuration has preprocessed cases of its own.
    """

    spacing: Sequence[float] | None = None
    patch_size: Sequence[int] | None = None
    batch_size: int | None = None
    name: str | None = None
    own_data: bool = False


AS_PUBLISHED = BaselineSettings()
"""Nothing chosen: as the recipe says."""


@dataclass(frozen=True)
class BaselinePlans:
    """Plans of a baseline, and what one should know of them."""

    plans: Plans
    baseline: "Baseline"
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Baseline:
    """A published system: what is known of it, and how its plans are made.

    Attributes
    ----------
    name, plans_name, title
        Its key, the name of its plans, and what it is in a few words.
    citation, code, licence
        The publication, the public code, and that code's licence.
    sizes, network, training
        How spacing, patch and batch follow from the fingerprint, how the architecture follows from
        them, and the training as far as it is not nnU-Net's.
    scale_weights
        Weights of the losses of the outputs, where they depend on the sizes.
    nearness, differences, unknown
        How near it is to the study, how it differs from what is known of the system, and what is
        not known of the study's settings.
    sources
        Where the facts come from.
    system
        Its row in the published comparison, if it has one.
    parameters
        Of the network for one channel and 14 classes, where they do not depend on the dataset.
    dims
        Axes of the images that it is for: 2 adds the configuration 2d.
    has_cascade
        Whether it has 3d_lowres and the cascade where nnU-Net plans them.
    channels
        The most that its images had where it was published.
    extra
        The extra of this package that its network needs.
    """

    name: str
    plans_name: str
    title: str
    citation: str
    code: str
    licence: str
    sizes: SizesRecipe
    network: NetworkRecipe
    nearness: Nearness
    training: TrainingSettings = AS_NNUNET
    scale_weights: Callable[[Sizes], tuple[float, ...] | None] | None = None
    differences: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    system: str | None = None
    parameters: int | None = None
    dims: tuple[int, ...] = (3,)
    has_cascade: bool = False
    channels: int | None = None
    extra: str | None = None

    def __repr__(self) -> str:
        shown_keys = ("name", "plans_name", "title", "nearness", "system")
        return call("Baseline", {key: getattr(self, key) for key in shown_keys})

    @property
    def published(self) -> PublishedResult | None:
        """Its Dice, GB and hours in nnU-Net Revisited, if it was compared there."""
        return next((row for row in published_results() if row.system == self.system), None)

    @property
    def missing(self) -> str | None:
        """Why no plans can be made here, and what to do; None if they can."""
        modules = EXTRAS.get(self.extra or "", ())
        if not all(find_spec(module) for module in modules):
            return (
                f"Its network needs the extra {self.extra}, which is not installed: "
                f"pip install 'resenc-plans[{self.extra}]'"
            )
        return None

    @property
    def configurations(self) -> tuple[str, ...]:
        """Those that its plans may have."""
        slices = ("2d",) if 2 in self.dims else ()
        cascade = ("3d_lowres", "3d_cascade_fullres") if self.has_cascade else ()
        return (*slices, FULLRES, *cascade)

    @property
    def training_document(self) -> dict[str, Any]:
        """The key `training` of its configurations: what is not nnU-Net's."""
        settings = self.training
        return settings.model_dump(mode="json", include=settings.model_fields_set)

    def require(self) -> None:
        """Refuse a baseline that cannot be planned here.

        Raises
        ------
        PlanningError
            Its network needs an extra that is not installed.
        """
        if self.missing is not None:
            raise PlanningError(f"{self.name}: {self.missing}")

    def create_plans(
        self,
        fingerprint: Fingerprint | Mapping[str, Any],
        dataset: Dataset | DatasetJson | Mapping[str, Any],
        *,
        spacing: Sequence[float] | None = None,
        patch_size: Sequence[int] | None = None,
        batch_size: int | None = None,
        name: str | None = None,
        own_data: bool = False,
        dataset_name: str | None = None,
    ) -> Plans:
        """The plans of this baseline for a dataset; remarks go to the log.

        Parameters are those of `BaselineSettings` and of `plan`.

        Raises
        ------
        PlanningError, FingerprintError, DatasetError
            As `plan`.
        """
        settings = BaselineSettings(
            spacing=spacing,
            patch_size=patch_size,
            batch_size=batch_size,
            name=name,
            own_data=own_data,
        )
        planned = self.plan(fingerprint, dataset, settings, dataset_name=dataset_name)
        for remark in planned.remarks:
            logger.info("%s", remark)
        return planned.plans

    def plan(
        self,
        fingerprint: Fingerprint | Mapping[str, Any],
        dataset: Dataset | DatasetJson | Mapping[str, Any],
        settings: BaselineSettings = AS_PUBLISHED,
        *,
        dataset_name: str | None = None,
        provenance: bool = False,
    ) -> BaselinePlans:
        """Plans of this baseline for a dataset, and remarks on them.

        Parameters
        ----------
        fingerprint, dataset
            The dataset's fingerprint and the dataset, or what their JSON files hold.
        settings
            What is to differ from the recipe.
        dataset_name
            Name of the dataset where `dataset` is not a `Dataset`.
        provenance
            Whether the file ends with a key that says how it was made.

        Raises
        ------
        PlanningError
            The network is not there or needs an extra, the images have one slice and the system is
            three-dimensional, the network does not take the patch, or settings are impossible.
        FingerprintError, DatasetError
            A mapping is not what it should be.
        """
        self.require()
        fingerprint, dataset = planning_input(fingerprint, dataset)
        self._check(settings)
        self._refuse_slices(fingerprint, settings)
        standard = PlanningSettings(preset=self.sizes.preset, name=settings.name or self.plans_name)
        spacing = settings.spacing or self.sizes.target_spacing(fingerprint)
        planned = plan_dataset(
            fingerprint,
            dataset,
            replace(standard, spacing=spacing),
            dataset_name=dataset_name,
            provenance=provenance,
        )
        if FULLRES not in planned.plans.configurations:
            self._refuse_one_slice(settings)
        document, remarks = self._document(planned, settings)
        if not settings.own_data:
            is_standard = spacing is None or list(spacing) == target_spacing(fingerprint).tolist()
            _share_data(document, None if is_standard else spacing)
        if provenance:
            document[PROVENANCE] = self._provenance(document[PROVENANCE], settings)
        plans = Plans.from_dict(document, planned.plans.source)
        if settings.patch_size is None and FULLRES in document["configurations"]:
            config = plans.resolve(FULLRES)
            rule = resolutions_of(config).patch_rule
            if rule.fault(config.patch_size) is not None:
                nearest = list(rule.nearest(config.patch_size))
                remarks.append(
                    f"The patch {numbers(config.patch_size)} is changed to {numbers(nearest)}, the "
                    "nearest that the network takes."
                )
                document["configurations"][FULLRES]["patch_size"] = nearest
                plans = Plans.from_dict(document, planned.plans.source)
        remarks += self._remarks(document, dataset)
        refuse_errors(plans, dataset)
        return BaselinePlans(plans, self, tuple(remarks))

    def _check(self, settings: BaselineSettings) -> None:
        patch, batch = settings.patch_size, settings.batch_size
        is_patch = isinstance(patch, Sequence) and len(patch) == 3 and all(map(_is_size, patch))
        if patch is not None and not is_patch:
            raise PlanningError(
                f"The patch size is {shown(patch)}: three whole numbers of voxels are "
                f"needed, at most {MAX_SIZE:,} each."
            )
        if batch is not None and not _is_size(batch):
            raise PlanningError(
                f"The batch size is {shown(batch)}: a whole number of samples is needed, from 1 "
                f"to {MAX_SIZE:,}."
            )
        name = settings.name or self.plans_name
        owner = next((known for known in presets() if known.plans_name == name), None)
        if owner is None:
            return
        is_preset = self.network is planned_unet and self.sizes.preset == owner.key
        if not is_preset or patch is not None or batch is not None:
            raise PlanningError(
                f"The name {name} stands for preset {owner.key} as nnU-Net plans it. Give "
                "these plans a name of their own (`name=`)."
            )

    def _refuse_slices(self, fingerprint: Fingerprint, settings: BaselineSettings) -> None:
        """Refuse images of one slice where the system, or a setting, is three-dimensional."""
        spacing = target_spacing(fingerprint)
        coarsest = axis_order(spacing.tolist())[0][0]
        if resampled_median_shape(fingerprint, spacing)[coarsest] > 1:
            return
        self._refuse_one_slice(settings)

    def _refuse_one_slice(self, settings: BaselineSettings) -> None:
        if 2 not in self.dims:
            raise PlanningError(
                f"{self.name} is three-dimensional, but the images have one slice. For slices "
                "there are nnu-net, resenc-m, resenc-l and resenc-xl."
            )
        if settings.patch_size is not None or settings.batch_size is not None:
            raise PlanningError(
                f"`patch_size=` and `batch_size=` are those of {FULLRES}, but the images have one "
                "slice."
            )

    def _document(
        self, planned: PlanningResult, settings: BaselineSettings
    ) -> tuple[dict[str, Any], list[str]]:
        """The planned document with this baseline's configurations, and remarks on them."""
        document = planned.plans.to_dict()
        remarks: list[str] = []
        configurations = {}
        for name, config in document["configurations"].items():
            fit = planned.fits.get(name)
            if name not in self.configurations:
                continue
            configurations[name] = config
            if fit is None:
                continue
            sizes = Sizes(tuple(config["spacing"]), fit.patch_size, fit.batch_size, fit.unet)
            if name == FULLRES:
                median = config["median_image_size_in_voxels"]
                sizes = self._sizes(sizes, median, settings, remarks)
                if not self.has_cascade:
                    config.pop("next_stage", None)
            config["batch_size"] = sizes.batch_size
            config["patch_size"] = list(sizes.patch_size)
            config["architecture"] = self.network(sizes)
            training = self._training(sizes)
            if training:
                config["training"] = training
        document["configurations"] = configurations
        return document, remarks

    def _sizes(
        self,
        planned: Sizes,
        median_shape: Sequence[float],
        settings: BaselineSettings,
        remarks: list[str],
    ) -> Sizes:
        """The sizes of 3d_fullres."""
        batch = settings.batch_size or self.sizes.batch or planned.batch_size
        patch = settings.patch_size or self.sizes.patch_size(planned.patch_size, median_shape)
        if patch is None:
            return replace(planned, batch_size=batch)
        fitted = planned_network(planned.spacing, patch, find_preset(self.sizes.preset))
        if self.sizes.follows_patch and fitted.patch_size != tuple(patch):
            remarks.append(
                f"The patch {numbers(patch)} is rounded up to {numbers(fitted.patch_size)}, which "
                "the network's strides divide."
            )
            patch = fitted.patch_size
        return Sizes(planned.spacing, tuple(patch), batch, fitted.unet)

    def _training(self, sizes: Sizes) -> dict[str, Any]:
        weights = None if self.scale_weights is None else self.scale_weights(sizes)
        return self.training_document | (
            {} if weights is None else {"scale_weights": list(weights)}
        )

    def _provenance(
        self, recorded: Mapping[str, Any], settings: BaselineSettings
    ) -> dict[str, Any]:
        """How the plans were made, and what was chosen otherwise."""
        chosen = {
            key: list(value) if isinstance(value, Sequence) else value
            for key, value in (
                ("spacing", settings.spacing),
                ("patch_size", settings.patch_size),
                ("batch_size", settings.batch_size),
            )
            if value is not None
        }
        if self.network is planned_unet:
            return {**recorded, **chosen}
        return {
            "version": recorded["version"],
            "dataset": recorded["dataset"],
            "baseline": self.name,
            **chosen,
            "fingerprint_digest": recorded["fingerprint_digest"],
        }

    def _remarks(self, document: Mapping[str, Any], dataset: Dataset | DatasetJson) -> list[str]:
        remarks = []
        described = dataset.json if isinstance(dataset, Dataset) else dataset
        channels = len(described.channel_names)
        if self.channels is not None and channels > self.channels:
            remarks.append(
                f"The images have {counted(channels, 'channel')}; it was published for at most "
                f"{self.channels}."
            )
        config = document["configurations"].get(FULLRES)
        if config is not None and self.network is not planned_unet:
            patch, median = config["patch_size"], config["median_image_size_in_voxels"]
            if prod(patch) > 2 * prod(median):
                remarks.append(
                    f"A patch of {numbers(patch)} is mostly padding: the median image has "
                    f"{numbers(median)} voxels. `patch_size=` chooses a smaller one."
                )
        return remarks


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIZE


def _share_data(document: dict[str, Any], spacing: Sequence[float] | None) -> None:
    """Name 2d's and 3d_fullres' data so that all plans of one spacing share them.

    `spacing` is that of 3d_fullres in the images' axis order, from which the plans' axis order
    follows; None where it is nnU-Net's.
    """
    ending = "" if spacing is None else f"_{numbers(spacing, digits=17)}mm"
    for name in ("2d", FULLRES):
        if name in document["configurations"]:
            identifier = f"{NNUNET_PLANNERS['default'].plans_name}_{name}{ending}"
            document["configurations"][name]["data_identifier"] = identifier
