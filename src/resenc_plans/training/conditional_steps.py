"""Steps of an optimizer that the device takes or leaves out by itself, so that no host decides.

A step whose gradients are not finite must change nothing. Whether they are is known on the device
first: a host that asks waits for it, and leaves it without work in the meantime.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer


def can_decide(optimizer: Optimizer) -> bool:
    """Whether `step_if` takes this optimizer now.

    It does once each weight has its momentum: with optimizers that are fused, and with SGD. What
    the first step makes of gradients that are not finite would stay in the momenta.
    """
    if "step" in vars(optimizer):  # somebody has wrapped it
        return False
    if not _has_begun(optimizer):
        return False
    return _is_fused(optimizer) or _is_plain_sgd(optimizer)


def step_if(optimizer: Optimizer, is_good: Tensor) -> None:
    """Take a step where the tensor of one truth value says so, else change no weight or momentum.

    Every bit is that of `optimizer.step()`. Afterwards, the gradients are of no use.
    """
    if _is_fused(optimizer):
        optimizer.found_inf = (~is_good).float()  # type: ignore[attr-defined]
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf  # type: ignore[attr-defined]
    else:
        _step_of_sgd(optimizer, is_good)


@torch.no_grad()
def _step_of_sgd(optimizer: Optimizer, is_good: Tensor) -> None:
    """The operations of `torch.optim.SGD`, in its order, for all weights at once."""
    for group in optimizer.param_groups:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            continue
        gradients = [weight.grad for weight in weights]
        momentum = float(group["momentum"])
        if group["weight_decay"]:
            torch._foreach_add_(gradients, weights, alpha=group["weight_decay"])
        _clear_unless(is_good, gradients)
        if momentum:
            momenta = [optimizer.state[weight]["momentum_buffer"] for weight in weights]
            kept = torch.where(is_good, momentum, 1.0)
            torch._foreach_mul_(momenta, kept.to(torch.float32))
            torch._foreach_add_(momenta, gradients)
            if group["nesterov"]:
                torch._foreach_add_(gradients, momenta, alpha=momentum)
            else:
                torch._foreach_copy_(gradients, momenta)
            _clear_unless(is_good, gradients)
        torch._foreach_add_(weights, gradients, alpha=-group["lr"])


def _clear_unless(is_good: Tensor, values: Sequence[Tensor]) -> None:
    """Make them 0 where it is false; as integers, since NaN times 0 is NaN."""
    bits = [value.view(torch.int32) for value in values]
    torch._foreach_mul_(bits, is_good.to(torch.int32))


def _is_fused(optimizer: Optimizer) -> bool:
    kinds = (SGD, torch.optim.Adam, torch.optim.AdamW)
    groups = optimizer.param_groups
    return type(optimizer) in kinds and all(group["fused"] for group in groups)


def _is_plain_sgd(optimizer: Optimizer) -> bool:
    hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    return (
        type(optimizer) is SGD
        and not any(hooks)
        and not any(
            group["dampening"] or group["maximize"] or isinstance(group["lr"], Tensor)
            for group in optimizer.param_groups
        )
        and all(
            weight.dtype == torch.float32 and weight.grad.layout == torch.strided
            for group in optimizer.param_groups
            for weight in group["params"]
            if weight.grad is not None
        )
    )


def _has_begun(optimizer: Optimizer) -> bool:
    """Whether all that a step changes is there."""
    return all(
        (type(optimizer) is SGD and not group["momentum"])
        or any(value is not None for value in optimizer.state.get(weight, {}).values())
        for group in optimizer.param_groups
        for weight in group["params"]
        if weight.grad is not None
    )
