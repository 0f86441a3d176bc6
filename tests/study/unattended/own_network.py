"""A network that a study may name by its import path."""

from torch import nn


def make_network(input_channels: int, output_heads: int) -> nn.Module:
    """One convolution."""
    return nn.Conv3d(input_channels, output_heads, 3, padding=1)
