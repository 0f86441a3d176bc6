"""The `architecture` of a configuration, typed for nnU-Net's two U-Nets, open for the rest.

Argument names are those of `ResidualEncoderUNet` and `PlainConvUNet` in
dynamic-network-architectures 0.4.4. A value may be written once for all stages (`2`) or as a
list with one entry per stage, as these classes allow.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Tag

from resenc_plans.plans.frozen import Boolean, FrozenDict, FrozenModel, Integer
from resenc_plans.reprs import call

MODULE = "dynamic_network_architectures.architectures.unet"
RESIDUAL_ENCODER_UNET = f"{MODULE}.ResidualEncoderUNet"
PLAIN_CONV_UNET = f"{MODULE}.PlainConvUNet"

_KNOWN_MODULES = ("", MODULE, "dynamic_network_architectures.architectures.residual_unet")

LAYERS: dict[str, dict[str, tuple[str, ...]]] = {
    "conv_op": {"conv": ("Conv2d", "Conv3d")},
    "norm_op": {
        "instancenorm": ("InstanceNorm2d", "InstanceNorm3d"),
        "batchnorm": ("BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"),
    },
    "dropout_op": {"dropout": ("Dropout", "Dropout2d", "Dropout3d", "AlphaDropout")},
    "nonlin": {
        "activation": (
            "LeakyReLU",
            "ReLU",
            "ReLU6",
            "RReLU",
            "PReLU",
            "ELU",
            "CELU",
            "SELU",
            "GELU",
            "SiLU",
            "Mish",
            "Softplus",
            "Softsign",
            "Hardswish",
            "Hardtanh",
            "Tanh",
            "Sigmoid",
        ),
        "linear": ("Identity",),
    },
}
"""The layer classes that the U-Nets' arguments may name, by argument and module of torch.nn."""

LAYER_NAMES: dict[str, dict[str, str]] = {
    argument: {
        name: layer
        for module, layers in modules.items()
        for layer in layers
        for name in (f"torch.nn.{layer}", f"torch.nn.modules.{module}.{layer}")
    }
    for argument, modules in LAYERS.items()
}
"""For each argument that names a layer class: the names it may have, short and full."""

MAX_STAGES = 20
"""Stages of a U-Net that configurations can run with: each halves the image."""

Count = Annotated[Integer, Field(ge=1)]
PerStage = Count | tuple[Count, ...]
PerStageAndAxis = Count | tuple[Count | tuple[Count, ...], ...]


class UNetArguments(FrozenModel):
    """Arguments that both U-Nets share. `dim` is 2 or 3, the number of image axes."""

    model_config = ConfigDict(title="Arguments of a U-Net")

    n_stages: Count = Field(description="Number of encoder stages, the bottleneck included.")
    features_per_stage: PerStage = Field(
        description="Feature maps of each encoder stage, e.g. 32, 64, 128, 256, 320, 320."
    )
    conv_op: str = Field(
        description="Convolution class by its import path; its last digit is the dimension.",
        examples=["torch.nn.modules.conv.Conv3d"],
    )
    kernel_sizes: PerStageAndAxis = Field(
        description="Kernel size of each stage, one number per axis."
    )
    strides: PerStageAndAxis = Field(
        description="Stride with which each stage begins, one number per axis; 1 in the first."
    )
    n_conv_per_stage_decoder: PerStage = Field(
        description="Convolutions in each decoder stage, one entry fewer than the encoder has."
    )
    conv_bias: Boolean = Field(False, description="Whether convolutions have a bias.")
    norm_op: str | None = Field(None, description="Normalisation class by its import path.")
    norm_op_kwargs: FrozenDict | None = Field(None, description="Arguments of `norm_op`.")
    dropout_op: str | None = Field(None, description="Dropout class by its import path.")
    dropout_op_kwargs: FrozenDict | None = Field(None, description="Arguments of `dropout_op`.")
    nonlin: str | None = Field(None, description="Activation class by its import path.")
    nonlin_kwargs: FrozenDict | None = Field(None, description="Arguments of `nonlin`.")

    @property
    def dim(self) -> int | None:
        """Image axes that the convolution works on (2 or 3), None where its name is foreign."""
        name = self.conv_op.rpartition(".")[2]
        return int(name[4]) if name in ("Conv1d", "Conv2d", "Conv3d") else None


class ResidualEncoderUNetArguments(UNetArguments):
    """Arguments of nnU-Net's U-Net with a residual encoder (presets M, L, XL)."""

    model_config = ConfigDict(title="Arguments of ResidualEncoderUNet")

    n_blocks_per_stage: PerStage = Field(
        description="Residual blocks in each encoder stage, e.g. 1, 3, 4, 6, 6, 6."
    )


class PlainConvUNetArguments(UNetArguments):
    """Arguments of nnU-Net's plain U-Net (preset default)."""

    model_config = ConfigDict(title="Arguments of PlainConvUNet")

    n_conv_per_stage: PerStage = Field(description="Convolutions in each encoder stage.")


class _Architecture(FrozenModel):
    network_class_name: str = Field(
        description="The network's class by its import path.", examples=[RESIDUAL_ENCODER_UNET]
    )
    kw_requires_import: tuple[str, ...] = Field(
        (),
        alias="_kw_requires_import",
        description="Names of the arguments whose values are import paths.",
    )

    def __repr__(self) -> str:
        given = getattr(self, "arch_kwargs", {})
        arguments = given if isinstance(given, Mapping) else dict(given)
        return call(
            type(self).__name__, {"network_class_name": self.network_class_name, **arguments}
        )


class ResidualEncoderUNetArchitecture(_Architecture):
    """nnU-Net's U-Net with a residual encoder."""

    model_config = ConfigDict(title="ResidualEncoderUNet")

    arch_kwargs: ResidualEncoderUNetArguments


class PlainConvUNetArchitecture(_Architecture):
    """nnU-Net's plain U-Net."""

    model_config = ConfigDict(title="PlainConvUNet")

    arch_kwargs: PlainConvUNetArguments


class OtherArchitecture(_Architecture):
    """A network of another class: its arguments are kept, not judged."""

    model_config = ConfigDict(title="Another network")

    arch_kwargs: FrozenDict = FrozenDict({})


def architecture_kind(network_class_name: str) -> str:
    """Which typed form a class name has: "residual", "plain" or "other".

    Bare names and the old module's spelling count as nnU-Net's own; a class of the same name in
    a foreign module does not.

    >>> architecture_kind("PlainConvUNet"), architecture_kind("mylab.nets.PlainConvUNet")
    ('plain', 'other')
    """
    module, _, name = network_class_name.rpartition(".")
    if module not in _KNOWN_MODULES:
        return "other"
    return {"ResidualEncoderUNet": "residual", "PlainConvUNet": "plain"}.get(name, "other")


def is_same_network(name: str, other: str) -> bool:
    """Whether two class names stand for one network, however nnU-Net's own are spelled."""
    kind = architecture_kind(name)
    return kind == architecture_kind(other) and (kind != "other" or name == other)


def _kind_of(value: Any) -> str:
    name = (
        value.get("network_class_name")
        if isinstance(value, dict)
        else getattr(value, "network_class_name", None)
    )
    return architecture_kind(name) if isinstance(name, str) else "other"


Architecture = Annotated[
    Annotated[ResidualEncoderUNetArchitecture, Tag("residual")]
    | Annotated[PlainConvUNetArchitecture, Tag("plain")]
    | Annotated[OtherArchitecture, Tag("other")],
    Discriminator(_kind_of),
]
