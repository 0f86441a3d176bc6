"""Training steps on a fake GPU: `python -m tests.training.step_on_fake_gpu`.

Prints as JSON, for each way to train, what went wrong, or the types of the logits and of what the
host gets to know; `forgetful` is a loss that has not moved a tensor.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from resenc_plans.datasets.labels import Labels
from resenc_plans.networks.build import build_network
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.training.batches.source import Batch
from resenc_plans.training.defaults import default_loss
from resenc_plans.training.losses import Loss
from resenc_plans.training.pseudo_dice import count_overlap
from resenc_plans.training.ranks import Ranks
from resenc_plans.training.reading import Reading
from resenc_plans.training.step import TrainingStep, image_type
from tests.fake_gpu import FAKE_GPU, install_fake_gpu, put_on_fake_gpu
from tests.networks.configurations import configuration, residual

CONFIG = residual(n_stages=3)
COTR = configuration("resenc_plans.networks.baselines.cotr.CoTr", {}, (16, 16, 32))
HEADS, IGNORED = 3, 3


@dataclass(frozen=True)
class Way:
    """A way to train."""

    settings: dict[str, Any] = field(default_factory=dict)
    regions: bool = False
    has_ignored: bool = False
    world: int = 1
    config: ResolvedConfiguration = CONFIG


FUSED_ADAMW = {"fused_optimizer": True, "optimizer": {"name": "AdamW"}}
WAYS = {
    "nnU-Net's": Way(),
    "bf16": Way({"precision": "bf16"}),
    "fp32": Way({"precision": "fp32"}),
    "channels last": Way({"channels_last": True}),
    "fused AdamW": Way(FUSED_ADAMW),
    "AdamW": Way({"optimizer": {"name": "AdamW"}}),
    "CoTr": Way(config=COTR),
    **{
        f"{loss}, {'regions' if regions else 'labels'}, {'' if ignored else 'none '}ignored, "
        f"{world} ranks": Way({"loss": {"name": loss}}, regions, ignored, world)
        for loss in ("dice_cross_entropy", "dice_focal", "cross_entropy", "dice")
        for regions in (False, True)
        for ignored in (False, True)
        for world in (1, 2)
        if not (loss == "cross_entropy" and regions)
    },
}


def forgetful(logits: Tensor, _: Tensor) -> Tensor:
    return (logits.mean((0, 2, 3, 4)) * torch.ones(HEADS)).sum()


def train(way: Way, loss: Loss | None = None) -> str:
    """Steps on a batch from the host, of which the host does not know what they find."""
    settings = TrainingSettings.model_validate({"compile": False, **way.settings})
    ranks, config = Ranks(0, way.world, FAKE_GPU), way.config
    network = build_network(config, 1, HEADS, deep_supervision=True)
    ignored = IGNORED if way.has_ignored else None
    with FakeTensorMode():
        put_on_fake_gpu(network)
        loss = loss or default_loss(
            config, settings, ranks, regions=way.regions, ignore_label=ignored
        )
        step = TrainingStep.of(network, loss, settings, ranks, dim=config.dim)
        step.make_forward = None
        channels = HEADS + way.has_ignored if way.regions else 1
        size = config.patch_size
        images = torch.empty((2, 1, *size), dtype=image_type(config, settings, FAKE_GPU))
        target = torch.empty((2, channels, *size), dtype=torch.bool if way.regions else torch.int8)
        batch = Batch(images, target, ("fake",))
        step.train()
        with gradients_of(network):
            step.launch(batch)
            launched = step.launch(batch)
        step.eval()
        with torch.no_grad():
            outcome = step.evaluate(batch)
            regions = ((1, 2), (2,), (3,)) if way.regions else None
            labels = Labels((0, 1, 2), regions, None, ignored)
            count_overlap(outcome.logits[0].float(), outcome.targets[0], labels)
            Reading.begin([outcome.loss.own, outcome.loss.stopping])
    types = outcome.logits[0].dtype, launched.reading.packed.dtype
    return ", ".join(str(kind).removeprefix("torch.") for kind in types)


@contextmanager
def gradients_of(network: nn.Module) -> Iterator[None]:
    """Let a backward pass, which no fake tensor takes, give each weight its gradient."""

    def backward(loss: Tensor) -> None:
        assert loss.requires_grad
        assert (loss.ndim, loss.device) == (0, FAKE_GPU)
        for weight in network.parameters():
            weight.grad = torch.empty_like(weight)

    with patch.object(Tensor, "backward", backward):
        yield


def ended(way: Way, loss: Loss | None = None) -> str:
    try:
        return train(way, loss)
    except (RuntimeError, TypeError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"


def reduce(tensor: Tensor) -> None:
    """As NCCL, which takes tensors in one piece."""
    assert tensor.is_contiguous()


def numbers(_: Reading) -> list[float]:
    """Of a good step: loss, norm, whether to stop, mean loss."""
    return [1.0, 1.0, 0.0, 1.0]


def main() -> None:
    install_fake_gpu()
    vars(dist)["all_reduce"] = reduce
    Reading.numbers = numbers  # type: ignore[method-assign,assignment]
    ends = {name: ended(way) for name, way in WAYS.items()}
    print(json.dumps(ends | {"forgetful": ended(Way(), forgetful)}))


if __name__ == "__main__":
    main()
