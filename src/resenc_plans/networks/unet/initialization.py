"""Initial weights as nnU-Net draws them: He's normal distribution, residual blocks silent."""

from torch import nn

from resenc_plans.networks.unet.blocks import ResidualBlock

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def initialize(network: nn.Module, negative_slope: float = 1e-2, *, silent: bool = True) -> None:
    """Draw the weights of `network`, in place, as `get_network_from_plans` of nnU-Net does.

    Convolutions: He et al. 2015 for a leaky rectifier, mode fan_in; biases 0. The last
    normalisation of each residual block: scale and shift 0, so that the block starts as its skip,
    unless `silent` is False.
    Each layer is drawn once; nnU-Net draws those that have several names as often.
    """
    for module in network.modules():
        initialize_module(module, negative_slope, silent=silent)


def initialize_module(
    module: nn.Module, negative_slope: float = 1e-2, *, silent: bool = True
) -> None:
    """Draw the weights of one module, without those of the modules in it, as `initialize` does."""
    if isinstance(module, _CONVOLUTIONS):
        nn.init.kaiming_normal_(module.weight, a=negative_slope)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif silent and isinstance(module, ResidualBlock):
        _silence(module)


def _silence(block: ResidualBlock) -> None:
    norm = getattr(block.last_convolution, "norm", None)
    if norm is not None:
        for parameter in norm.parameters():
            nn.init.zeros_(parameter)
