"""Keep bfloat16 convolutions on a CPU away from a fault of PyTorch in maps of few slices."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import conv3d, pad


def pad_shallow_maps(network: nn.Module) -> None:
    """Let 3D convolutions pad maps themselves that have no more slices than their kernel.

    On a CPU that multiplies in bfloat16, PyTorch 2.13 (oneDNN) then calculates gradients of the
    weights from memory that does not belong to the maps, and writes beyond its own: k = 3 over two
    slices, k = 5 over two to four. Results are the same where the zeros are part of the map.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1:
            layer.forward = partial(_convolve, layer, layer.forward)  # type: ignore[method-assign]


def _convolve(module: nn.Conv3d, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if module.padding_mode != "zeros" or x.shape[-3] > module.kernel_size[0]:
        return forward(x)
    padded = pad(x, module._reversed_padding_repeated_twice)
    return conv3d(
        padded,
        module.weight,
        module.bias,
        module.stride,
        dilation=module.dilation,
        groups=module.groups,
    )
