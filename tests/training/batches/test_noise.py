"""Batches of noise have the shapes and types of real ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resenc_plans.datasets.labels import Labels
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.training.batches.noise import NoiseBatches
from resenc_plans.training.batches.source import PatchSource
from resenc_plans.training.ranks import RankShare
from tests.networks.configurations import plain

REGIONS = Labels((0, 1, 2), ((1, 2), 2), (1, 2), 3)


@pytest.mark.parametrize(
    ("labels", "heads", "kind"),
    [(Labels((0, 1, 2), None, None, None), 1, torch.int8), (REGIONS, 3, torch.bool)],
)
def test_noise_is_like_a_batch(
    labels: Labels, heads: int, kind: torch.dtype, tmp_path: Path
) -> None:
    config = plain()
    source = PatchSource(
        store=CaseStore(tmp_path),
        config=config,
        labels=labels,
        cases=(),
        share=RankShare(0, 2, 1),
        purpose="training",
        seed=3,
    )
    device = torch.device("cpu")
    first, second = (NoiseBatches.like(source, device).stream(n) for n in (0, 7))
    batch, again = next(first), next(second)
    assert batch.images.shape == (2, 1, *config.patch_size)
    assert (batch.target.shape, batch.target.dtype) == ((2, heads, *config.patch_size), kind)
    assert torch.equal(batch.images, again.images)
    other = NoiseBatches.like(replace(source, seed=4), device)
    assert not torch.equal(other.batch.images, batch.images)
