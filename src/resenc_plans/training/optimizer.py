"""Stochastic gradient descent with momentum, stepped by torch's own function for it.

The class `torch.optim.SGD` imports torch's compiler when it is first used, which takes longer than
all else before the first batch.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from resenc_plans.errors import ResencPlansError

MOMENTUM = "momentum_buffer"


class MomentumSGD:
    """Steps, and states in dictionaries, equal those of `torch.optim.SGD`, foreach where it is."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        self.parameters = tuple(parameters)
        self.learning_rate = learning_rate
        self.momentum, self.weight_decay = momentum, weight_decay
        self.buffers: list[Tensor | None] = [None] * len(self.parameters)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """One group of all parameters, with torch's keys; `GradScaler` reads it."""
        return [
            {
                "params": list(self.parameters),
                "lr": self.learning_rate,
                "momentum": self.momentum,
                "dampening": 0,
                "weight_decay": self.weight_decay,
                "nesterov": self.momentum > 0,
                "maximize": False,
                "foreach": None,
                "differentiable": False,
                "fused": None,
            }
        ]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change each parameter that has a gradient."""
        changed = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        buffers = [self.buffers[i] for i in changed]
        sgd(
            [self.parameters[i] for i in changed],
            [gradient for i in changed if (gradient := self.parameters[i].grad) is not None],
            buffers,
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            dampening=0,
            nesterov=self.momentum > 0,
            maximize=False,
        )
        for i, buffer in zip(changed, buffers, strict=True):
            self.buffers[i] = buffer

    def state_dict(self) -> dict[str, Any]:
        """What torch's class would save."""
        [group] = self.param_groups
        state = {
            i: {MOMENTUM: buffer} for i, buffer in enumerate(self.buffers) if buffer is not None
        }
        return {
            "state": state,
            "param_groups": [group | {"params": list(range(len(self.parameters)))}],
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take up momenta and learning rate; momentum and weight decay remain as they are.

        Raises
        ------
        ResencPlansError
            The state is not of these parameters.
        """
        [group] = saved["param_groups"]
        buffers = [saved["state"].get(i, {}).get(MOMENTUM) for i in range(len(self.parameters))]
        pairs = zip(self.parameters, buffers, strict=True)
        if len(group["params"]) != len(self.parameters) or any(
            buffer is not None and buffer.shape != parameter.shape for parameter, buffer in pairs
        ):
            raise ResencPlansError("The optimiser's state is of other parameters.")
        self.learning_rate = group["lr"]
        self.buffers = [
            None if buffer is None else buffer.to(parameter, copy=True)
            for parameter, buffer in zip(self.parameters, buffers, strict=True)
        ]
