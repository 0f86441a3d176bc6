"""Parameters and arithmetic of a U-Net, exact, from the walk over its layers."""

from resenc_plans.cost.layers import (
    Convolution,
    DecoderStage,
    LayerStyle,
    ResidualBlock,
    SizedLayers,
)


def count_parameters(layers: SizedLayers) -> int:
    """Trainable parameters, each counted once."""
    style = layers.style
    stem = part_parameters(layers.stem, style) if layers.stem is not None else 0
    encoder = sum(part_parameters(part, style) for stage in layers.encoder for part in stage)
    decoder = sum(decoder_parameters(stage, style) for stage in layers.decoder)
    return stem + encoder + decoder


def decoder_parameters(stage: DecoderStage, style: LayerStyle) -> int:
    """Of a decoder stage with its upsampling and its segmentation head."""
    parts = (stage.upsampling, *stage.convolutions, stage.head)
    return sum(part_parameters(part, style) for part in parts)


def part_parameters(part: Convolution | ResidualBlock, style: LayerStyle) -> int:
    """Of a convolution with what follows it, or of a residual block."""
    if isinstance(part, Convolution):
        weights = part.inputs * part.outputs * part.kernel_volume + part.bias * part.outputs
        scales = 2 * part.outputs * (part.norm and style.norm_affine)
        return weights + scales + style.activation_parameters * part.activation
    total = style.activation_parameters * style.activation
    total += sum(part_parameters(unit, style) for unit in part.convolutions)
    if part.projection is not None:
        total += part_parameters(part.projection, style)
    if part.squeezed is not None:
        outputs = part.convolutions[-1].outputs
        total += 2 * outputs * part.squeezed + outputs + part.squeezed
    return total


def count_flops(layers: SizedLayers, batch_size: int) -> int:
    """Floating-point operations of the convolutions in one training step, two per multiply-add.

    Backward takes twice the forward pass: one product for the gradient of the input, one for that
    of the weights. The image needs no gradient.
    """
    units = list(layers.convolutions())
    forward = sum(_multiply_adds(unit) for unit in units)
    return 2 * batch_size * (3 * forward - _multiply_adds(units[0]))


def _multiply_adds(unit: Convolution) -> int:
    """Of one sample; a transposed convolution visits each input voxel, another each output."""
    voxels = unit.input_voxels if unit.transposed else unit.output_voxels
    return unit.inputs * unit.outputs * unit.kernel_volume * voxels
