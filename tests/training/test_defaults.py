"""Schedules and losses that settings name; MONAI is the oracle of those that are MONAI's."""

from typing import Any

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from resenc_plans.plans.training_settings import (
    CosineSchedule,
    DiceCrossEntropyLoss,
    DiceFocalLoss,
    PolynomialSchedule,
    TrainingSettings,
)
from resenc_plans.training import defaults
from resenc_plans.training.defaults import default_loss, default_schedule, where_to_augment
from tests.networks.configurations import residual


def test_settings_name_the_schedule() -> None:
    falling = TrainingSettings(epochs=10, schedule=PolynomialSchedule(exponent=0.5))
    assert default_schedule(falling)(5) == pytest.approx(0.01 * 0.5**0.5)
    cosine = CosineSchedule(warmup_epochs=2, warmup_start=0.5, floor=0.002)
    rate = default_schedule(TrainingSettings(epochs=10, schedule=cosine))
    assert [rate(epoch) for epoch in (0, 1, 2, 6)] == pytest.approx([0.005, 0.0075, 0.01, 0.006])
    assert rate(9) > 0.002 == rate(10)


def test_auto_augments_on_a_gpu_that_has_few_cpus_for_its_channels(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(defaults, "usable_cpus", lambda: 16)
    auto, on_device = TrainingSettings(), TrainingSettings(augment_on="device")
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    one = residual(n_stages=2).model_copy(update={"use_mask_for_norm": (False,)})
    four = one.model_copy(update={"use_mask_for_norm": (False,) * 4})
    assert where_to_augment(auto, one, gpu) == "cpu"
    assert where_to_augment(auto, four, gpu) == "device"
    assert where_to_augment(auto, four, cpu) == "cpu"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert where_to_augment(auto, one, gpu) == "device"
    assert where_to_augment(on_device, one, cpu) == "device"
    own: Any = object()
    assert where_to_augment(auto, four, gpu, own=own) == "cpu"
    assert where_to_augment(on_device, four, gpu, own=own) == "cpu"
    assert "one sample at a time" in caplog.text


def test_the_cosine_is_the_one_of_auto3dseg() -> None:
    optimizers = pytest.importorskip("monai.optimizers", reason="without the extra monai")
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
    theirs = optimizers.WarmupCosineSchedule(optimizer, 3, 300, warmup_multiplier=0.1)
    schedule = CosineSchedule(warmup_epochs=3, warmup_start=0.1)
    mine = default_schedule(TrainingSettings(epochs=300, learning_rate=2e-4, schedule=schedule))
    for epoch in range(300):
        assert mine(epoch) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12, abs=1e-18)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        (DiceCrossEntropyLoss(squared_denominator=True), "DiceCELoss"),
        (DiceFocalLoss(gamma=2.5, squared_denominator=True), "DiceFocalLoss"),
        (DiceFocalLoss(), "DiceFocalLoss"),
    ],
)
def test_losses_are_monais(settings: Any, theirs: str, background: bool, regions: bool) -> None:
    losses = pytest.importorskip("monai.losses", reason="without the extra monai")
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 2 if regions else 3, (2, 3 if regions else 1, 5, 6, 7))
    chosen = settings.model_copy(update={"background": background})
    config = residual(n_stages=2).model_copy(update={"batch_dice": True})
    mine = default_loss(config, TrainingSettings(loss=chosen), regions=regions)(logits, target)
    shared: dict[str, Any] = {"batch": True, "squared_pred": settings.squared_denominator}
    shared |= {"smooth_nr": 1e-5, "smooth_dr": 1e-5}
    shared |= {"sigmoid": True} if regions else {"softmax": True, "to_onehot_y": True}
    if theirs == "DiceFocalLoss":
        shared["gamma"] = settings.gamma
    name = "DiceLoss" if regions and theirs == "DiceCELoss" else theirs
    expected = getattr(losses, name)(include_background=background or regions, **shared)
    truth = target.double() if regions else target
    value = expected(logits, truth) - 1
    if name == "DiceLoss":  # MONAI's cross-entropy of several channels is that of labels
        value = value + binary_cross_entropy_with_logits(logits, truth)
    assert mine.item() == pytest.approx(value.item(), abs=1e-6)
    [ours] = torch.autograd.grad(mine, logits)
    [others] = torch.autograd.grad(value, logits)
    assert torch.allclose(ours, others, atol=1e-8)


def test_the_focal_loss_leaves_ignored_voxels_out() -> None:
    torch.manual_seed(0)
    settings = TrainingSettings(loss=DiceFocalLoss())
    loss = default_loss(residual(n_stages=2), settings, ignore_label=3)
    logits, target = torch.randn(2, 3, 6, 6), torch.randint(0, 4, (2, 1, 6, 6))
    changed = torch.where(target == 3, torch.randn_like(logits), logits)
    assert loss(changed, target).item() == pytest.approx(loss(logits, target).item(), abs=1e-6)
    regions = default_loss(residual(n_stages=2), settings, regions=True, ignore_label=3)
    marked = torch.cat([torch.randint(0, 2, (2, 3, 6, 6)), target == 3], 1)
    assert regions(changed, marked).item() == pytest.approx(regions(logits, marked).item())
