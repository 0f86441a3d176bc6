"""The layer classes that a plans file may name, and the layers they make.

Names are looked up in a list; nothing is imported by name.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from resenc_plans.errors import ConfigurationError, NetworkError
from resenc_plans.networks.imports import import_class, is_allowed
from resenc_plans.plans.architectures import LAYER_NAMES
from resenc_plans.plans.frozen import thaw
from resenc_plans.plans.unet import Operators
from resenc_plans.words import nearest

OPERATORS: dict[str, dict[str, type[nn.Module]]] = {
    argument: {name: getattr(nn, layer) for name, layer in names.items()}
    for argument, names in LAYER_NAMES.items()
}
"""For each argument that names a layer class: the classes by their names, short and full."""

_SPATIAL: dict[int, tuple[type[nn.Module], type[nn.Module]]] = {
    2: (nn.ConvTranspose2d, nn.AvgPool2d),
    3: (nn.ConvTranspose3d, nn.AvgPool3d),
}


def find_operator(key: str, name: str, allow_import: Collection[str] = ()) -> type[nn.Module]:
    """The class that `name` stands for in the argument `key`.

    A class of a module in `allow_import` is imported; see `imports`.

    >>> find_operator("conv_op", "torch.nn.modules.conv.Conv3d").__name__
    'Conv3d'

    Raises
    ------
    ConfigurationError
        The name is neither in the list of this argument nor in an allowed module.
    NetworkError
        A class of an allowed module cannot be imported.
    """
    known = OPERATORS[key]
    if name not in known:
        if is_allowed(name, allow_import):
            return import_class(name, allow_import)
        ending = [other for other in known if other.endswith("." + name.rpartition(".")[2])]
        close = ending[0] if ending else nearest(name, known)
        hint = f" Did you mean {close}?" if close else ""
        raise ConfigurationError(
            f"{key} is {name!r}, which is not a class that plans may name here, so it is not "
            f"imported.{hint} If you trust the file, allow its module (`allow_import=`)."
        )
    return known[name]


@dataclass(frozen=True)
class LayerFactory:
    """Makes the layers of a network: its operators, with classes in place of their names.

    Convolutions come uninitialised: a network initialises itself when it is complete.
    """

    operators: Operators
    conv: type[nn.Module]
    norm: type[nn.Module] | None
    dropout: type[nn.Module] | None
    nonlin: type[nn.Module] | None

    @property
    def dim(self) -> int:
        """Number of image axes that the convolution works on."""
        return 3 if issubclass(self.conv, nn.Conv3d) else 2

    def convolution(
        self,
        inputs: int,
        outputs: int,
        kernel_size: tuple[int, ...] | int,
        stride: tuple[int, ...] | int = 1,
        bias: bool | None = None,
    ) -> nn.Module:
        """A convolution with (k - 1) // 2 zeros around its input, per axis."""
        kernel = (kernel_size,) * self.dim if isinstance(kernel_size, int) else kernel_size
        return _uninitialised(
            self.conv,
            inputs,
            outputs,
            kernel,
            stride,
            padding=tuple((size - 1) // 2 for size in kernel),
            bias=self.operators.conv_bias if bias is None else bias,
        )

    def upsampling(self, inputs: int, outputs: int, stride: tuple[int, ...]) -> nn.Module:
        """A transposed convolution whose kernel is its stride."""
        return _uninitialised(
            _SPATIAL[self.dim][0], inputs, outputs, stride, stride, bias=self.operators.conv_bias
        )

    def pooling(self, stride: tuple[int, ...]) -> nn.Module:
        """Mean pooling whose window is its stride."""
        return _SPATIAL[self.dim][1](stride, stride)

    def normalisation(self, channels: int) -> nn.Module | None:
        """The normalisation of `channels` features, if the network has any."""
        return self.norm(channels, **thaw(self.operators.norm_op_kwargs)) if self.norm else None

    def dropping(self) -> nn.Module | None:
        """Dropout, if the network has any."""
        return self.dropout(**thaw(self.operators.dropout_op_kwargs)) if self.dropout else None

    def activation(self) -> nn.Module | None:
        """The activation, if the network has any."""
        return self.nonlin(**thaw(self.operators.nonlin_kwargs)) if self.nonlin else None


def layer_factory(operators: Operators, allow_import: Collection[str] = ()) -> LayerFactory:
    """The factory of a network with these operators, tried out once each.

    Raises
    ------
    ConfigurationError
        A class is not one, does not take its arguments, or works on another number of axes. The
        message begins with the argument's name.
    NetworkError
        A class of an allowed module cannot be imported.
    """
    names = {
        "conv_op": operators.conv_op,
        "norm_op": operators.norm_op,
        "dropout_op": operators.dropout_op,
        "nonlin": operators.nonlin,
    }
    conv, norm, dropout, nonlin = (
        None if name is None else find_operator(key, name, allow_import)
        for key, name in names.items()
    )
    if conv is None or not issubclass(conv, nn.Conv2d | nn.Conv3d):
        raise ConfigurationError(
            f"conv_op is {operators.conv_op}: a Conv2d or Conv3d class is expected."
        )
    factory = LayerFactory(operators, conv, norm, dropout, nonlin)
    other = f"{5 - factory.dim}d"
    if norm is not None and norm.__name__.endswith(other):
        raise ConfigurationError(
            f"norm_op is {norm.__name__}, but conv_op is {conv.__name__}: "
            "they work on different numbers of image axes."
        )
    attempts: dict[str, Callable[[], nn.Module | None]] = {
        "norm_op_kwargs": lambda: factory.normalisation(8),
        "dropout_op_kwargs": factory.dropping,
        "nonlin_kwargs": factory.activation,
    }
    for key, attempt in attempts.items():
        try:
            attempt()
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{key} do not fit: {error}.") from None
    return factory


def _uninitialised(cls: type[nn.Module], *arguments: Any, **keywords: Any) -> nn.Module:
    layer = cls(*arguments, **keywords, device="meta")
    for name, parameter in layer.named_parameters(recurse=False):
        try:
            values = torch.empty(parameter.shape, dtype=parameter.dtype)  # to_empty() imports sympy
        except RuntimeError:  # what torch raises where the system gives no memory
            raise NetworkError(
                f"a {cls.__name__} with weights of {'x'.join(map(str, parameter.shape))} does not "
                "fit into memory. Use fewer features."
            ) from None
        setattr(layer, name, nn.Parameter(values))
    return layer
