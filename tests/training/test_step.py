"""What a training step makes of a batch."""

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import (
    DownsampleSegForDSTransform,
)
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans.errors import TrainingError
from resenc_plans.networks.build import build_network
from resenc_plans.networks.registry import architecture_names
from resenc_plans.plans.known_networks import loss_weights, resolutions_of
from resenc_plans.plans.training_settings import AdamW, TrainingSettings
from resenc_plans.training.batches.source import Batch
from resenc_plans.training.defaults import default_loss
from resenc_plans.training.losses import (
    DiceBinaryCrossEntropy,
    DiceCrossEntropy,
    Loss,
    label_sums,
    region_sums,
)
from resenc_plans.training.ranks import ALONE, Ranks
from resenc_plans.training.reading import Reading
from resenc_plans.training.step import LaunchedStep, TrainingStep, at_size, image_type
from tests.networks.configurations import configuration, residual, unet_arguments

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
MONAI = "monai.networks.nets."


def test_a_fused_optimizer_and_channels_last_change_the_last_digits_alone() -> None:
    torch.manual_seed(0)
    batch = Batch(torch.randn(2, 1, 8, 8, 8), torch.randint(0, 2, (2, 1, 8, 8, 8)), ())
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    results = []
    for changes in ({}, {"fused_optimizer": True}, {"channels_last": True}):
        settings = TrainingSettings(precision="fp32", compile=False, **changes)
        step = TrainingStep.of(deepcopy(network), DiceCrossEntropy(True), settings, ALONE, dim=3)
        for _ in range(3):
            step(batch)
        assert step.optimizer.param_groups[0]["fused"] == (
            True if "fused_optimizer" in changes else None
        )
        results.append(step.network.weight)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], atol=1e-6, rtol=1e-5)


@given(data=st.data(), kind=st.sampled_from([torch.int8, torch.int16, torch.bool]))
def test_smaller_targets_are_those_that_the_loader_of_nnunet_makes(
    data: Any, kind: torch.dtype
) -> None:
    dim = data.draw(st.sampled_from([2, 3]))
    strides = data.draw(st.tuples(*[st.sampled_from([1, 2, 3, 4, 8])] * dim))
    size = [data.draw(st.integers(1, 5)) * stride for stride in strides]
    channels = 3 if kind == torch.bool else 1
    random = torch.Generator().manual_seed(0)
    target = torch.randint(0, 100, (2, channels, *size), generator=random).to(kind)
    scale = [1 / stride for stride in strides]
    for sample in range(2):
        [expected] = DownsampleSegForDSTransform([scale])._apply_to_segmentation(target[sample])
        mine = at_size(target, expected.shape[1:])
        assert mine.dtype == kind
        assert torch.equal(mine[sample], expected)


@given(st.integers(1, 60), st.data())
def test_a_target_of_any_size_is_the_nearest_voxels(length: int, data: Any) -> None:
    size = data.draw(st.integers(1, length))
    voxels = torch.arange(length).view(1, 1, length)
    expected = torch.nn.functional.interpolate(voxels.float(), size, mode="nearest-exact")
    assert torch.equal(at_size(voxels, (size,)), expected.long())


def test_maps_of_few_slices_give_the_gradients_of_single_precision() -> None:
    """PyTorch's own in bfloat16 on a CPU are anything."""
    torch.manual_seed(0)
    images = torch.randn(2, 8, 2, 6, 6)
    target = torch.randint(0, 2, (2, 1, 2, 6, 6))
    network = torch.nn.Conv3d(8, 2, 3, padding=1)
    results = []
    for precision in ("fp32", "bf16", "bf16"):
        settings = TrainingSettings(precision=precision, compile=False)
        step = TrainingStep.of(deepcopy(network), DiceCrossEntropy(True), settings, ALONE, dim=3)
        step.gradients(Batch(images, target, ()))
        results.append([weight.grad for weight in step.network.parameters()])
    for single, *others in zip(*results, strict=True):
        assert single is not None
        for other in others:
            assert torch.allclose(other, single, atol=0.02 * float(single.abs().max()))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_images_in_the_precision_of_the_network_change_no_bit(precision: Any) -> None:
    config = residual(n_stages=2)
    settings = TrainingSettings(precision=precision, compile=False)
    random = torch.Generator().manual_seed(0)
    images = torch.randn((2, 1, *config.patch_size), generator=random)
    target = torch.randint(0, 2, images.shape, generator=random)
    results = []
    for kind, labels in (
        (torch.float32, torch.int16),
        (image_type(config, settings, CPU), torch.int8),
    ):
        torch.manual_seed(0)
        network = build_network(config, 1, 2)
        step = TrainingStep.of(network, DiceCrossEntropy(True), settings, ALONE, dim=config.dim)
        batch = Batch(images.to(kind), target.to(labels), ())
        values = [step(batch), step(batch)]
        results.append((values, [*network.state_dict().values()]))
    (before, weights), (after, same_weights) = results
    assert before == after
    assert all(torch.equal(a, b) for a, b in zip(weights, same_weights, strict=True))


def test_images_travel_in_half_precision_where_a_convolution_sees_them_first() -> None:
    nnunet, other = residual(n_stages=2), configuration("STUNet", {}, (16, 16, 16))
    cuda = torch.device("cuda", 0)
    for precision, expected in (("auto", torch.float16), ("bf16", torch.bfloat16)):
        settings = TrainingSettings(precision=precision)
        assert image_type(nnunet, settings, cuda) is expected
        assert image_type(other, settings, cuda) is torch.float32
    assert image_type(nnunet, TrainingSettings(precision="fp32"), cuda) is torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("batch_dice", [True, False])
def test_a_compiled_dice_has_the_same_value_and_gradients(backend: str, batch_dice: bool) -> None:
    random = torch.Generator().manual_seed(0)
    regions = torch.rand((2, 3, 6, 6), generator=random) < 0.3
    labels = torch.randint(0, 4, (2, 1, 6, 6), generator=random)
    compiled = {
        name: torch.compile(sums, backend=backend)
        for name, sums in (("labels", label_sums), ("regions", region_sums))
    }
    pairs: list[tuple[Loss, Loss, torch.Tensor]] = [
        (
            DiceCrossEntropy(batch_dice, 3),
            DiceCrossEntropy(batch_dice, 3, sums=compiled["labels"]),
            labels,
        ),
        (
            DiceBinaryCrossEntropy(batch_dice),
            DiceBinaryCrossEntropy(batch_dice, sums=compiled["regions"]),
            regions,
        ),
    ]
    for plain, other, target in pairs:
        values = []
        for loss in (plain, other):
            logits = torch.randn((2, 3, 6, 6), generator=torch.Generator().manual_seed(1))
            value = loss(logits.requires_grad_(), target)
            value.backward()
            values.append((value.item(), logits.grad))
        assert values[0][0] == pytest.approx(values[1][0], abs=1e-6)
        torch.testing.assert_close(values[0][1], values[1][1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("compile_network", [True, False])
def test_the_dice_is_compiled_where_the_network_is(
    monkeypatch: pytest.MonkeyPatch, compile_network: bool
) -> None:
    compiled: list[Any] = []

    def compiling(what: Any) -> Any:
        compiled.append(what)
        return what

    monkeypatch.setattr(torch, "compile", compiling)
    for regions, sums in ((False, label_sums), (True, region_sums)):
        default_loss(
            residual(n_stages=2), TrainingSettings(), regions=regions, compiled=compile_network
        )
        assert [part.func for part in compiled] == ([sums] if compile_network else [])
        compiled.clear()


MEDNEXT_WEIGHTS = tuple(part / 31 for part in (16, 8, 4, 2, 1))

NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[float, ...]]] = {
    "STUNet": (
        {"variant": "S", "strides": [1, [1, 2, 2], 2, 1, 1, 1]},
        (4, 8, 8),
        loss_weights(5),
    ),
    f"{MONAI}SwinUNETR": ({"feature_size": 12, "depths": [1, 1, 1, 1]}, (64, 32, 32), (1.0,)),
    f"{MONAI}SegResNet": ({"init_filters": 8}, (16, 8, 8), (1.0,)),
    f"{MONAI}SegResNetDS": (
        {"init_filters": 4, "blocks_down": [1, 1, 1, 1], "resolution": [4, 1, 1]},
        (4, 16, 16),
        (1.0, 0.5, 0.25),
    ),
    f"{MONAI}DiNTS": (
        {"channel_mul": 0.1, "num_blocks": 2, "num_depths": 2},
        (16, 16, 8),
        (1.0,),
    ),
    f"{MONAI}MedNeXtS": ({}, (32, 16, 16), MEDNEXT_WEIGHTS),
    f"{MONAI}MedNeXt": ({"init_filters": 4}, (32, 16, 16), MEDNEXT_WEIGHTS),
    "resenc_plans.networks.baselines.mednext.MedNeXt": ({}, (32, 16, 16), MEDNEXT_WEIGHTS),
    "resenc_plans.networks.baselines.cotr.CoTr": (
        {},
        (16, 16, 16),
        (8 / 15, 4 / 15, 2 / 15, 1 / 15),
    ),
    "resenc_plans.networks.baselines.nnformer.NNFormer": (
        {"patch_size": [32, 32, 32]},
        (32, 32, 32),
        (1.0,),
    ),
    "resenc_plans.networks.baselines.umamba.UMamba": (
        {
            "features_per_stage": [4, 8, 8],
            "kernel_sizes": 3,
            "strides": [1, 2, 2],
            "variant": "enc",
        },
        (16, 8, 8),
        loss_weights(2),
    ),
    "PlainConvUNet": (unet_arguments(n_conv_per_stage=1), (16, 16, 16), loss_weights(2)),
    "ResidualEncoderUNet": (unet_arguments(n_blocks_per_stage=1), (16, 16, 16), loss_weights(2)),
}


def test_no_registered_network_is_left_out() -> None:
    registered = {name.rpartition(".")[2] for name in architecture_names()}
    sizes = {f"MedNeXt{variant}" for variant in "BML"}
    of_extras = {name for name in registered if name.startswith("Primus")}
    assert registered - sizes - of_extras <= {name.rpartition(".")[2] for name in NETWORKS}


@pytest.mark.slow
@pytest.mark.parametrize("deep_supervision", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_registered_network_trains_with_its_own_weights_of_scales(
    name: str, deep_supervision: bool
) -> None:
    if name.startswith(MONAI):
        pytest.importorskip("monai", reason="without the extra monai")
        pytest.importorskip("einops", reason="without the extra monai")
    arguments, patch_size, weights = NETWORKS[name]
    config = configuration(name, arguments, patch_size)
    settings = TrainingSettings(
        precision="fp32",
        compile=False,
        deep_supervision=deep_supervision,
        optimizer=AdamW(),
        learning_rate=2e-4,
    )
    torch.manual_seed(0)
    step = TrainingStep.of(
        build_network(config, 1, 2, deep_supervision),
        default_loss(config, settings),
        settings,
        Ranks(0, 1, CPU),
        dim=config.dim,
        scale_weights=resolutions_of(config).weights,
    )
    step.train()
    images = torch.randn(2, 1, *patch_size)
    batch = Batch(images, (images > 0).to(torch.int8), ("a", "b"))
    outcome = step.evaluate(batch)
    expected = weights if deep_supervision else (1.0,)
    assert step.weights_of(len(outcome.logits)) == pytest.approx(expected)
    assert len(outcome.logits) == len(expected)
    losses = [step(batch).loss for _ in range(3)]
    assert losses[-1] < losses[0]


def test_weights_that_do_not_fit_the_outputs_are_refused() -> None:
    config = residual(n_stages=3)
    settings = TrainingSettings(precision="fp32", scale_weights=(1, 1, 1))
    loss = default_loss(config, settings)
    ranks = Ranks(0, 1, CPU)
    step = TrainingStep.of(build_network(config, 1, 2), loss, settings, ranks, dim=3)
    images = torch.zeros(1, 1, *config.patch_size)
    with pytest.raises(TrainingError, match="has 3 values, but the network has 2 outputs"):
        step(Batch(images, images.to(torch.int8), ("a",)))


@dataclass(frozen=True)
class Event:
    """One of a GPU, at a time in milliseconds."""

    time: float

    def elapsed_time(self, later: "Event") -> float:
        return later.time - self.time


def test_a_gpu_is_idle_from_the_end_of_a_step_to_the_next_one() -> None:
    reading = Reading.begin([torch.zeros(())] * 4)
    first, second, third = (
        LaunchedStep(reading, (), [Event(began), Event(ended)])
        for began, ended in ((0, 80), (100, 180), (180, 260))
    )
    assert first.idle_since(None) == math.inf
    assert second.idle_since(first) == pytest.approx(0.02)
    assert third.idle_since(second) == 0
    assert second.idle_since(LaunchedStep(reading, ())) == math.inf


def test_a_loss_for_other_ranks_is_refused() -> None:
    ranks = Ranks(0, 2, CPU)
    network, settings = torch.nn.Conv3d(1, 2, 1), TrainingSettings(precision="fp32")
    with pytest.raises(TrainingError, match="The loss is for 1 process, but 2 train"):
        TrainingStep.of(network, DiceCrossEntropy(True), settings, ranks, dim=3)
