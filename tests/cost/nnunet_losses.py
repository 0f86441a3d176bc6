"""nnU-Net's losses operator by operator, as they run without compilation: what `cost` books."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


@dataclass
class NnunetLoss:
    """nnU-Net's loss of labels or regions, and its trainer's hold of the logits until the end."""

    regions: bool = False
    held: list[Tensor] = field(default_factory=list)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        self.held.append(logits)
        return (region_loss if self.regions else label_loss)(logits, target)


def label_loss(logits: Tensor, target: Tensor) -> Tensor:
    """DC_and_CE_loss with MemoryEfficientSoftDiceLoss; the target is (batch, 1, *image)."""
    with torch.no_grad():
        one_hot = logits.new_zeros(logits.shape, dtype=torch.float32)
        one_hot.scatter_(1, target.long(), 1)
    dice = _dice(logits.softmax(1)[:, 1:], one_hot[:, 1:])
    return cross_entropy(logits, target[:, 0].long()) + dice


def region_loss(logits: Tensor, target: Tensor) -> Tensor:
    """DC_and_BCE_loss; the target has the shape of the logits."""
    dice = _dice(logits.sigmoid(), target.to(torch.float32))
    return binary_cross_entropy_with_logits(logits, target.float()) + dice


def _dice(probabilities: Tensor, one_hot: Tensor) -> Tensor:
    axes = tuple(range(2, probabilities.ndim))
    with torch.no_grad():
        present = one_hot.sum(axes, dtype=torch.float32)
    overlap = (probabilities * one_hot).sum(axes, dtype=torch.float32)
    predicted = probabilities.sum(axes, dtype=torch.float32)
    return -((2 * overlap + 1e-5) / (present + predicted + 1e-5).clamp_min(1e-8)).mean()
