"""Parameters and arithmetic of a U-Net, exact, from the walk over its layers."""

from resenc_plans.cost.layers import Convolution, UNetLayers


def count_parameters(layers: UNetLayers) -> int:
    """Trainable parameters, each counted once."""
    around = layers.around
    total = 0
    for unit in layers.convolutions():
        total += unit.inputs * unit.outputs * unit.kernel_volume + unit.bias * unit.outputs
        total += 2 * unit.outputs * (unit.norm and around.norm_affine)
        total += around.activation_parameters * unit.activation
    for block in layers.blocks():
        total += around.activation_parameters * around.activation
        if block.squeezed is not None:
            outputs = block.convolutions[-1].outputs
            total += 2 * outputs * block.squeezed + outputs + block.squeezed
    return total


def count_flops(layers: UNetLayers, batch_size: int) -> int:
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
