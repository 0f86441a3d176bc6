"""What a plans file holds, as types: the file, a configuration as written, and as it runs.

All models are frozen views. Saving never goes through them, so that a file keeps its key order,
its unknown keys, and its numbers as they were written (see `resenc_plans.plans.plans`).
"""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)
from pydantic.fields import FieldInfo

from resenc_plans.datasets.fingerprint import IntensityProperties
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import ConfigurationError, expect_type
from resenc_plans.plans.architectures import Architecture
from resenc_plans.plans.frozen import Boolean, FrozenModel, Integer, Number, thaw
from resenc_plans.plans.header import PlansHeader
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.reprs import card, listed, numbers
from resenc_plans.words import counted


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _positive(values: tuple[float, ...]) -> tuple[float, ...]:
    if not all(0 < value < float("inf") for value in values):
        raise ValueError("every value must be positive and finite")
    return values


PROVENANCE = "resenc_plans"
"""The last key of a plans file that this package wrote: how it was made. nnU-Net ignores it."""

PREPROCESSING_KEYS = (
    "spacing",
    "preprocessor_name",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
"""What the preprocessed cases depend on: these must not differ under one data_identifier."""

PositiveInteger = Annotated[Integer, Field(ge=1)]
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...]),
]
Spacing = Annotated[tuple[Number, ...], AfterValidator(_positive)]


class ResamplingSettings(FrozenModel):
    """Arguments of a resampling function; other arguments are allowed."""

    model_config = ConfigDict(title="Resampling settings")

    is_seg: Boolean | None = Field(None, description="Whether a segmentation is resampled.")
    order: Integer | None = Field(None, description="Spline order within the plane: 0, 1 or 3.")
    order_z: Integer | None = Field(None, description="Spline order along a coarse axis.")
    force_separate_z: Boolean | None = Field(
        None,
        description="Whether the coarse axis is resampled separately; null decides by spacing.",
    )


class Configuration(FrozenModel):
    """A configuration as written: every field may be missing, the rest is inherited."""

    model_config = ConfigDict(title="Configuration")

    inherits_from: str | None = Field(
        None, description="The configuration whose values this one takes where it has none."
    )
    data_identifier: str | None = Field(
        None, description="Folder of the preprocessed cases within the dataset's folder."
    )
    preprocessor_name: str | None = Field(
        None, description="Class of the preprocessor.", examples=["DefaultPreprocessor"]
    )
    batch_size: Integer | None = Field(
        None, description="Samples per iteration, over all GPUs together.", examples=[2]
    )
    patch_size: tuple[Integer, ...] | None = Field(
        None,
        description="Voxels of a training patch per axis, in the plans' transposed axis order.",
        examples=[[128, 128, 128]],
    )
    median_image_size_in_voxels: tuple[Number, ...] | None = Field(
        None, description="Median shape of the cases at this configuration's spacing."
    )
    spacing: tuple[Number, ...] | None = Field(
        None, description="Voxel size in mm per axis, in the plans' transposed axis order."
    )
    normalization_schemes: tuple[str, ...] | None = Field(
        None, description="Normalisation class of each channel.", examples=[["CTNormalization"]]
    )
    use_mask_for_norm: tuple[Boolean, ...] | None = Field(
        None, description="Per channel: whether only voxels inside the nonzero mask count."
    )
    resampling_fn_data: str | None = Field(None, description="Function that resamples images.")
    resampling_fn_data_kwargs: ResamplingSettings | None = Field(
        None, description="Arguments of the function that resamples images."
    )
    resampling_fn_seg: str | None = Field(
        None, description="Function that resamples segmentations."
    )
    resampling_fn_seg_kwargs: ResamplingSettings | None = Field(
        None, description="Arguments of the function that resamples segmentations."
    )
    resampling_fn_probabilities: str | None = Field(
        None, description="Function that resamples predictions back to the image's grid."
    )
    resampling_fn_probabilities_kwargs: ResamplingSettings | None = Field(
        None, description="Arguments of the function that resamples predictions."
    )
    architecture: Architecture | None = Field(None, description="The network.")
    batch_dice: Boolean | None = Field(
        None, description="Whether the Dice loss pools over the batch instead of per sample."
    )
    previous_stage: str | None = Field(
        None, description="The cascade's configuration whose segmentation is an extra input."
    )
    next_stage: Names | None = Field(
        None,
        description="Configurations of the cascade that take this one's segmentation as input.",
    )
    training: TrainingSettings | None = Field(
        None, description="How to train this configuration. nnU-Net ignores it."
    )


class PlansDocument(FrozenModel):
    """A plans file as a whole."""

    model_config = ConfigDict(title="nnU-Net plans")

    dataset_name: str | None = Field(
        None, description="Name of the dataset's folder.", examples=["Dataset004_Hippocampus"]
    )
    plans_name: str | None = Field(
        None,
        description="Name of these plans; it names the results folder and equals the file's stem.",
        examples=["nnUNetResEncUNetLPlans"],
    )
    original_median_spacing_after_transp: tuple[Number, ...] | None = Field(
        None, description="Median spacing of the dataset in mm, axes transposed."
    )
    original_median_shape_after_transp: tuple[Number, ...] | None = Field(
        None, description="Median shape of the dataset in voxels, axes transposed."
    )
    image_reader_writer: str | None = Field(
        None, description="Class that reads and writes images.", examples=["SimpleITKIO"]
    )
    transpose_forward: tuple[Integer, ...] | None = Field(
        None, description="Order of the image's axes in the plans; the first is the coarsest."
    )
    transpose_backward: tuple[Integer, ...] | None = Field(
        None, description="The inverse of `transpose_forward`."
    )
    configurations: dict[str, Configuration] = Field(
        description="The configurations by name: 2d, 3d_lowres, 3d_fullres, ..."
    )
    experiment_planner_used: str | None = Field(
        None, description="Class of the planner.", examples=["nnUNetPlannerResEncL"]
    )
    label_manager: str | None = Field(None, description="Class that interprets the labels.")
    foreground_intensity_properties_per_channel: dict[str, IntensityProperties] | None = Field(
        None, description="Intensity statistics by channel number."
    )


def _as_written(key: str) -> FieldInfo:
    """The description of a key, which is the same before and after inheritance."""
    written = Configuration.model_fields[key]
    described: FieldInfo = Field(description=written.description, examples=written.examples)
    return described


class ResolvedConfiguration(FrozenModel):
    """A configuration as it runs: inheritance applied, every field present, hashable.

    Spatial values are in the plans' axis order (`transpose_forward` applied to z, y, x),
    spacing in mm, sizes in voxels.
    """

    name: str = Field(description="The configuration's name in the plans.")
    data_identifier: Annotated[str, _as_written("data_identifier")]
    preprocessor_name: Annotated[str, _as_written("preprocessor_name")]
    batch_size: Annotated[PositiveInteger, _as_written("batch_size")]
    patch_size: Annotated[
        tuple[PositiveInteger, ...], Field(min_length=2, max_length=3), _as_written("patch_size")
    ]
    median_image_size_in_voxels: Annotated[
        tuple[Number, ...], _as_written("median_image_size_in_voxels")
    ]
    spacing: Annotated[Spacing, _as_written("spacing")]
    normalization_schemes: Annotated[tuple[str, ...], _as_written("normalization_schemes")]
    use_mask_for_norm: Annotated[tuple[Boolean, ...], _as_written("use_mask_for_norm")]
    resampling_fn_data: Annotated[str, _as_written("resampling_fn_data")]
    resampling_fn_data_kwargs: Annotated[
        ResamplingSettings, _as_written("resampling_fn_data_kwargs")
    ]
    resampling_fn_seg: Annotated[str, _as_written("resampling_fn_seg")]
    resampling_fn_seg_kwargs: Annotated[ResamplingSettings, _as_written("resampling_fn_seg_kwargs")]
    resampling_fn_probabilities: Annotated[str, _as_written("resampling_fn_probabilities")]
    resampling_fn_probabilities_kwargs: Annotated[
        ResamplingSettings, _as_written("resampling_fn_probabilities_kwargs")
    ]
    architecture: Annotated[Architecture, _as_written("architecture")]
    batch_dice: Annotated[Boolean, _as_written("batch_dice")]
    previous_stage: Annotated[str | None, _as_written("previous_stage")] = None
    next_stage: Annotated[Names, _as_written("next_stage")] = ()
    training: Annotated[TrainingSettings | None, _as_written("training")] = None

    _plans: PlansHeader = PrivateAttr()
    _document: Mapping[str, Any] = PrivateAttr()

    @model_validator(mode="after")
    def _agree_on_axes(self) -> Self:
        if len(self.spacing) != len(self.patch_size):
            raise ValueError(
                f"patch_size has {counted(len(self.patch_size), 'axis', 'axes')} and spacing "
                f"{len(self.spacing)}"
            )
        return self

    @property
    def plans(self) -> PlansHeader:
        """What the plans said for all configurations when this one was resolved."""
        return self._plans

    @property
    def dim(self) -> int:
        """Number of image axes: 2 or 3."""
        return len(self.patch_size)

    def error(self, sentence: str) -> ConfigurationError:
        """An error that names this configuration and its plans."""
        return ConfigurationError(f"{self.plans.source}: {self.name}: {sentence}")

    def __repr__(self) -> str:
        stages = getattr(self.architecture.arch_kwargs, "n_stages", None)
        network = self.architecture.network_class_name.rpartition(".")[2]
        source = f" of {self._plans.name}" if hasattr(self, "_plans") else ""
        return card(
            f"ResolvedConfiguration {self.name}{source}",
            {
                "patch": f"{numbers(self.patch_size)} voxels",
                "batch": self.batch_size,
                "spacing": f"{numbers(self.spacing)} mm",
                "median shape": f"{numbers(self.median_image_size_in_voxels)} voxels",
                "network": network if stages is None else f"{network}, {counted(stages, 'stage')}",
                "normalisation": listed(self.normalization_schemes),
                "data": self.data_identifier,
                "previous stage": self.previous_stage,
            },
        )

    def replaced(self, **values: Any) -> Self:
        """The configuration with other values, which its plans do not have."""
        document = {**self.to_dict(), **values}
        config = type(self).model_validate({**document, "name": self.name})
        config._plans, config._document = self._plans, document
        return config

    def to_dict(self) -> dict[str, Any]:
        """The resolved JSON object, key for key as nnU-Net resolves it."""
        return dict(thaw(self._document))


def dataset_share(config: ResolvedConfiguration, cases: int) -> float | None:
    """The share of the voxels of so many cases that one batch covers; None for slices.

    The plans do not say how many slices a case has at a 2D configuration's spacing.
    """
    voxels = prod(config.median_image_size_in_voxels) * cases
    if config.dim < 3 or voxels <= 0:
        return None
    return prod(config.patch_size) * config.batch_size / voxels


def expect_resolved(config: object) -> None:
    """Refuse what is not a resolved configuration, and say how to get one.

    Raises
    ------
    UsageError
        It is a name, a configuration as written, or something else.
    """
    name = config if isinstance(config, str) else "3d_fullres"
    remedy = f"a resolved configuration, such as Plans.load(path).resolve({name!r})"
    expect_type(config, ResolvedConfiguration, "config", remedy)


def input_channels(config: ResolvedConfiguration, labels: Labels) -> int:
    """Input channels of the network: the image's and, in a cascade, one per foreground label.

    A cascade's second stage gets the previous one's segmentation, one-hot encoded.
    """
    previous = len(labels.foreground_labels) if config.previous_stage is not None else 0
    return len(config.normalization_schemes) + previous
