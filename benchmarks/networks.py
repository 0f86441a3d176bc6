"""The XL network, ours beside dynamic-network-architectures': built, forward, backward, on the CPU.

Both run in turns in one process, in the environment of the real nnU-Net (`make peer`), where the
script starts itself; the best of a few repetitions counts.

    python benchmarks/networks.py [--repeats 4] [--threads 2]
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from side_by_side import PEER_PYTHON, ROOT

XL: dict[str, Any] = {
    "n_stages": 6,
    "features_per_stage": [32, 64, 128, 256, 320, 320],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 6,
    "strides": [[1, 1, 1], *[[2, 2, 2]] * 5],
    "n_blocks_per_stage": [1, 3, 4, 6, 6, 6],
    "n_conv_per_stage_decoder": [1] * 5,
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")
CLASS_NAME = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
PATCH = (64, 64, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if Path(sys.executable) != PEER_PYTHON:
        if not PEER_PYTHON.exists():
            sys.exit(f"the real nnU-Net is missing at {PEER_PYTHON}; run make peer")
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        command = [str(PEER_PYTHON), __file__, *sys.argv[1:]]
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)
    compare(options.repeats, options.threads)


def compare(repeats: int, threads: int) -> None:
    """Print seconds of both and the ratio theirs / ours (above 1: ours is faster)."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    builders = {"ours": build_ours, "theirs": build_theirs}
    networks = {name: build() for name, build in builders.items()}
    networks["ours"].load_state_dict(networks["theirs"].state_dict())
    image = torch.randn(1, 1, *PATCH)

    def inference(network: Any, bfloat16: bool) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return network(image)

    def training(network: Any, bfloat16: bool) -> None:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = sum(logits.float().square().mean() for logits in network(image))
        loss.backward()

    results = [inference(network, False) for network in networks.values()]
    difference = max((a - b).abs().max() / b.abs().max() for a, b in zip(*results, strict=True))
    print(f"XL network, patch 64x64x64, {threads} threads, best of {repeats}")
    print(f"largest relative difference of the logits: {difference:.1e}")
    print(f"{'':32}{'ours (s)':>10}{'theirs (s)':>12}{'ratio':>8}")
    report("build", builders, repeats)
    for label, bfloat16 in (("float32", False), ("bfloat16", True)):
        for what, step in (("forward", inference), ("forward and backward", training)):
            runs = {name: partial(step, network, bfloat16) for name, network in networks.items()}
            report(f"{what}, {label}", runs, repeats)


def report(what: str, runs: Mapping[str, Callable[[], Any]], repeats: int) -> None:
    """Time the two in turn, each first as often as the other; print the best of each."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name in sorted(runs, reverse=bool(repeat % 2)):
            start = perf_counter()
            runs[name]()
            seconds[name].append(perf_counter() - start)
    ours, theirs = min(seconds["ours"]), min(seconds["theirs"])
    print(f"{what:32}{ours:>10.2f}{theirs:>12.2f}{theirs / ours:>8.2f}", flush=True)


def build_ours() -> Any:
    from resenc_plans.networks.unet.layers import layer_factory
    from resenc_plans.networks.unet.residual import ResidualEncoderUNet
    from resenc_plans.plans.architectures import ResidualEncoderUNetArguments
    from resenc_plans.plans.unet import UNet

    unet = UNet.from_arguments(ResidualEncoderUNetArguments.model_validate(XL), dim=3)
    return ResidualEncoderUNet(unet, layer_factory(unet.operators), 1, 4, deep_supervision=True)


def build_theirs() -> Any:
    nnunet = import_module("nnunetv2.utilities.get_network_from_plans")
    return nnunet.get_network_from_plans(CLASS_NAME, XL, IMPORTED, 1, 4, deep_supervision=True)


if __name__ == "__main__":
    main()
