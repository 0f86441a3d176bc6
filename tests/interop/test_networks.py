"""Our networks against dynamic-network-architectures 0.4.4, in the peer's environment."""

import json
import random
from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import PlansError, ResencPlansError
from resenc_plans.networks.build import build_network
from resenc_plans.plans.architectures import architecture_kind
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.unet import UNet
from resenc_plans.runs.checkpoint import load_checkpoint, load_weights, save_checkpoint
from tests.networks.configurations import configuration, unet_arguments

ROOT = Path(__file__).parent.parent.parent
SCRIPT = Path(__file__).parent / "compare_networks.py"
UNET = "dynamic_network_architectures.architectures.unet"
BLOCKS = "dynamic_network_architectures.building_blocks.residual"


def plans_of(shared: Path) -> Iterator[Plans]:
    """All plans of the oracle and the corpus that can be read."""
    for path in sorted(shared.glob("oracle/**/*.json")) + sorted(shared.glob("corpus/*/*.json")):
        try:
            yield Plans.load(path)
        except ResencPlansError:
            continue
    for line in (shared / "oracle/planning_corpus.jsonl").read_text().splitlines():
        yield Plans.from_dict(json.loads(line)["plans"])


def architectures_of(shared: Path) -> list[dict[str, Any]]:
    """The distinct architectures of nnU-Net's two U-Nets among them."""
    found: dict[str, dict[str, Any]] = {}
    for plan in plans_of(shared):
        for name in plan.configurations:
            try:
                architecture = plan.resolve(name).to_dict()["architecture"]
            except PlansError:
                continue
            if architecture_kind(architecture["network_class_name"]) != "other":
                found[json.dumps(architecture, sort_keys=True)] = architecture
    return list(found.values())


def smallest_patch(arguments: dict[str, Any]) -> list[int]:
    """The smallest patch that leaves a bottleneck of more than one voxel."""
    dim = int(arguments["conv_op"][-2])
    strides = arguments["strides"]
    if isinstance(strides, int):
        strides = [strides] * arguments["n_stages"]
    per_axis = [[step] * dim if isinstance(step, int) else step for step in strides]
    smallest = [prod(axis) for axis in zip(*per_axis, strict=True)]
    return [*smallest[:-1], 2 * smallest[-1]]


def random_architecture(rng: random.Random) -> dict[str, Any]:
    dim = rng.choice([2, 3])
    n_stages = rng.randint(2, 6 - dim)

    def maybe_single(values: list[Any]) -> Any:
        return rng.choice([values, values[0]]) if isinstance(values[0], int) else values

    norm = rng.choice(
        [
            (f"torch.nn.InstanceNorm{dim}d", {"affine": True, "eps": 1e-5}),
            (f"torch.nn.modules.instancenorm.InstanceNorm{dim}d", None),
            (f"torch.nn.BatchNorm{dim}d", {"momentum": 0.2}),
            (f"torch.nn.modules.batchnorm.BatchNorm{dim}d", {}),
            (None, None),
        ]
    )
    dropout = rng.choice(
        [(None, None), (f"torch.nn.Dropout{dim}d", {"p": 0.3}), ("torch.nn.Dropout", {"p": 0.1})]
    )
    nonlin = rng.choice(
        [
            ("torch.nn.LeakyReLU", {"inplace": True, "negative_slope": 0.1}),
            ("torch.nn.ReLU", None),
            ("torch.nn.modules.activation.PReLU", {"num_parameters": 1}),
            ("torch.nn.GELU", {}),
            ("torch.nn.SiLU", {"inplace": True}),
            ("torch.nn.ELU", {}),
            (None, None),
        ]
    )
    arguments = unet_arguments(
        dim,
        n_stages,
        features_per_stage=[rng.randint(2, 12) for _ in range(n_stages)],
        kernel_sizes=maybe_single(
            [rng.choice([1, 3, 5, [3] * (dim - 1) + [1]]) for _ in range(n_stages)]
        ),
        strides=[rng.choice([1, 1, 2, [1] + [2] * (dim - 1)])]
        + [rng.choice([1, 2, 5 - dim, [2] * (dim - 1) + [1]]) for _ in range(n_stages - 1)],
        n_conv_per_stage_decoder=maybe_single([rng.randint(1, 3) for _ in range(n_stages - 1)]),
        conv_bias=rng.random() < 0.5,
        norm_op=norm[0],
        norm_op_kwargs=norm[1],
        dropout_op=dropout[0],
        dropout_op_kwargs=dropout[1],
        nonlin=nonlin[0],
        nonlin_kwargs=nonlin[1],
    )
    depths = maybe_single([rng.randint(1, 3) for _ in range(n_stages)])
    imports = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    if rng.random() < 0.3:
        arguments |= {"n_conv_per_stage": depths, "nonlin_first": rng.random() < 0.5}
        return architecture("PlainConvUNet", arguments, imports)
    arguments["n_blocks_per_stage"] = depths
    if rng.random() < 0.5:
        arguments["block"] = f"{BLOCKS}.BottleneckD"
        arguments["bottleneck_channels"] = maybe_single(
            [rng.randint(1, 6) for _ in range(n_stages)]
        )
        imports.append("block")
    elif rng.random() < 0.3:
        arguments["block"] = f"{BLOCKS}.BasicBlockD"
        imports.append("block")
    if rng.random() < 0.4:
        arguments["stem_channels"] = rng.randint(2, 9)
    if rng.random() < 0.4:
        arguments["stochastic_depth_p"] = 0.4
    if rng.random() < 0.4:
        arguments["squeeze_excitation"] = True
        arguments["squeeze_excitation_reduction_ratio"] = rng.choice([1 / 16, 1.5])
    return architecture("ResidualEncoderUNet", arguments, imports)


def architecture(name: str, arguments: dict[str, Any], imports: list[str]) -> dict[str, Any]:
    return {
        "network_class_name": f"{UNET}.{name}",
        "arch_kwargs": arguments,
        "_kw_requires_import": imports,
    }


def case(architecture: dict[str, Any], scaled: bool) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "scaled": scaled,
        "patch_size": smallest_patch(architecture["arch_kwargs"]),
        "channels": 2,
        "heads": 3,
    }


Peer = Callable[..., str]


def in_peer(peer: Peer, folder: Path, **cases: list[dict[str, Any]]) -> dict[str, Any]:
    path = folder / "cases.json"
    path.write_text(json.dumps({"compared": [], "initial": []} | cases))
    return json.loads(peer(SCRIPT, ROOT / "src", ROOT, path).splitlines()[-1])


def test_state_dicts_and_logits_equal_theirs(shared: Path, peer: Peer, tmp_path: Path) -> None:
    """All architectures of real plans (forward with fewer features) and 50 random ones.

    Keys, shapes and order of the state dicts; weights load both ways; logits with deep supervision
    on and off, of the random ones in training too.
    """
    rng = random.Random(0)
    cases = [case(found, scaled=True) for found in architectures_of(shared)]
    cases += [case(random_architecture(rng), scaled=False) for _ in range(50)]
    results = in_peer(peer, tmp_path, compared=cases)["compared"]
    wrong = [
        (case["architecture"], result)
        for case, result in zip(cases, results, strict=True)
        if not result["keys"] or not result["difference"] < 1e-5
    ]
    assert not wrong
    assert len(cases) > 100


def test_initial_weights_have_their_distribution(peer: Peer, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"features_per_stage": [16, 32, 48]}
    imports = ["conv_op", "norm_op", "nonlin"]
    cases = [
        case(architecture(name, unet_arguments(dim, **arguments, **depth), imports), scaled=False)
        for name, dim, depth in (
            ("ResidualEncoderUNet", 3, {"n_blocks_per_stage": 2}),
            ("PlainConvUNet", 2, {"n_conv_per_stage": 2}),
        )
    ]
    for parameters in in_peer(peer, tmp_path, initial=cases)["initial"]:
        for name, size, ours, theirs in parameters:
            tolerance = 5 / size**0.5 if theirs not in (0, 1) else 0
            assert ours == pytest.approx(theirs, rel=tolerance, abs=0), name


def test_checkpoint_of_nnunet_opens_and_goes_back(shared: Path, peer: Peer, tmp_path: Path) -> None:
    source = shared / "oracle/model/fold_0/checkpoint_final.pth"
    checkpoint = load_checkpoint(source)
    config = Plans.from_dict(dict(checkpoint.init_args["plans"])).resolve(
        checkpoint.init_args["configuration"]
    )
    network = build_network(config, 1, 3)
    load_weights(network, checkpoint.network_weights, str(source))
    save_checkpoint(tmp_path / "again.pth", checkpoint)
    code = """
import sys, torch
ours, theirs = (torch.load(path, weights_only=False) for path in sys.argv[1:])
assert list(ours) == list(theirs), (list(ours), list(theirs))
for key, value in theirs["network_weights"].items():
    assert torch.equal(ours["network_weights"][key], value)
same = [key for key in theirs if "state" not in key and key != "network_weights"]
assert all(ours[key] == theirs[key] for key in same)
states = (found["optimizer_state"]["state"][0]["momentum_buffer"] for found in (ours, theirs))
assert torch.equal(*states)
"""
    peer(code, tmp_path / "again.pth", source)


KERNELS = """
import json, sys
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

def runs(architecture):
    network = get_network_from_plans(
        architecture["network_class_name"], architecture["arch_kwargs"],
        architecture["_kw_requires_import"], 1, 2, deep_supervision=False,
    )
    try:
        return network(torch.zeros(1, 1, 32, 32)).shape[2:] == (32, 32)
    except RuntimeError:
        return False

print(json.dumps([runs(each) for each in json.load(open(sys.argv[1]))]))
"""


def test_even_kernels_are_refused_where_nnunets_network_does_not_run(
    peer: Peer, tmp_path: Path
) -> None:
    imports = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    asked = []
    for kernels, strides, count in product(
        ([3, 3, 3], [2, 3, 3], [3, 4, 3], [3, 3, 2], [3, 3, [2, 3]]),
        ([1, 2, 2], [1, 2, [1, 2]], [1, 1, 3]),
        (1, 2),
    ):
        arguments = unet_arguments(2, 3, kernel_sizes=kernels, strides=strides)
        bottlenecks = {"block": f"{BLOCKS}.BottleneckD", "bottleneck_channels": 4}
        blocks = {"n_blocks_per_stage": count}
        plain = arguments | {"n_conv_per_stage": count}
        asked += [
            architecture("PlainConvUNet", plain, imports),
            architecture("ResidualEncoderUNet", arguments | blocks, imports),
            architecture(
                "ResidualEncoderUNet", arguments | blocks | bottlenecks, [*imports, "block"]
            ),
        ]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    theirs = json.loads(peer(KERNELS, tmp_path / "asked.json").splitlines()[-1])
    ours = [is_blueprint(each) for each in asked]
    assert ours == theirs
    assert 0 < sum(ours) < len(ours)
    kept = [each for each, runs in zip(asked, ours, strict=True) if runs]
    results = in_peer(peer, tmp_path, compared=[case(each, scaled=False) for each in kept])
    assert all(result["difference"] < 1e-5 for result in results["compared"])


def is_blueprint(architecture: dict[str, Any]) -> bool:
    name = architecture["network_class_name"]
    try:
        UNet.of(configuration(name, architecture["arch_kwargs"], (32, 32)))
    except PlansError:
        return False
    return True
