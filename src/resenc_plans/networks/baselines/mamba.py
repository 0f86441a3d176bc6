"""The Mamba layer on the voxels of feature maps.

Gu & Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces". Names of
parameters are those of `mamba_ssm` and mambapy.
"""

from math import ceil, log

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from resenc_plans.networks.baselines.selective_scan import fused_kernel, selective_scan

STATES, KERNEL, EXPANSION = 16, 4, 2
"""States of each channel, length of the convolution, inner channels of each outer one."""

STEP_RANGE = (0.001, 0.1)
MIN_STEP = 1e-4
"""Initial step sizes: log-uniform in the range, and at least so much."""


class Mamba(nn.Module):
    """A selective state space model beside a gate, along a sequence in one direction.

    Matrix products and the convolution follow the input or autocast; the step size, the scan and
    the gate are in single precision.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner, rank = EXPANSION * width, ceil(width / 16)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, KERNEL, groups=inner, padding=KERNEL - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * STATES, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.empty(inner, STATES))
        self.D = nn.Parameter(torch.empty(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        fused_kernel()
        self._initialize(rank)

    def _initialize(self, rank: int) -> None:
        """Linear layers and the convolution keep torch's weights."""
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        with torch.no_grad():
            step = torch.empty_like(self.dt_proj.bias).uniform_(*map(log, STEP_RANGE)).exp_()
            step.clamp_(min=MIN_STEP)
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))
            self.A_log.copy_(torch.arange(1, STATES + 1).log().expand_as(self.A_log))
            self.D.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to tokens of shape (batch, length, width)."""
        u, z = self.in_proj(x).transpose(1, 2).chunk(2, 1)
        u = silu(self.conv1d(u)[..., : x.shape[1]])
        rank = self.dt_proj.in_features
        step, b, c = self.x_proj(u.transpose(1, 2)).split((rank, STATES, STATES), 2)
        # contiguous, since torch's compiler takes the gradient of softplus to be
        step = self.dt_proj.weight @ step.transpose(1, 2)
        kind = torch.float64 if x.dtype == torch.float64 else torch.float32
        delta = softplus(step.to(kind) + self.dt_proj.bias.to(kind).unsqueeze(1))
        rates = -torch.exp(self.A_log.to(kind))
        y = selective_scan(u, delta, a=rates, b=b.transpose(1, 2), c=c.transpose(1, 2), d=self.D)
        y = y * silu(z.to(kind))
        result: Tensor = self.out_proj(y.transpose(1, 2).to(u.dtype))
        return result


class MambaStage(nn.Module):
    """Mamba over normalised feature maps, without autocast; half precision becomes single.

    The tokens are the voxels, with `width` channels, or with `channels_are_tokens` the channels,
    with `width` voxels.
    """

    def __init__(self, width: int, *, channels_are_tokens: bool = False) -> None:
        super().__init__()
        self.channels_are_tokens = channels_are_tokens
        self.norm = nn.LayerNorm(width)
        self.mamba = Mamba(width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to `x` of shape (batch, channels, *image)."""
        with torch.autocast(x.device.type, enabled=False):
            x = x if x.dtype == torch.float64 else x.float()
            if self.channels_are_tokens:
                return self.mamba(self.norm(x.flatten(2))).view(x.shape)  # type: ignore[no-any-return]
            return mix_voxels(x, self.norm, self.mamba)


def mix_voxels(x: Tensor, norm: nn.Module, mamba: nn.Module) -> Tensor:
    """Normalise the voxels of `x` (batch, channels, *image) and mix them, the last axis fastest."""
    tokens: Tensor = mamba(norm(x.flatten(2).transpose(1, 2)))
    return tokens.transpose(1, 2).reshape(x.shape)
