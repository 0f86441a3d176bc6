"""nnU-Net's plain U-Net (Isensee et al. 2021)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from resenc_plans.networks.unet.blocks import ConvStack
from resenc_plans.networks.unet.decoder import UNetDecoder
from resenc_plans.networks.unet.initialization import initialize
from resenc_plans.networks.unet.layout import PerStage, PerStageAndAxis, UNetLayout, unet_layout
from resenc_plans.networks.unet.operators import Operators, make_operators


class PlainConvEncoder(nn.Module):
    """One stack of convolutions per resolution; returns every stage's result."""

    def __init__(self, input_channels: int, operators: Operators, layout: UNetLayout) -> None:
        super().__init__()
        channels = (input_channels, *layout.features)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    ConvStack(
                        operators, depth, channels[stage], channels[stage + 1], kernel, stride
                    )
                )
                for stage, (depth, kernel, stride) in enumerate(
                    zip(layout.encoder_depths, layout.kernel_sizes, layout.strides, strict=True)
                )
            )
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of all stages, highest resolution first."""
        results = []
        for stage in self.stages:
            x = stage(x)
            results.append(x)
        return results


class PlainConvUNet(nn.Module):
    """nnU-Net's plain U-Net, as its original planner uses it.

    State dicts are interchangeable with `PlainConvUNet` of dynamic-network-architectures 0.4.4,
    whose arguments these are. The weights are initialised (see `initialization.initialize`).

    Parameters
    ----------
    n_conv_per_stage
        Convolutions per encoder stage.
    nonlin_first
        Whether the activation precedes the normalisation.

    The others are as those of `ResidualEncoderUNet`.

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
        n_conv_per_stage: PerStage,
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
        nonlin_first: bool = False,
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
            nonlin_first,
        )
        layout = unet_layout(
            operators.dim,
            n_stages,
            features_per_stage,
            kernel_sizes,
            strides,
            n_conv_per_stage,
            n_conv_per_stage_decoder,
            "n_conv_per_stage",
        )
        self.encoder = PlainConvEncoder(input_channels, operators, layout)
        self.decoder = UNetDecoder(self.encoder, operators, layout, num_classes, deep_supervision)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits for images `x` of shape (batch, channels, *image), see `UNetDecoder.forward`."""
        logits: Tensor | list[Tensor] = self.decoder(self.encoder(x))
        return logits
