from math import prod
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resenc_plans.cost.stages import network_stages
from resenc_plans.networks.build import build_network
from tests.networks.configurations import configuration, residual, unet_arguments

BOTTLENECK = "dynamic_network_architectures.building_blocks.residual.BottleneckD"


@st.composite
def architectures(draw: st.DrawFn) -> tuple[str, dict[str, Any], int]:
    dim, n_stages = draw(st.sampled_from([2, 3])), draw(st.integers(2, 4))
    counts = st.lists(st.integers(1, 3), min_size=n_stages, max_size=n_stages)
    arguments = unet_arguments(
        dim,
        n_stages,
        features_per_stage=draw(
            st.lists(st.integers(1, 200), min_size=n_stages, max_size=n_stages)
        ),
        kernel_sizes=draw(counts.map(lambda sizes: [2 * size - 1 for size in sizes])),
        strides=[1, *draw(counts)[1:]],
        conv_bias=draw(st.booleans()),
        nonlin=draw(st.sampled_from(["torch.nn.PReLU", "torch.nn.ReLU", None])),
        nonlin_kwargs=None,
        n_conv_per_stage_decoder=draw(st.integers(1, 3)),
    )
    arguments["norm_op"], arguments["norm_op_kwargs"] = draw(
        st.sampled_from(
            [
                (None, None),
                (f"torch.nn.InstanceNorm{dim}d", {"affine": True}),
                (f"torch.nn.InstanceNorm{dim}d", None),
                (f"torch.nn.BatchNorm{dim}d", None),
                (f"torch.nn.BatchNorm{dim}d", {"affine": False}),
            ]
        )
    )
    if draw(st.booleans()):
        return "PlainConvUNet", arguments | {"n_conv_per_stage": draw(counts)}, dim
    arguments["n_blocks_per_stage"] = draw(counts)
    if draw(st.booleans()):
        arguments |= {"block": BOTTLENECK, "bottleneck_channels": draw(counts)}
    if draw(st.booleans()):
        arguments["stem_channels"] = draw(st.integers(1, 9))
    if draw(st.booleans()):
        arguments |= {"squeeze_excitation": True, "stochastic_depth_p": 0.1}
    return "ResidualEncoderUNet", arguments, dim


@settings(deadline=None, max_examples=40)
@given(architectures(), st.integers(1, 4), st.integers(1, 120))
def test_parameters_of_the_stages_add_up_to_the_networks(
    architecture: tuple[str, dict[str, Any], int], channels: int, heads: int
) -> None:
    name, arguments, dim = architecture
    config = configuration(name, arguments, (2 * prod(arguments["strides"]),) * dim)
    with torch.device("meta"):
        network = build_network(config, channels, heads)
    stages = network_stages(config, channels, heads)
    assert sum(stage.parameters for stage in stages) == sum(
        parameter.numel() for parameter in network.parameters()
    )


def test_each_stage_has_its_own_parameters() -> None:
    config = residual()
    network: Any = build_network(config, 1, 2)
    stages = network_stages(config, 1, 2)

    def count(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    encoder, decoder = network.encoder, network.decoder
    expected = [
        count(encoder.stem, encoder.stages[0]),
        count(encoder.stages[1]),
        count(encoder.stages[2]),
        *(
            count(decoder.stages[n], decoder.transpconvs[n], decoder.seg_layers[n])
            for n in range(2)
        ),
    ]
    assert [stage.parameters for stage in stages] == expected


def test_stages_come_in_the_order_of_computation() -> None:
    stages = network_stages(residual(strides=[1, [1, 2, 2], 2]), 1, 2)
    assert [(stage.part, stage.level, stage.shape, stage.stride) for stage in stages] == [
        ("encoder", 0, (16, 16, 16), (1, 1, 1)),
        ("encoder", 1, (16, 8, 8), (1, 2, 2)),
        ("bottleneck", 2, (8, 4, 4), (2, 2, 2)),
        ("decoder", 1, (16, 8, 8), (2, 2, 2)),
        ("decoder", 0, (16, 16, 16), (1, 2, 2)),
    ]
