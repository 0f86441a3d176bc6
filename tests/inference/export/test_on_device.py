"""Labels of logits on a device are the compiled loops', voxel for voxel."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from resenc_plans.inference import export_labels
from resenc_plans.inference.export.case import ExportRecipe, export_case, uncropped
from resenc_plans.inference.export.interpolation import NNUNETS_DEFAULT, Interpolation
from resenc_plans.inference.export.on_device import DeviceExport, labels_within_memory
from resenc_plans.preprocessing.resampling.sampling import AxisSampling
from tests.gpu import DEVICES
from tests.inference.logits import (
    COARSE,
    ISOTROPIC,
    scattered_logits,
    seesaw_logits,
    smooth_logits,
    tied_logits,
)
from tests.interop.test_export import SCENARIOS, recipe_of

shapes = st.tuples(*[st.integers(1, 12)] * 3)


def assert_same(
    logits: np.ndarray,
    shape: tuple[int, ...],
    *,
    axis: int | None = None,
    regions: tuple[int, ...] | None = None,
    interpolation: Interpolation = NNUNETS_DEFAULT,
    at_once: int = 1 << 12,
) -> None:
    """Compare both ways, the device's in small parts."""
    spacing = ISOTROPIC if axis is None else COARSE[axis]
    how: dict[str, Any] = {"spacing": spacing, "new_spacing": spacing, "regions": regions}
    expected = export_labels(logits, shape, **how, interpolation=interpolation)
    axes = tuple(
        AxisSampling.of(*lengths)
        for lengths in zip(
            logits.shape[1:], shape, interpolation.orders(spacing, spacing), strict=True
        )
    )
    size = interpolation.result_type(logits.dtype).itemsize
    made = DeviceExport(torch.from_numpy(logits), axes, regions, size, at_once).labels()
    np.testing.assert_array_equal(made.numpy(), expected)


@settings(max_examples=30, deadline=None)
@given(
    make=st.sampled_from([smooth_logits, tied_logits, seesaw_logits]),
    seed=st.integers(0, 1000),
    heads=st.integers(1, 6),
    before=shapes,
    after=shapes,
    axis=st.sampled_from([None, 0, 1, 2]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    by_region=st.booleans(),
    rounds=st.booleans(),
)
def test_labels_are_those_of_the_compiled_loops(
    make: Callable[..., np.ndarray],
    seed: int,
    heads: int,
    before: tuple[int, ...],
    after: tuple[int, ...],
    axis: int | None,
    dtype: DTypeLike,
    by_region: bool,
    rounds: bool,
) -> None:
    regions = tuple(range(heads, 0, -1)) if by_region else None
    assert_same(
        make(seed, (heads, *before), dtype),
        after,
        axis=axis,
        regions=regions,
        interpolation=Interpolation(rounds=rounds),
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_many_heads_and_heads_that_win_between_voxels(dtype: DTypeLike) -> None:
    assert_same(scattered_logits(7, (20, 9, 20, 30), dtype), (12, 25, 40), at_once=1 << 24)
    assert_same(seesaw_logits(2, (7, 10, 20, 30), dtype), (21, 27, 41), at_once=1 << 24)
    assert_same(smooth_logits(5, (300, 4, 5, 6), dtype), (6, 4, 9), at_once=1 << 20)


def test_zeros_of_both_signs_tie_and_nan_in_all_heads_is_background() -> None:
    logits = np.zeros((3, 4, 5, 6), np.float16)
    logits[0] = -0.0
    assert_same(logits, (6, 3, 9))
    logits[:, :2] = np.nan
    assert_same(logits, (6, 3, 9))
    assert_same(logits, (4, 5, 6))


@pytest.mark.parametrize("bits", [0x7FFFFFFFE0000000, -1])
def test_no_nan_wins_by_being_rounded(bits: int) -> None:
    logits = torch.full((2, 1, 1, 2), -1.0, dtype=torch.float64)
    logits[1] = torch.tensor(bits).view(torch.float64)
    axis, wide = AxisSampling.of(1, 1, 1), AxisSampling.of(2, 3, 1)
    made = DeviceExport(logits, (axis, axis, wide), None, 2)._interpolated(
        torch.arange(3), 0, (1, 3)
    )
    assert made.tolist() == [0, 0, 0]


SPECIAL = {
    np.float16: (0x7C00, 0xFC00, 0x7E00, 0xFE00, 0x7C01, 0x7FFF, 0xFFFF),
    np.float32: (0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF),
    np.float64: (0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, 0xFFF8 << 48, (0x7FF << 52) + 1),
}
"""Bits of both infinities, and of NaN with either sign and several payloads."""


@pytest.mark.parametrize("dtype", list(SPECIAL))
@pytest.mark.parametrize("by_region", [False, True])
def test_what_is_not_finite_is_exported_alike(dtype: Any, by_region: bool) -> None:
    for seed, share in enumerate((0.02, 0.02, 0.2, 0.2, 0.7, 1.0)):
        random = np.random.default_rng(seed)
        logits = smooth_logits(seed, (4, 5, 6, 7), dtype)
        bits = logits.view(f"u{logits.dtype.itemsize}")
        chosen = random.random(logits.shape) < share
        bits[chosen] = random.choice(np.array(SPECIAL[dtype], bits.dtype), chosen.sum())
        regions = (4, 3, 2, 1) if by_region else None
        for rounds in (False, True):
            assert_same(
                logits, (8, 5, 11), regions=regions, interpolation=Interpolation(rounds=rounds)
            )
        assert_same(logits, (5, 6, 7), regions=regions)


def test_the_smallest_and_the_largest_halves_are_rounded_alike() -> None:
    random = np.random.default_rng(0)
    for scale in (2.0**-24, 2.0**-16, 2.0**-13, 6e4):
        logits = (random.uniform(-1, 1, (4, 5, 6, 7)) * scale).astype(np.float16)
        assert_same(logits, (9, 8, 13))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", list(SCENARIOS))
def test_each_kind_that_nnunet_exports_is_exported_alike(name: str, device: str) -> None:
    made = SCENARIOS[name]
    logits = smooth_logits(3, made["shape"], made["dtype"])
    properties, recipe = made["properties"], recipe_of(made)
    labels = labels_within_memory(torch.from_numpy(logits).to(device), properties, recipe)
    if name == "cubic":
        assert labels is None  # which the host exports head by head
        return
    assert labels is not None
    expected = export_case(logits, properties, recipe)
    segmentation = uncropped(labels, properties, recipe)
    assert segmentation.dtype == expected.dtype
    np.testing.assert_array_equal(segmentation, expected)


def case() -> tuple[dict[str, Any], ExportRecipe]:
    properties = {
        "spacing": (1.0, 0.5, 0.5),
        "shape_before_cropping": (9, 20, 18),
        "bbox_used_for_cropping": ((1, 8), (2, 19), (0, 18)),
    }
    recipe = ExportRecipe((1.0, 1.0, 1.0), (0, 1, 2), NNUNETS_DEFAULT, None, np.dtype(np.uint8))
    return properties, recipe


def test_a_case_is_exported_by_smaller_parts_where_memory_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = smooth_logits(4, (3, 7, 9, 9))
    properties, recipe = case()
    expected = export_case(logits, properties, recipe)
    original, tried = DeviceExport.labels, []

    def labels(self: DeviceExport) -> Any:
        tried.append(self.bytes_at_once)
        if self.bytes_at_once > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self)

    monkeypatch.setattr(DeviceExport, "labels", labels)
    limit = 20 << 20
    made = labels_within_memory(torch.from_numpy(logits), properties, recipe)
    assert made is not None
    np.testing.assert_array_equal(uncropped(made, properties, recipe), expected)
    assert tried == [256 << 20, 64 << 20, 16 << 20]
    limit = 0
    assert labels_within_memory(torch.from_numpy(logits), properties, recipe) is None
