"""U-Mamba in both of its generations, and the same network without Mamba.

Ma et al. 2024, "U-Mamba: Enhancing Long-range Dependency for Biomedical Image Segmentation".
"""

from collections.abc import Collection, Iterator, Sequence
from math import ceil, prod

from torch import Tensor, nn

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.baselines.mamba import Mamba, MambaStage, mix_voxels
from resenc_plans.networks.baselines.stunet import NearestUpsampling, PointwiseSkipBlock
from resenc_plans.networks.unet.blocks import basic_block
from resenc_plans.networks.unet.decoder import UNetDecoder, residual_blocks
from resenc_plans.networks.unet.initialization import initialize_module
from resenc_plans.networks.unet.layers import LayerFactory, layer_factory
from resenc_plans.networks.unet.residual import ResidualEncoder
from resenc_plans.plans.architectures import PerStage, PerStageAndAxis
from resenc_plans.plans.known_networks import UMAMBA_VARIANTS, umamba_strides
from resenc_plans.plans.unet import (
    ResidualBlocks,
    UNet,
    per_stage,
    per_stage_and_axis,
    planned_operators,
)


class UMamba(nn.Module):
    """A residual U-Net with Mamba at its bottleneck, after each stage of its encoder, or nowhere.

    The first generation, of January 2024, is nnU-Net's residual encoder with as many residual
    blocks in the decoder; without Mamba it is `ResidualUNet` of dynamic-network-architectures, with
    the same names of parameters. Names at the bottleneck (`ln`, `mamba`) and in the encoder
    (`mamba_layers`) are the authors'. Mamba's result replaces the feature maps: no skip leads
    around it. With Mamba in the encoder the last normalisation of each residual block starts at
    zero, else not.

    The second, of March 2024, projects where it changes the resolution and upsamples by nearest
    neighbour. Names of its parameters are ours, so that the authors' weights do not load. Where its
    encoder's feature maps have no more voxels than channels, the channels are the tokens, which
    ties the network to its patch. Not described where this was written from, so inferred: the
    kernel of its first block (that of stage 0), where that block's activations are (as in the
    other blocks), that no skip leads around Mamba there either.

    That the network without Mamba is otherwise that with it at the bottleneck, is inferred.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image, and of the logits.
    features_per_stage, kernel_sizes, strides
        As in nnU-Net's plans, one entry per stage; a number is for three axes.
    variant
        "bot", "enc", or "none": where Mamba is.
    generation
        1 or 2.
    n_blocks_per_stage, n_conv_per_stage_decoder
        Residual blocks of each stage of the encoder and of the decoder, lowest resolution first.
        By default two; in the second generation one in the lower half of the encoder and in the
        upper half of the decoder.
    patch_size
        Of the images; needed by the second generation's "enc".
    deep_supervision
        Whether `forward` returns the logits of all decoder stages.

    Raises
    ------
    ConfigurationError
        There is no such variant or generation, or the arguments contradict each other.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        features_per_stage: PerStage,
        kernel_sizes: PerStageAndAxis,
        strides: PerStageAndAxis,
        *,
        variant: str = "bot",
        generation: int = 1,
        n_blocks_per_stage: PerStage | None = None,
        n_conv_per_stage_decoder: PerStage | None = None,
        patch_size: Sequence[int] | None = None,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if variant not in UMAMBA_VARIANTS:
            raise ConfigurationError(
                f"variant is {variant!r}: U-Mamba comes as {', '.join(UMAMBA_VARIANTS)}."
            )
        if generation not in (1, 2):
            raise ConfigurationError(f"generation is {generation!r}: U-Mamba has 1 and 2.")
        steps = umamba_strides(strides)
        stages, dim = len(steps), len(steps[0])
        blocks, decoder_blocks = _published_blocks(generation, stages)
        unet = UNet(
            kind="residual",
            strides=steps,
            kernel_sizes=per_stage_and_axis("kernel_sizes", kernel_sizes, stages, dim),
            features=per_stage("features_per_stage", features_per_stage, stages),
            blocks=per_stage(
                "n_blocks_per_stage",
                blocks if n_blocks_per_stage is None else n_blocks_per_stage,
                stages,
            ),
            decoder_convolutions=per_stage(
                "n_conv_per_stage_decoder",
                decoder_blocks if n_conv_per_stage_decoder is None else n_conv_per_stage_decoder,
                stages - 1,
            ),
            operators=planned_operators(dim),
        )
        layers = layer_factory(unet.operators)
        self.variant, self.generation = variant, generation
        if generation == 1:
            self.encoder: nn.Module = (ScanningEncoder if variant == "enc" else ResidualEncoder)(
                unet, layers, input_channels
            )
        else:
            tokens = _tokens(unet, patch_size) if variant == "enc" else None
            self.encoder = ProjectingEncoder(unet, layers, input_channels, tokens)
        if variant == "bot" and generation == 1:
            self.ln, self.mamba = nn.LayerNorm(unet.features[-1]), Mamba(unet.features[-1])
        elif variant == "bot":
            self.mamba_layer = MambaStage(unet.features[-1])
        self.decoder = UNetDecoder(
            self.encoder,
            unet,
            layers,
            num_classes,
            deep_supervision=deep_supervision,
            make_stage=residual_blocks if generation == 1 else projecting_blocks,
            upsample=LayerFactory.upsampling if generation == 1 else NearestUpsampling,
        )
        for module in self.modules():
            self.initialize(module)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits for images `x` of shape (batch, channels, *image), see `UNetDecoder.forward`."""
        skips = self.encoder(x)
        if self.variant == "bot":
            skips[-1] = (
                mix_voxels(skips[-1], self.ln, self.mamba)
                if self.generation == 1
                else self.mamba_layer(skips[-1])
            )
        logits: Tensor | list[Tensor] = self.decoder(skips)
        return logits

    def initialize(self, module: nn.Module) -> None:
        """Draw the weights of one module anew; nnU-Net's builder applies this to all modules."""
        initialize_module(module, silent=self.variant == "enc" and self.generation == 1)

    def other_variant(self, names: Collection[str]) -> str | None:
        """Of which variant and generation weights of these names are, if of another; a clause.

        Those of the authors' second generation are not recognised, since their names differ.
        """
        if "encoder.stages.0.blocks.0.conv1.conv.weight" in names:
            generation = 1
        elif "encoder.stages.0.0.conv1.weight" in names:
            generation = 2
        else:
            return None
        beginnings = {"enc": "encoder.mamba_layers.", "bot": "mamba"}
        variant = next(
            (at for at, start in beginnings.items() if any(n.startswith(start) for n in names)),
            "none",
        )
        if (variant, generation) == (self.variant, self.generation):
            return None
        return (
            f"it is of U-Mamba's generation {generation}, variant {variant!r}, and the network of "
            f"generation {self.generation}, variant {self.variant!r}"
        )

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """The stages of both sides and the Mamba layers, see `checkpoint_activations`."""
        yield from self.encoder.stages  # type: ignore[misc]
        yield from (layer for layer in self.modules() if isinstance(layer, MambaStage))
        yield from self.decoder.stages


class ScanningEncoder(ResidualEncoder):
    """A residual encoder with Mamba after every stage, on the way on and on the skip."""

    def __init__(self, unet: UNet, layers: LayerFactory, input_channels: int) -> None:
        super().__init__(unet, layers, input_channels)
        self.mamba_layers = nn.ModuleList(MambaStage(width) for width in unet.features)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of all stages, highest resolution first."""
        x, results = self.stem(x), []
        for stage, layer in zip(self.stages, self.mamba_layers, strict=True):
            x = layer(stage(x))
            results.append(x)
        return results


class ProjectingEncoder(nn.Module):
    """The second generation's encoder: a stem, then all stages, each begins with a projection.

    `tokens` are, for a Mamba after every stage, its width and whether channels are its tokens.
    """

    def __init__(
        self,
        unet: UNet,
        layers: LayerFactory,
        input_channels: int,
        tokens: Sequence[tuple[int, bool]] | None,
    ) -> None:
        super().__init__()
        self.stem = projecting_blocks(
            layers, input_channels, unet.features[0], unet.kernel_sizes[0], unet.blocks[0]
        )
        inputs = (unet.features[0], *unet.features)
        self.stages = nn.ModuleList(
            projecting_blocks(layers, inputs[stage], *of_stage)
            for stage, of_stage in enumerate(
                zip(unet.features, unet.kernel_sizes, unet.blocks, unet.strides, strict=True)
            )
        )
        self.mamba_layers = nn.ModuleList(
            MambaStage(width, channels_are_tokens=channels) for width, channels in tokens or ()
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of all stages, highest resolution first."""
        x, results = self.stem(x), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if self.mamba_layers:
                x = self.mamba_layers[number](x)
            results.append(x)
        return results


def projecting_blocks(
    layers: LayerFactory,
    inputs: int,
    outputs: int,
    kernel_size: tuple[int, ...],
    depth: int,
    stride: tuple[int, ...] | None = None,
) -> nn.Module:
    """A stage of the second generation: a block that projects its skip, then residual blocks."""
    one, options = (1,) * layers.dim, ResidualBlocks()
    return nn.Sequential(
        PointwiseSkipBlock(
            layers, inputs, outputs, stride or one, project=True, kernel_size=kernel_size
        ),
        *(
            basic_block(layers, outputs, outputs, kernel_size, one, options=options)
            for _ in range(depth - 1)
        ),
    )


def _published_blocks(generation: int, stages: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks of the encoder's stages and of the decoder's, if the configuration does not say."""
    if generation == 1:
        return (2,) * stages, (2,) * (stages - 1)
    deep = ceil(stages / 2)
    deep_decoder = ceil((stages - 1) / 2 + 0.5)
    return (
        tuple(2 if stage < deep else 1 for stage in range(stages)),
        tuple(2 if stage < deep_decoder else 1 for stage in range(stages - 1)),
    )


def _tokens(unet: UNet, patch_size: Sequence[int] | None) -> list[tuple[int, bool]]:
    """Of each stage's Mamba: width of its tokens, and whether these are the channels."""
    if patch_size is None:
        raise ConfigurationError(
            "patch_size is missing, which U-Mamba's encoder of generation 2 needs."
        )
    voxels = [prod(shape) for shape in unet.shapes(patch_size)]
    return [
        (count, True) if count <= width else (width, False)
        for count, width in zip(voxels, unet.features, strict=True)
    ]
