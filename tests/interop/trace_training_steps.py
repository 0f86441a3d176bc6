"""Run in the peer's environment: count the storages of training steps of the real networks.

Arguments: a JSON file with a list of cases, `{"plans": …, "configuration": …, "channels": …,
"heads": …, "regions": …, "fused": …}`, the first two as nnU-Net's own classes read them. Prints a
JSON list of parameters, bytes after forward and peak bytes. Tensors are on torch's meta device;
what CUDA's autocast would cast is cast by name of the function.
"""

import json
import sys
import weakref
from pathlib import Path

import numpy as np
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

IN_HALF = {"conv2d", "conv3d", "conv_transpose2d", "conv_transpose3d", "prelu"}


class Counter(TorchDispatchMode):
    """Bytes of all storages that are alive, and their maximum."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.known = {}

    def see(self, tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known[key] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.forget, key)

    def forget(self, key) -> None:
        self.live -= self.known.pop(key)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor):
                self.see(value)
        return result


class HalfToFloatSoftmax(torch.autograd.Function):
    """CUDA's softmax of fp16 logits to fp32 probabilities makes no copy on the way."""

    @staticmethod
    def forward(ctx, logits):
        result = torch.empty_like(logits, dtype=torch.float32)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, _):
        (result,) = ctx.saved_tensors
        return torch.empty_like(result, dtype=torch.float16)


class CudaAutocast(TorchFunctionMode):
    """The casts of ATen/autocast_mode.h that nnU-Net's training step meets."""

    def __init__(self):
        super().__init__()
        self.weights = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.__name__
        if name in IN_HALF:
            args = [self.half(a) if isinstance(a, torch.Tensor) else a for a in args]
        elif name == "softmax" and args[0].dtype == torch.float16:
            return HalfToFloatSoftmax.apply(args[0])
        elif name == "cross_entropy":
            logits, target = args[:2]
            with torch._C.DisableTorchFunction():
                return torch.nn.functional.nll_loss(
                    torch.log_softmax(logits, 1).float(), target, reduction="mean"
                )
        elif name == "binary_cross_entropy_with_logits":
            args = (args[0].float(), *args[1:])
        return func(*args, **kwargs)

    def half(self, tensor):
        if tensor.dtype != torch.float32:
            return tensor
        if not (tensor.is_leaf and tensor.requires_grad):
            return tensor.half()
        if id(tensor) not in self.weights:
            self.weights[id(tensor)] = tensor.half()
        return self.weights[id(tensor)]


def criterion(scales, regions, batch_dice):
    weights = np.array([1 / 2**i for i in range(scales)])
    weights[-1] = 0 if scales > 1 else 1
    dice = {"batch_dice": batch_dice, "smooth": 1e-5, "ddp": False}
    if regions:
        loss = DC_and_BCE_loss({}, dice | {"do_bg": True}, dice_class=MemoryEfficientSoftDiceLoss)
    else:
        loss = DC_and_CE_loss(dice | {"do_bg": False}, {}, dice_class=MemoryEfficientSoftDiceLoss)
    return DeepSupervisionWrapper(loss, weights / weights.sum())


def trace(case):
    config = case["configuration"]
    arguments = config["architecture"]["arch_kwargs"]
    channels, heads, regions = case["channels"], case["heads"], case["regions"]
    batch, patch = config["batch_size"], config["patch_size"]
    with torch.device("meta"):
        network = get_network_from_plans(
            config["architecture"]["network_class_name"],
            arguments,
            config["architecture"]["_kw_requires_import"],
            channels,
            heads,
            allow_init=False,
            deep_supervision=True,
        )
    loss = criterion(arguments["n_stages"] - 1, regions, config["batch_dice"])
    optimizer = torch.optim.SGD(
        network.parameters(), 1e-2, 0.99, weight_decay=3e-5, nesterov=True, foreach=True
    )
    counter = Counter()
    with counter:
        for parameter in network.parameters():
            counter.see(parameter)
        for _ in range(2):
            counter.peak = counter.live
            shape, targets = list(patch), []
            data = torch.empty((batch, channels, *patch), device="meta")
            for stride in arguments["strides"][:-1]:
                stride = [stride] * len(shape) if isinstance(stride, int) else stride
                shape = [n // s for n, s in zip(shape, stride, strict=True)]
                kind = torch.bool if regions else torch.int16
                size = (batch, heads if regions else 1, *shape)
                targets.append(torch.empty(size, dtype=kind, device="meta"))
            before = counter.live
            optimizer.zero_grad(set_to_none=True)
            before = counter.live
            with CudaAutocast() as autocast:
                output = network(data)
                activations = counter.live - before
                value = loss(output, targets)
            autocast.weights.clear()
            value.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
            optimizer.step()
            peak = counter.peak
            del output, value, data, targets
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "activation_bytes": activations,
        "peak_bytes": peak,
    }


if __name__ == "__main__":
    cases = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps([trace(case) for case in cases]))
