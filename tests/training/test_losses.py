from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import FileError
from resenc_plans.plans.known_networks import loss_weights
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.training.defaults import polynomial
from resenc_plans.training.history import Epoch, from_logging, smoothed, to_logging
from resenc_plans.training.losses import (
    DeepSupervision,
    DiceBinaryCrossEntropy,
    DiceCrossEntropy,
)
from resenc_plans.training.pseudo_dice import count_overlap, dice_of


def test_a_perfect_prediction_has_the_least_loss() -> None:
    target = torch.randint(0, 3, (2, 1, 4, 4, 4))
    logits = torch.zeros(2, 3, 4, 4, 4).scatter(1, target, 100.0)
    loss = DiceCrossEntropy(batch_dice=True)
    assert loss(logits, target).item() == pytest.approx(-1, abs=1e-4)
    regions = torch.stack([target[:, 0] == 1, target[:, 0] == 2], 1)
    of_regions = DiceBinaryCrossEntropy(batch_dice=True)
    assert of_regions(200.0 * regions - 100, regions).item() == pytest.approx(-1, abs=1e-4)


def test_ignored_voxels_do_not_count() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 6, 6), torch.randint(0, 4, (2, 1, 6, 6))
    loss = DiceCrossEntropy(batch_dice=False, ignore_label=3)
    changed = torch.where(target == 3, torch.randn_like(logits), logits)
    assert loss(changed, target).item() == pytest.approx(loss(logits, target).item(), abs=1e-6)
    everything = torch.full_like(target, 3)
    assert torch.isfinite(loss(logits, everything))


@given(st.integers(1, 8))
def test_weights_halve_and_are_one_together(scales: Any) -> None:
    weights = loss_weights(scales)
    assert sum(weights) == pytest.approx(1)
    assert weights[-1] == (0 if scales > 1 else 1)
    assert all(a == pytest.approx(2 * b) for a, b in pairwise(weights[:-1]))


def test_a_scale_of_no_weight_is_not_even_computed() -> None:
    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        assert target is not None
        return logits.sum()

    together = DeepSupervision(loss, (0.75, 0.25, 0.0))
    targets: list[Any] = [1, 1, None]
    value = together([torch.ones(1), 2 * torch.ones(1), torch.ones(1)], targets)
    assert value.own.item() == value.mean.item() == pytest.approx(1.25)


def test_pseudo_dice_pools_the_batch() -> None:
    labels = Labels((0, 1, 2), None, None, None)
    target = torch.tensor([0, 1, 1, 2]).view(1, 1, 2, 2)
    logits = torch.zeros(1, 3, 2, 2).scatter(1, torch.tensor([0, 1, 2, 2]).view(1, 1, 2, 2), 1.0)
    found = count_overlap(logits, target, labels) + count_overlap(logits, target, labels)
    counts = [found.tp.tolist(), found.fp.tolist(), found.fn.tolist()]
    assert counts == [[2, 2], [0, 2], [2, 0]]
    assert dice_of(*counts) == pytest.approx((2 / 3, 2 / 3))


def test_the_rate_falls_to_nothing() -> None:
    rate = polynomial(0.01, 1000)
    assert rate(0) == 0.01
    assert rate(500) == pytest.approx(0.01 * 0.5**0.9)
    assert rate(1000) == 0


def test_curves_survive_a_checkpoint() -> None:
    epochs = (Epoch(1.0, 0.5, (0.2, float("nan")), 0.2, 0.01, 1.0, 3.0),) * 2
    assert str(from_logging(to_logging(epochs), 2)) == str(epochs)
    assert epochs[0].mean_dice == 0.2
    assert smoothed(0.5, float("nan")) == 0.5
    assert smoothed(0.5, 1.0) == pytest.approx(0.55)


def test_settings_go_to_json_and_back_and_slips_are_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(TrainingSettings(epochs=7).model_dump_json())
    assert TrainingSettings.load(path) == TrainingSettings(epochs=7)
    path.write_text('{"epoch": 7, "learning_rate": -1}')
    with pytest.raises(FileError, match=r"learning_rate.*epoch|epoch.*learning_rate"):
        TrainingSettings.load(path)
