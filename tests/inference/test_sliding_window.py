"""The sliding window by itself; interop tests compare it with nnU-Net's."""

import errno
import os
from itertools import pairwise
from pathlib import Path
from typing import Any, Never

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resenc_plans.errors import FileError, PredictionError
from resenc_plans.inference.sliding_window import (
    importance,
    pad_to_patch,
    predict_mirrored,
    sliding_window_logits,
    tile_positions,
    tiles,
)


class Copies(torch.nn.Module):
    """Two heads: the image, and its negative."""

    def forward(self, x: torch.Tensor) -> Any:
        return torch.cat([x, -x], dim=1)


class Ramp(torch.nn.Module):
    """One head that depends on the place in the patch: 0, 1, 2, ... along the last axis."""

    def forward(self, x: torch.Tensor) -> Any:
        return torch.arange(float(x.shape[-1])).expand(x.shape[0], 1, *x.shape[2:]).clone()


@given(st.integers(1, 60), st.integers(0, 200), st.floats(0.05, 1))
def test_tiles_cover_an_axis_without_a_gap_wider_than_the_step(
    patch: int, more: int, step_size: float
) -> None:
    starts = tile_positions(patch + more, patch, step_size)
    assert starts[0] == 0
    assert starts[-1] == more
    steps = [b - a for a, b in pairwise(starts)]
    assert all(step <= patch * step_size + 1 for step in steps)


def test_a_patch_larger_than_the_axis_and_a_step_of_nothing_are_refused() -> None:
    with pytest.raises(PredictionError, match="patch of 9"):
        tile_positions(8, 9, 0.5)
    with pytest.raises(PredictionError, match="step size of 0"):
        tile_positions(8, 4, 0)


def test_a_patch_of_two_axes_is_moved_plane_by_plane() -> None:
    found = tiles((2, 4, 6), (4, 4), 0.5)
    assert [tile[0] for tile in found] == [0, 0, 1, 1]
    assert found[1] == (0, slice(0, 4), slice(2, 6))


def test_the_weight_is_largest_at_the_centre_and_nowhere_zero() -> None:
    weights = importance((160, 20))
    assert weights.dtype == torch.float16
    assert weights.max() == weights[80, 10] == 10
    assert weights.min() > 0


def test_a_small_image_lies_in_the_middle_of_its_padding() -> None:
    image = torch.ones(1, 3, 5, 9)
    padded, inner = pad_to_patch(image, (6, 6, 6))
    assert padded.shape == (1, 6, 6, 9)
    assert inner == (slice(1, 4), slice(0, 5), slice(0, 9))
    assert padded.sum() == padded[:, *inner].sum() == image.sum()


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.integers(1, 14)] * 3),
    st.lists(st.integers(2, 7), min_size=2, max_size=3),
    st.integers(1, 5),
    st.booleans(),
)
def test_a_network_that_copies_gives_the_image_back(
    shape: tuple[int, ...], patch: tuple[int, ...], batch: int, mirrored: Any
) -> None:
    image = torch.linspace(-5, 5, steps=shape[0] * shape[1] * shape[2]).reshape(1, *shape)
    axes = tuple(range(len(patch))) if mirrored else ()
    logits = sliding_window_logits(
        Copies(), image, patch, 2, mirror_axes=axes, tiles_per_batch=batch, sum_dtype=torch.float32
    )
    assert logits.shape == (2, *shape)
    torch.testing.assert_close(logits, torch.cat([image, -image]), atol=1e-4, rtol=1e-4)


def test_batches_of_tiles_change_nothing() -> None:
    image = torch.randn(1, 9, 17, 12)
    one, many = (
        sliding_window_logits(Ramp(), image, (4, 8, 6), 1, tiles_per_batch=n) for n in (1, 5)
    )
    assert one.dtype == torch.float16
    torch.testing.assert_close(one, many, atol=0, rtol=0)


def test_mirroring_averages_over_all_combinations_of_axes() -> None:
    patches = torch.zeros(1, 1, 2, 3, 4)
    assert (predict_mirrored(Ramp(), patches, (0, 1)) == torch.arange(4.0)).all()
    assert (predict_mirrored(Ramp(), patches, (0, 2)) == 1.5).all()


def test_sums_too_large_for_half_precision_are_made_in_single() -> None:
    image = torch.full((1, 6, 6, 6), 9000.0)
    logits = sliding_window_logits(Copies(), image, (4, 4, 4), 2)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits[0], image[0], rtol=1e-5, atol=0)


def test_a_disk_without_room_for_sums_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> Never:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("resenc_plans.inference.memory.free_memory", lambda: 100)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(FileError, match=r"0\.0 GiB \(No space left on device\)\. Set TMPDIR"):
        sliding_window_logits(Copies(), torch.randn(1, 9, 17, 12), (4, 8, 6), 2)
    assert not list(tmp_path.iterdir())


def test_every_batch_of_tiles_is_reported() -> None:
    seen = []
    image = torch.zeros(1, 4, 4, 10)
    sliding_window_logits(
        Ramp(), image, (4, 4, 4), 1, tiles_per_batch=3, on_tile=lambda *at: seen.append(at)
    )
    assert seen == [(3, 4), (4, 4)]


def test_the_network_sees_batches_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    forward = Copies.forward

    def record(self: Copies, x: torch.Tensor) -> Any:
        sizes.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(Copies, "forward", record)
    image = torch.randn(1, 4, 4, 10)
    filled = sliding_window_logits(Copies(), image, (4, 4, 4), 2, tiles_per_batch=3)
    assert sizes == [3, 3]
    single = sliding_window_logits(Copies(), image, (4, 4, 4), 2)
    torch.testing.assert_close(filled, single, atol=0, rtol=0)


def test_mirrored_logits_are_summed_in_the_precision_that_was_chosen() -> None:
    def network(x: torch.Tensor) -> torch.Tensor:
        return (x * torch.linspace(0.1, 3, x.shape[-1])).half()

    patches = torch.randn(2, 1, 4, 5, 6)
    axes = [(), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)]
    parts = [network(patches.flip(some)).flip(some) for some in axes]
    halves, singles = parts[0].clone(), parts[0].float()
    for part in parts[1:]:
        halves += part
        singles += part
    halves /= 8
    singles /= 8
    assert not torch.equal(halves.float(), singles)
    own = predict_mirrored(network, patches, (0, 1, 2), None)
    assert own.dtype == torch.float16
    assert torch.equal(own, halves)
    assert torch.equal(predict_mirrored(network, patches, (0, 1, 2)), singles)


def test_sums_in_a_file_are_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    image = torch.randn(1, 9, 17, 12)
    expected = sliding_window_logits(Copies(), image, (4, 8, 6), 2)
    monkeypatch.setattr("resenc_plans.inference.memory.free_memory", lambda: 100)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = sliding_window_logits(Copies(), image, (4, 8, 6), 2)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
    assert not list(tmp_path.iterdir())
