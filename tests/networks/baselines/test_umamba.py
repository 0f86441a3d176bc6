"""U-Mamba: published counts, names, where Mamba is, and what the two generations differ in."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from resenc_plans.errors import ConfigurationError, ModelError
from resenc_plans.networks.activation_checkpointing import checkpoint_activations
from resenc_plans.networks.baselines.umamba import UMamba
from resenc_plans.networks.build import build_network
from resenc_plans.networks.check import check_network
from resenc_plans.runs.checkpoint import load_weights
from tests.networks.configurations import configuration, output_shapes

NAME = "resenc_plans.networks.baselines.umamba.UMamba"

COUNTS = {
    ("none", 1): 57_740_582,
    ("bot", 1): 58_416_422,
    ("enc", 1): 59_690_022,
    ("none", 2): 41_454_214,
    ("bot", 2): 42_130_054,
    ("enc", 2): 42_760_582,
}
"""Parameters with one channel and 14 classes, six stages and a patch of 128 cubed voxels."""

ISOTROPIC: dict[str, Any] = {
    "features_per_stage": [32, 64, 128, 256, 320, 320],
    "kernel_sizes": [[3, 3, 3]] * 6,
    "strides": [[1, 1, 1], *[[2, 2, 2]] * 5],
}

PATCH = (4, 8, 16)


def arguments(**changes: Any) -> dict[str, Any]:
    """Three small stages, of which the second divides two axes."""
    return {
        "features_per_stage": [4, 6, 8],
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    } | changes


def small(**changes: Any) -> Any:
    torch.manual_seed(0)
    return UMamba(2, 3, **arguments(**changes))


@pytest.mark.parametrize(("variant", "generation"), COUNTS)
def test_sizes_are_the_published_ones(variant: str, generation: int) -> None:
    chosen = {"variant": variant, "generation": generation}
    patch = {"patch_size": [128] * 3} if chosen == {"variant": "enc", "generation": 2} else {}
    config = configuration(NAME, ISOTROPIC | chosen | patch, (128, 128, 128))
    with torch.device("meta"):
        network = build_network(config, 1, 14)
    assert sum(p.numel() for p in network.parameters()) == COUNTS[variant, generation]


@pytest.mark.parametrize(("variant", "generation"), COUNTS)
def test_outputs_are_those_that_training_expects(variant: str, generation: int) -> None:
    chosen = arguments(variant=variant, generation=generation, patch_size=list(PATCH))
    config = configuration(NAME, chosen, PATCH)
    network = build_network(config, 2, 3)
    logits = network(torch.randn(2, 2, *PATCH))
    assert [y.shape for y in logits] == output_shapes(config, 2, 3)
    single = build_network(config, 2, 3, deep_supervision=False)
    single.load_state_dict(network.state_dict())
    assert single(torch.randn(2, 2, *PATCH)).shape == (2, 3, *PATCH)


def test_slices_are_taken() -> None:
    sizes = {"kernel_sizes": [[3, 3]] * 3, "strides": [[1, 1], [2, 2], [2, 2]]}
    for variant, generation in COUNTS:
        changes = {"variant": variant, "generation": generation, "patch_size": [8, 16]}
        config = configuration(NAME, arguments(**sizes, **changes), (8, 16))
        logits = build_network(config, 1, 2)(torch.randn(1, 1, 8, 16))
        assert [y.shape for y in logits] == output_shapes(config, 1, 2)


def test_parameters_carry_the_names_of_the_first_generation() -> None:
    names = set(small(variant="enc").state_dict())
    assert {
        *("encoder.stem.convs.0.conv.weight", "encoder.stages.0.blocks.1.conv2.norm.bias"),
        *(
            "encoder.stages.1.blocks.0.skip.1.conv.weight",
            "decoder.stages.0.blocks.1.conv1.conv.bias",
        ),
        *("decoder.stages.1.blocks.0.skip.0.norm.weight", "decoder.transpconvs.1.bias"),
        *("decoder.seg_layers.0.weight", "encoder.mamba_layers.2.norm.weight"),
        *("encoder.mamba_layers.0.mamba.A_log", "encoder.mamba_layers.1.mamba.conv1d.weight"),
    } <= names
    assert "encoder.stages.0.blocks.0.skip.0.conv.weight" not in names
    bottleneck = set(small().state_dict()) - set(small(variant="none").state_dict())
    assert {name.partition(".")[0] for name in bottleneck} == {"ln", "mamba"}
    assert "mamba.dt_proj.bias" in bottleneck


@pytest.mark.parametrize("generation", [1, 2])
def test_no_skip_leads_around_mamba_at_the_bottleneck(generation: int) -> None:
    network = small(generation=generation)
    with torch.no_grad():
        mamba = network.mamba if generation == 1 else network.mamba_layer.mamba
        mamba.out_proj.weight.zero_()
        image = torch.randn(1, 2, *PATCH)
        skips = network.encoder(image)
        skips[-1] = torch.zeros_like(skips[-1])
        assert torch.equal(network(image), network.decoder(skips))


@pytest.mark.parametrize("generation", [1, 2])
def test_in_the_encoder_mamba_goes_on_and_to_the_skip(generation: int) -> None:
    network = small(generation=generation, variant="enc", patch_size=PATCH)
    encoder = network.encoder
    image = torch.randn(1, 2, *PATCH)
    with torch.no_grad():
        x, expected = encoder.stem(image), []
        for stage, layer in zip(encoder.stages, encoder.mamba_layers, strict=True):
            x = layer(stage(x))
            expected.append(x)
        assert all(map(torch.equal, encoder(image), expected))
        encoder.mamba_layers[0].mamba.out_proj.weight.zero_()
        assert (encoder(image)[0] == 0).all()


@pytest.mark.parametrize(("variant", "generation"), COUNTS)
def test_only_the_first_generation_with_mamba_in_the_encoder_starts_silent(
    variant: str, generation: int
) -> None:
    network = small(variant=variant, generation=generation, patch_size=PATCH)
    for initialised in (network, network.apply(network.initialize)):
        for stages in (initialised.encoder.stages, initialised.decoder.stages):
            blocks = stages[1].blocks if generation == 1 else stages[1]
            last = blocks[-1].conv2
            norm = last.norm if hasattr(last, "norm") else blocks[-1].norm2
            silent = (variant, generation) == ("enc", 1)
            assert (norm.weight == (0 if silent else 1)).all()


def test_mamba_keeps_its_own_initial_weights() -> None:
    network = small()
    before = network.mamba.conv1d.weight.clone(), network.mamba.dt_proj.bias.clone()
    network.apply(network.initialize)
    assert torch.equal(network.mamba.conv1d.weight, before[0])
    assert torch.equal(network.mamba.dt_proj.bias, before[1])


def test_few_voxels_make_channels_the_tokens_of_the_second_generation() -> None:
    with torch.device("meta"):
        network: Any = UMamba(1, 2, **ISOTROPIC, variant="enc", generation=2, patch_size=[128] * 3)
    layers = network.encoder.mamba_layers
    assert [layer.norm.normalized_shape[0] for layer in layers] == [32, 64, 128, 256, 320, 64]
    assert [layer.channels_are_tokens for layer in layers] == [False] * 5 + [True]
    as_many = small(variant="enc", generation=2, patch_size=(4, 8, 8)).encoder.mamba_layers
    assert [layer.channels_are_tokens for layer in as_many] == [False, False, True]


@pytest.mark.parametrize(
    ("variant", "generation", "kind"),
    [("bot", 1, torch.bfloat16), ("bot", 2, torch.float32), ("enc", 1, torch.float32)],
)
def test_autocast_stays_on_around_mamba_at_the_first_generation_s_bottleneck_only(
    variant: str, generation: int, kind: torch.dtype
) -> None:
    network = small(variant=variant, generation=generation)
    kinds: set[torch.dtype] = set()
    for name, module in network.named_modules():
        if name.endswith("in_proj"):
            module.register_forward_hook(lambda _, __, result: kinds.add(result.dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(1, 2, *PATCH))
    assert kinds == {kind}


def slow_blocks(x: Tensor, stage: Any) -> Tensor:
    """A stage of the second generation in torch's functions, from its description."""
    norm = torch.nn.functional.instance_norm

    def act(value: Tensor) -> Tensor:
        return torch.where(value > 0, value, 0.01 * value)

    def conv(value: Tensor, layer: Any, stride: Sequence[int] = (1, 1, 1)) -> Tensor:
        padding = tuple(k // 2 for k in layer.weight.shape[2:])
        return torch.nn.functional.conv3d(value, layer.weight, layer.bias, stride, padding)

    for number, block in enumerate(stage):
        if number == 0:
            stride = block.conv1.stride
            y = act(norm(conv(x, block.conv1, stride)))
            skip = conv(x, block.conv3, stride)
            assert block.conv3.bias is not None
            x = act(norm(conv(y, block.conv2)) + skip)
        else:
            y = act(norm(conv(x, block.conv1.conv)))
            x = act(norm(conv(y, block.conv2.conv)) + x)
    return x


def test_the_second_generation_does_what_its_description_says() -> None:
    network = small(generation=2, variant="none", deep_supervision=True)
    image = torch.randn(1, 2, *PATCH)
    with torch.no_grad():
        x = slow_blocks(image, network.encoder.stem)
        results = []
        for stage in network.encoder.stages:
            x = slow_blocks(x, stage)
            results.append(x)
        logits = []
        decoder = network.decoder
        for number, stride in enumerate([(2, 2, 2), (1, 2, 2)]):
            for axis, step in enumerate(stride, 2):
                x = x.repeat_interleave(step, axis)
            pointwise = decoder.transpconvs[number].conv
            x = torch.nn.functional.conv3d(x, pointwise.weight, pointwise.bias)
            x = slow_blocks(torch.cat((x, results[1 - number]), 1), decoder.stages[number])
            head = decoder.seg_layers[number]
            logits.append(torch.nn.functional.conv3d(x, head.weight, head.bias))
        for ours, expected in zip(network(image), logits[::-1], strict=True):
            assert torch.allclose(ours, expected, atol=1e-5)
    lengths = [len(stage) for stage in (network.encoder.stem, *network.encoder.stages)]
    assert lengths == [2, 2, 2, 1]
    with torch.device("meta"):
        deep: Any = UMamba(1, 2, **ISOTROPIC, variant="none", generation=2)
    assert [len(stage) for stage in deep.encoder.stages] == [2, 2, 2, 1, 1, 1]
    assert [len(stage) for stage in deep.decoder.stages] == [2, 2, 2, 1, 1]
    assert [len(stage) for stage in decoder.stages] == [2, 2]


@pytest.mark.parametrize(("variant", "generation"), COUNTS)
def test_weights_of_another_generation_or_variant_are_named(variant: str, generation: int) -> None:
    other = small(variant=variant, generation=generation, patch_size=PATCH).state_dict()
    own = small()
    if (variant, generation) == ("bot", 1):
        assert own.other_variant(other) is None
        load_weights(own, other, "old.pth")
        return
    named = (
        rf"old\.pth: belongs to another architecture.*generation {generation}, variant "
        rf"'{variant}', and the network of generation 1, variant 'bot'; it "
    )
    with pytest.raises(ModelError, match=named):
        load_weights(own, other, "old.pth")


@pytest.mark.parametrize("generation", [1, 2])
def test_stages_and_mamba_can_be_calculated_twice(generation: int) -> None:
    network = small(variant="enc", generation=generation, patch_size=PATCH)
    assert len(list(network.checkpointed_blocks())) == 3 + 3 + 2
    image = torch.randn(1, 2, *PATCH)
    before = network(image)
    checkpoint_activations(network)
    assert torch.equal(network(image), before)


@pytest.mark.slow
@pytest.mark.parametrize("generation", [1, 2])
def test_a_compiled_network_is_the_same(generation: int) -> None:
    sizes = {"features_per_stage": [4, 8], "kernel_sizes": 3, "strides": [1, 2]}
    network = small(**sizes, variant="enc", generation=generation, patch_size=(4, 4, 8))
    image = torch.randn(2, 2, 4, 4, 8)
    results = []
    for forward in (network, torch.compile(network, backend="aot_eager")):
        network.zero_grad()
        logits = forward(image)
        logits.square().mean().backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        results.append([logits.detach(), *gradients])
    assert all(map(torch.allclose, *results))


def test_a_network_of_full_size_is_checked_without_memory() -> None:
    config = configuration(NAME, ISOTROPIC | {"variant": "enc"}, (128, 128, 128))
    checked = check_network(config, 1, 14)
    assert checked.parameters == COUNTS["enc", 1]
    assert checked.outputs is not None
    assert len(checked.outputs) == 5


@pytest.mark.parametrize(
    ("changes", "patch_size", "message"),
    [
        ({"variant": "both"}, PATCH, "variant is 'both': U-Mamba comes as none, bot, enc"),
        ({"n_blocks_per_stage": 0}, PATCH, "n_blocks_per_stage is 0: every entry"),
        ({"n_conv_per_stage_decoder": []}, PATCH, "n_conv_per_stage_decoder has 0 entries"),
        ({"generation": 3}, PATCH, "generation is 3: U-Mamba has 1 and 2"),
        ({"strides": 2}, PATCH, "strides is 2: a list with an entry for each"),
        ({"strides": [2, 2, 2]}, (16, 16, 16), r"strides\[0\] must be 1"),
        ({"strides": [[1, 1], [2, 2], [2, 2]]}, PATCH, "are for images of 2 axes, but patch_size"),
        ({}, (4, 4, 6), r"not a multiple of \[2, 4, 4\]"),
        ({}, (2, 4, 4), r"one voxel.*takes: \[4, 4, 4\]"),
        ({"features_per_stage": [4, 6]}, PATCH, "features_per_stage has 2 entries"),
        ({"generation": 2, "variant": "enc"}, PATCH, "patch_size is missing"),
        (
            {"generation": 2, "variant": "enc", "patch_size": [4, 8, 8]},
            PATCH,
            r"patch_size \[4, 8, 16\] is not \[4, 8, 8\], for which the network is made",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    changes: dict[str, Any], patch_size: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^plans\.json: tested: .*{message}"):
        build_network(configuration(NAME, arguments(**changes), patch_size), 1, 2)
