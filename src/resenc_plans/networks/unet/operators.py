"""The layer classes that a plans file may name, and the layers they make.

Names are looked up in a list; nothing is imported by name.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.imports import import_class, is_allowed

_CLASSES: dict[str, tuple[type[nn.Module], ...]] = {
    "conv_op": (nn.Conv2d, nn.Conv3d),
    "norm_op": (
        nn.InstanceNorm2d,
        nn.InstanceNorm3d,
        nn.BatchNorm2d,
        nn.BatchNorm3d,
        nn.SyncBatchNorm,
    ),
    "dropout_op": (nn.Dropout, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
    "nonlin": (
        nn.LeakyReLU,
        nn.ReLU,
        nn.ReLU6,
        nn.RReLU,
        nn.PReLU,
        nn.ELU,
        nn.CELU,
        nn.SELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Softplus,
        nn.Softsign,
        nn.Hardswish,
        nn.Hardtanh,
        nn.Tanh,
        nn.Sigmoid,
        nn.Identity,
    ),
}

OPERATORS: dict[str, dict[str, type[nn.Module]]] = {
    key: {
        name: cls
        for cls in classes
        for name in (f"torch.nn.{cls.__name__}", f"{cls.__module__}.{cls.__name__}")
    }
    for key, classes in _CLASSES.items()
}
"""For each argument that names a layer class: the names it may have, short and full."""

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
    """
    known = OPERATORS[key]
    if name not in known:
        if is_allowed(name, allow_import):
            return import_class(name, allow_import)
        ending = [other for other in known if other.endswith("." + name.rpartition(".")[2])]
        close = ending or get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ConfigurationError(
            f"{key} is {name!r}, which is not a class that plans may name here, so it is not "
            f"imported.{hint} If you trust the file, allow its module (--allow-import)."
        )
    return known[name]


@dataclass(frozen=True)
class Operators:
    """The layer classes of a network with their arguments; makes its layers.

    Convolutions come uninitialised: a network initialises itself when it is complete.
    """

    conv: type[nn.Module]
    bias: bool = False
    norm: type[nn.Module] | None = None
    norm_kwargs: Mapping[str, Any] = field(default_factory=dict)
    dropout: type[nn.Module] | None = None
    dropout_kwargs: Mapping[str, Any] = field(default_factory=dict)
    nonlin: type[nn.Module] | None = None
    nonlin_kwargs: Mapping[str, Any] = field(default_factory=dict)
    nonlin_first: bool = False

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
            bias=self.bias if bias is None else bias,
        )

    def upsampling(self, inputs: int, outputs: int, stride: tuple[int, ...]) -> nn.Module:
        """A transposed convolution whose kernel is its stride."""
        return _uninitialised(
            _SPATIAL[self.dim][0], inputs, outputs, stride, stride, bias=self.bias
        )

    def pooling(self, stride: tuple[int, ...]) -> nn.Module:
        """Mean pooling whose window is its stride."""
        return _SPATIAL[self.dim][1](stride, stride)

    def normalisation(self, channels: int) -> nn.Module | None:
        """The normalisation of `channels` features, if the network has any."""
        return self.norm(channels, **self.norm_kwargs) if self.norm is not None else None

    def dropping(self) -> nn.Module | None:
        """Dropout, if the network has any."""
        return self.dropout(**self.dropout_kwargs) if self.dropout is not None else None

    def activation(self) -> nn.Module | None:
        """The activation, if the network has any."""
        return self.nonlin(**self.nonlin_kwargs) if self.nonlin is not None else None


def make_operators(
    conv_op: type[nn.Module],
    conv_bias: bool = False,
    norm_op: type[nn.Module] | None = None,
    norm_op_kwargs: Mapping[str, Any] | None = None,
    dropout_op: type[nn.Module] | None = None,
    dropout_op_kwargs: Mapping[str, Any] | None = None,
    nonlin: type[nn.Module] | None = None,
    nonlin_kwargs: Mapping[str, Any] | None = None,
    nonlin_first: bool = False,
) -> Operators:
    """The operators that a network's arguments describe, tried out once each.

    Raises
    ------
    ConfigurationError
        A class is not one, does not take its arguments, or works on another number of axes. The
        message begins with the argument's name.
    """
    if not (isinstance(conv_op, type) and issubclass(conv_op, nn.Conv2d | nn.Conv3d)):
        raise ConfigurationError(f"conv_op is {conv_op!r}: a Conv2d or Conv3d class is expected.")
    operators = Operators(
        conv_op,
        conv_bias,
        norm_op,
        dict(norm_op_kwargs or {}),
        dropout_op,
        dict(dropout_op_kwargs or {}),
        nonlin,
        dict(nonlin_kwargs or {}),
        nonlin_first,
    )
    other = f"{5 - operators.dim}d"
    if norm_op is not None and norm_op.__name__.endswith(other):
        raise ConfigurationError(
            f"norm_op is {norm_op.__name__}, but conv_op is {conv_op.__name__}: "
            "they work on different numbers of image axes."
        )
    attempts: dict[str, Callable[[], nn.Module | None]] = {
        "norm_op_kwargs": lambda: operators.normalisation(8),
        "dropout_op_kwargs": operators.dropping,
        "nonlin_kwargs": operators.activation,
    }
    for key, attempt in attempts.items():
        try:
            attempt()
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{key} do not fit: {error}.") from None
    return operators


def _uninitialised(cls: type[nn.Module], *arguments: Any, **keywords: Any) -> nn.Module:
    layer = cls(*arguments, **keywords, device="meta")
    for name, parameter in layer.named_parameters(recurse=False):
        values = torch.empty(parameter.shape, dtype=parameter.dtype)  # to_empty() imports sympy
        setattr(layer, name, nn.Parameter(values))
    return layer
