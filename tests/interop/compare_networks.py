"""Run in the peer's environment: our networks beside dynamic-network-architectures' own.

Arguments: folder of our sources, folder of the tests, JSON file with the cases. Prints one line of
JSON with what differs.
"""

import copy
import json
import pydoc
import sys
import warnings
from pathlib import Path

sys.path[:0] = sys.argv[1:3]

import torch
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from resenc_plans.networks.build import build_network
from tests.networks.configurations import configuration

ENCODER_ONLY = (
    "stochastic_depth_p",
    "squeeze_excitation",
    "squeeze_excitation_reduction_ratio",
)


class WithRegularisation(torch.nn.Module):
    """Their encoder and decoder, with the arguments that their network does not pass on."""

    def __init__(self, architecture, channels, heads, deep_supervision):
        super().__init__()
        given = dict(architecture["arch_kwargs"])
        for key in architecture["_kw_requires_import"]:
            if given.get(key) is not None:
                given[key] = pydoc.locate(given[key])
        depths = given.pop("n_conv_per_stage_decoder")
        self.encoder = ResidualEncoder(channels, return_skips=True, **given)
        self.decoder = UNetDecoder(self.encoder, heads, depths, deep_supervision)

    def forward(self, x):
        return self.decoder(self.encoder(x))


def theirs_of(case, architecture, deep_supervision, init=False):
    if any(key in architecture["arch_kwargs"] for key in ENCODER_ONLY):
        return WithRegularisation(architecture, case["channels"], case["heads"], deep_supervision)
    return get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        case["channels"],
        case["heads"],
        allow_init=init,
        deep_supervision=deep_supervision,
    )


def ours_of(case, architecture, deep_supervision):
    config = configuration(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        tuple(case["patch_size"]),
        tuple(architecture["_kw_requires_import"]),
    )
    return build_network(config, case["channels"], case["heads"], deep_supervision)


def narrow(architecture):
    result = copy.deepcopy(architecture)
    arguments = result["arch_kwargs"]
    for key in ("features_per_stage", "bottleneck_channels", "stem_channels"):
        value = arguments.get(key)
        if isinstance(value, list):
            arguments[key] = [max(2, number // 16) for number in value]
        elif value is not None:
            arguments[key] = max(2, value // 16)
    return result


def signature(network):
    return [(key, tuple(value.shape)) for key, value in network.state_dict().items()]


def relative_difference(ours, theirs):
    ours, theirs = ([y] if torch.is_tensor(y) else y for y in (ours, theirs))
    if [y.shape for y in ours] != [y.shape for y in theirs]:
        return float("inf")
    return max(
        ((a - b).abs().max() / b.abs().max().clamp_min(1e-12)).item()
        for a, b in zip(ours, theirs, strict=True)
    )


def compare(case):
    architecture = case["architecture"]
    if case["scaled"]:
        with torch.device("meta"):
            same = signature(theirs_of(case, architecture, True)) == signature(
                ours_of(case, architecture, True)
            )
        if not same:
            return {"keys": False}
        architecture = narrow(architecture)
    theirs = theirs_of(case, architecture, True)
    ours = ours_of(case, architecture, True)
    if signature(theirs) != signature(ours):
        return {"keys": False}
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.randn(1 if case["scaled"] else 2, case["channels"], *case["patch_size"])
    differences = []
    with torch.no_grad():
        for training in (False,) if case["scaled"] else (False, True):
            for supervised in (True, False):
                results = []
                for network in (ours, theirs):
                    network.train(training)
                    network.decoder.deep_supervision = supervised
                    torch.manual_seed(1)
                    results.append(network(image))
                differences.append(relative_difference(*results))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return {"keys": True, "difference": max(differences)}


def initial_weights(case):
    """Standard deviations of every parameter, ours and theirs, as initialised."""
    torch.manual_seed(0)
    pairs = []
    networks = (
        ours_of(case, case["architecture"], True),
        theirs_of(case, case["architecture"], True, init=True),
    )
    for (name, a), (_, b) in zip(
        *(network.named_parameters() for network in networks), strict=True
    ):
        pairs.append([name, a.numel(), *((p.square().mean() ** 0.5).item() for p in (a, b))])
    return pairs


def main() -> None:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    cases = json.loads(Path(sys.argv[3]).read_text())
    results = [compare(case) for case in cases["compared"]]
    print(
        json.dumps({"compared": results, "initial": [initial_weights(c) for c in cases["initial"]]})
    )


main()
