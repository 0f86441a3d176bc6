"""The blocks of nnU-Net's U-Nets.

Names of submodules, and the order in which they are registered, are those of
dynamic-network-architectures 0.4.4: state dicts have the same keys in the same order. Some modules
are registered under two names for that reason (`conv` and `all_modules.0`).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from resenc_plans.networks.unet.layers import LayerFactory
from resenc_plans.plans.unet import ResidualBlocks


class ConvBlock(nn.Module):
    """Convolution, dropout, normalisation, activation; those that the network has.

    With `nonlin_first` of the operators, the activation precedes the normalisation.
    """

    def __init__(
        self,
        layers: LayerFactory,
        inputs: int,
        outputs: int,
        kernel_size: tuple[int, ...] | int,
        stride: tuple[int, ...] | int = 1,
        *,
        bias: bool | None = None,
        dropout: bool = True,
        nonlin: bool = True,
    ) -> None:
        super().__init__()
        parts = {
            "conv": layers.convolution(inputs, outputs, kernel_size, stride, bias),
            "dropout": layers.dropping() if dropout else None,
            "norm": layers.normalisation(outputs),
            "nonlin": layers.activation() if nonlin else None,
        }
        present = {name: layer for name, layer in parts.items() if layer is not None}
        for name, layer in present.items():
            self.add_module(name, layer)
        order = list(present)
        if layers.operators.nonlin_first and "norm" in present and "nonlin" in present:
            order[-2:] = ["nonlin", "norm"]
        self.all_modules = nn.Sequential(*(present[name] for name in order))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers to `x` of shape (batch, channels, *image)."""
        result: Tensor = self.all_modules(x)
        return result


class ConvStack(nn.Module):
    """Several `ConvBlock`s, of which the first may have a stride."""

    def __init__(
        self,
        layers: LayerFactory,
        inputs: int,
        outputs: int,
        kernel_size: tuple[int, ...],
        *,
        depth: int,
        stride: tuple[int, ...] | int = 1,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            ConvBlock(layers, inputs, outputs, kernel_size, stride),
            *(ConvBlock(layers, outputs, outputs, kernel_size) for _ in range(depth - 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks in turn."""
        result: Tensor = self.convs(x)
        return result


class ResidualBlock(nn.Module):
    """Convolutions beside a skip connection; the activation follows the sum.

    The skip is ResNet-D's (He et al. 2019, "Bag of tricks for image classification", section 4.2):
    it pools before it projects. See `basic_block` and `bottleneck_block`.
    """

    def __init__(
        self,
        layers: LayerFactory,
        inputs: int,
        outputs: int,
        stride: tuple[int, ...],
        *,
        convolutions: Sequence[ConvBlock],
        options: ResidualBlocks,
    ) -> None:
        super().__init__()
        self._path = tuple(f"conv{number}" for number, _ in enumerate(convolutions, 1))
        self._nonlin = f"nonlin{len(convolutions)}"
        for name, convolution in zip(self._path, convolutions, strict=True):
            self.add_module(name, convolution)
        self.add_module(self._nonlin, layers.activation() or nn.Identity())
        if options.stochastic_depth_p:
            self.drop_path = DropPath(options.stochastic_depth_p)
            self._path += ("drop_path",)
        if options.squeeze_excitation_ratio is not None:
            self.squeeze_excitation = SqueezeExcitation(
                layers, outputs, options.squeeze_excitation_ratio
            )
            self._path += ("squeeze_excitation",)
        self.skip = _skip(layers, inputs, outputs, stride)

    @property
    def last_convolution(self) -> nn.Module:
        """The convolution whose result is added to the skip's."""
        return self.get_submodule(self._nonlin.replace("nonlin", "conv"))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x` of shape (batch, channels, *image)."""
        residual = self.skip(x)
        for name in self._path:
            x = self.get_submodule(name)(x)
        x += residual
        result: Tensor = self.get_submodule(self._nonlin)(x)
        return result


def basic_block(
    layers: LayerFactory,
    inputs: int,
    outputs: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    options: ResidualBlocks,
) -> ResidualBlock:
    """Two convolutions; the first has the stride and, where the network has any, dropout."""
    convolutions = (
        ConvBlock(layers, inputs, outputs, kernel_size, stride),
        ConvBlock(layers, outputs, outputs, kernel_size, dropout=False, nonlin=False),
    )
    return ResidualBlock(
        layers, inputs, outputs, stride, convolutions=convolutions, options=options
    )


def bottleneck_block(
    layers: LayerFactory,
    inputs: int,
    outputs: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    channels: int,
    options: ResidualBlocks,
) -> ResidualBlock:
    """A 1x1x1 convolution to `channels` channels, one with kernel and stride, and one back."""
    convolutions = (
        ConvBlock(layers, inputs, channels, 1, dropout=False),
        ConvBlock(layers, channels, channels, kernel_size, stride),
        ConvBlock(layers, channels, outputs, 1, dropout=False, nonlin=False),
    )
    return ResidualBlock(
        layers, inputs, outputs, stride, convolutions=convolutions, options=options
    )


class ResidualStack(nn.Module):
    """Several residual blocks, of which the first may have a stride."""

    def __init__(self, blocks: Sequence[ResidualBlock]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks in turn."""
        result: Tensor = self.blocks(x)
        return result


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, drop whole samples with probability p."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Zero some samples of `x` and scale the others by 1 / (1 - p)."""
        if not self.training:
            return x
        keep = 1 - self.p
        mask = x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask.div_(keep) if keep > 0 else mask)


class SqueezeExcitation(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): scale each channel by a gate.

    The gate depends on the mean over the first two image axes, as in
    dynamic-network-architectures: in 3D there is one gate per position along the last axis.
    """

    def __init__(self, layers: LayerFactory, channels: int, reduction_ratio: float) -> None:
        super().__init__()
        reduced = max(8, int(channels * reduction_ratio + 4) // 8 * 8)
        self.fc1 = layers.convolution(channels, reduced, 1, bias=True)
        self.act = nn.ReLU(inplace=True)
        self.fc2 = layers.convolution(reduced, channels, 1, bias=True)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale `x` of shape (batch, channels, *image)."""
        squeezed = x.mean((2, 3), keepdim=True)
        gate: Tensor = self.gate(self.fc2(self.act(self.fc1(squeezed))))
        return x * gate


def _skip(layers: LayerFactory, inputs: int, outputs: int, stride: tuple[int, ...]) -> nn.Module:
    parts: list[nn.Module] = []
    if any(step != 1 for step in stride):
        parts.append(layers.pooling(stride))
    if inputs != outputs:
        parts.append(ConvBlock(layers, inputs, outputs, 1, bias=False, dropout=False, nonlin=False))
    return nn.Sequential(*parts) if parts else nn.Identity()
