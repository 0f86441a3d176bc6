"""nnU-Net's U-Net with a residual encoder (Isensee et al. 2024, "nnU-Net Revisited")."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.unet.blocks import (
    ConvStack,
    Regularisation,
    ResidualStack,
    basic_block,
    bottleneck_block,
)
from resenc_plans.networks.unet.decoder import UNetDecoder
from resenc_plans.networks.unet.initialization import initialize
from resenc_plans.networks.unet.layout import (
    PerStage,
    PerStageAndAxis,
    UNetLayout,
    per_stage,
    unet_layout,
)
from resenc_plans.networks.unet.operators import Operators, make_operators

Block = Literal["basic", "bottleneck"]


class ResidualEncoder(nn.Module):
    """A stem and one stack of residual blocks per resolution; returns every stage's result."""

    def __init__(
        self,
        input_channels: int,
        operators: Operators,
        layout: UNetLayout,
        stem_channels: int,
        bottleneck_channels: tuple[int, ...] | None,
        regularisation: Regularisation,
    ) -> None:
        super().__init__()
        self.stem = ConvStack(operators, 1, input_channels, stem_channels, layout.kernel_sizes[0])
        stages, inputs = [], stem_channels
        for stage, outputs in enumerate(layout.features):
            kernel, blocks = layout.kernel_sizes[stage], []
            for number in range(layout.encoder_depths[stage]):
                stride = (1,) * layout.dim if number else layout.strides[stage]
                if bottleneck_channels is None:
                    block = basic_block(operators, inputs, outputs, kernel, stride, regularisation)
                else:
                    between = bottleneck_channels[stage]
                    block = bottleneck_block(
                        operators, inputs, between, outputs, kernel, stride, regularisation
                    )
                blocks.append(block)
                inputs = outputs
            stages.append(ResidualStack(blocks))
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of all stages, highest resolution first."""
        x, results = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            results.append(x)
        return results


class ResidualEncoderUNet(nn.Module):
    """nnU-Net's U-Net with a residual encoder, as presets M, L and XL use it.

    State dicts are interchangeable with `ResidualEncoderUNet` of dynamic-network-architectures
    0.4.4, whose arguments these are. Three are ours, since that package has them in its encoder
    only: `stochastic_depth_p`, `squeeze_excitation`, `squeeze_excitation_reduction_ratio`. The
    weights are initialised (see `initialization.initialize`).

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image, and of the logits.
    n_stages
        Resolutions of the encoder, the bottleneck included.
    features_per_stage, kernel_sizes, strides, n_blocks_per_stage
        One value for all stages or one per stage; kernels and strides may differ by axis.
    conv_op, norm_op, dropout_op, nonlin
        Classes of torch's layers; all but the first may be None.
    n_conv_per_stage_decoder
        Convolutions per decoder stage, lowest resolution first.
    block, bottleneck_channels
        Two 3x3x3 convolutions per block, or a bottleneck of that many channels (per stage).
    stem_channels
        Channels of the first convolution, by default those of the first stage.

    Raises
    ------
    ConfigurationError
        The arguments contradict each other. The message begins with an argument's name.
    """

    def __init__(
        self,
        input_channels: int,
        n_stages: int,
        features_per_stage: PerStage,
        conv_op: type[nn.Module],
        kernel_sizes: PerStageAndAxis,
        strides: PerStageAndAxis,
        n_blocks_per_stage: PerStage,
        num_classes: int,
        n_conv_per_stage_decoder: PerStage,
        conv_bias: bool = False,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: Mapping[str, Any] | None = None,
        dropout_op: type[nn.Module] | None = None,
        dropout_op_kwargs: Mapping[str, Any] | None = None,
        nonlin: type[nn.Module] | None = None,
        nonlin_kwargs: Mapping[str, Any] | None = None,
        deep_supervision: bool = False,
        block: Block = "basic",
        bottleneck_channels: PerStage | None = None,
        stem_channels: int | None = None,
        stochastic_depth_p: float = 0.0,
        squeeze_excitation: bool = False,
        squeeze_excitation_reduction_ratio: float = 1 / 16,
    ) -> None:
        super().__init__()
        operators = make_operators(
            conv_op,
            conv_bias,
            norm_op,
            norm_op_kwargs,
            dropout_op,
            dropout_op_kwargs,
            nonlin,
            nonlin_kwargs,
        )
        layout = unet_layout(
            operators.dim,
            n_stages,
            features_per_stage,
            kernel_sizes,
            strides,
            n_blocks_per_stage,
            n_conv_per_stage_decoder,
        )
        self.encoder = ResidualEncoder(
            input_channels,
            operators,
            layout,
            _stem_channels(stem_channels, layout),
            _bottleneck_channels(block, bottleneck_channels, n_stages),
            _regularisation(
                stochastic_depth_p, squeeze_excitation, squeeze_excitation_reduction_ratio
            ),
        )
        self.decoder = UNetDecoder(self.encoder, operators, layout, num_classes, deep_supervision)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits for images `x` of shape (batch, channels, *image), see `UNetDecoder.forward`."""
        logits: Tensor | list[Tensor] = self.decoder(self.encoder(x))
        return logits


def _stem_channels(channels: int | None, layout: UNetLayout) -> int:
    if channels is None:
        return layout.features[0]
    return per_stage("stem_channels", channels, 1)[0]


def _bottleneck_channels(
    block: Block, channels: PerStage | None, n_stages: int
) -> tuple[int, ...] | None:
    if block == "basic":
        return None
    if block != "bottleneck":
        raise ConfigurationError(f"block is {block!r}: 'basic' or 'bottleneck' is expected.")
    if channels is None:
        raise ConfigurationError("bottleneck_channels is missing, which bottleneck blocks need.")
    return per_stage("bottleneck_channels", channels, n_stages)


def _regularisation(p: float, excite: bool, ratio: float) -> Regularisation:
    for key, value, top in (
        ("stochastic_depth_p", p, 1),
        ("squeeze_excitation_reduction_ratio", ratio, float("inf")),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= top:
            raise ConfigurationError(f"{key} is {value!r}: a number from 0 to {top} is expected.")
    return Regularisation(p, excite, ratio)
