"""Labels from logits: equal to a direct computation in double precision."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from resenc_plans.errors import DatasetError, PredictionError
from resenc_plans.inference import export_labels
from resenc_plans.inference.export.interpolation import NNUNETS_DEFAULT, Interpolation
from resenc_plans.inference.export.plain import export_by_heads
from tests.inference.logits import (
    COARSE,
    ISOTROPIC,
    resampled,
    scattered_logits,
    seesaw_logits,
    smooth_logits,
    tied_logits,
)

SPACINGS: dict[str, Any] = {"spacing": ISOTROPIC, "new_spacing": ISOTROPIC}
DTYPES = [np.float16, np.float32, np.float64]
shapes = st.tuples(*[st.integers(1, 12)] * 3)


def margins(
    logits: np.ndarray, shape: tuple[int, ...], axis: int | None, *, by_region: bool
) -> np.ndarray:
    """How far each voxel is from another label: the plain way rounds more, so it decides no ties.

    Ties are compared with double precision by the tests below.
    """
    values = resampled(logits.astype(np.float64), shape, axis)
    if by_region:
        return np.abs(values).min(axis=0)
    if len(values) == 1:
        return np.ones(shape)
    highest = np.sort(values, axis=0)[-2:]
    return highest[1] - highest[0]


@settings(max_examples=60, deadline=None)
@given(
    make=st.sampled_from([smooth_logits, tied_logits, seesaw_logits]),
    seed=st.integers(0, 1000),
    heads=st.integers(1, 6),
    before=shapes,
    after=shapes,
    axis=st.sampled_from([None, 0, 1, 2]),
    dtype=st.sampled_from(DTYPES),
    by_region=st.booleans(),
)
def test_labels_by_borders_are_the_plain_ones(
    make: Any,
    seed: int,
    heads: int,
    before: tuple[int, ...],
    after: tuple[int, ...],
    axis: int | None,
    dtype: DTypeLike,
    by_region: bool,
) -> None:
    logits = make(seed, (heads, *before), dtype)
    spacing = ISOTROPIC if axis is None else COARSE[axis]
    how: dict[str, Any] = {
        "spacing": spacing,
        "new_spacing": spacing,
        "regions": tuple(range(heads, 0, -1)) if by_region else None,
    }
    expected = np.empty(after, np.uint8)
    export_by_heads(logits, expected, interpolation=NNUNETS_DEFAULT, **how)
    clear = margins(logits, after, axis, by_region=by_region) > 8 * np.finfo(dtype).eps * 8
    np.testing.assert_array_equal(export_labels(logits, after, **how)[clear], expected[clear])


@settings(max_examples=60, deadline=None)
@given(
    make=st.sampled_from([smooth_logits, tied_logits, seesaw_logits]),
    seed=st.integers(0, 1000),
    heads=st.integers(1, 6),
    before=shapes,
    after=shapes,
    axis=st.sampled_from([None, 0, 1, 2]),
    dtype=st.sampled_from(DTYPES),
)
def test_labels_are_the_arg_max_of_resampled_logits(
    make: Any,
    seed: int,
    heads: int,
    before: tuple[int, ...],
    after: tuple[int, ...],
    axis: int | None,
    dtype: DTypeLike,
) -> None:
    logits = make(seed, (heads, *before), dtype)
    spacing = ISOTROPIC if axis is None else COARSE[axis]
    labels = export_labels(logits, after, spacing=spacing, new_spacing=spacing)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, resampled(logits, after, axis).argmax(axis=0))


@settings(max_examples=30, deadline=None)
@given(
    make=st.sampled_from([smooth_logits, tied_logits]),
    seed=st.integers(0, 1000),
    before=shapes,
    after=shapes,
    dtype=st.sampled_from(DTYPES),
)
def test_regions_paint_their_labels_later_ones_over_earlier(
    make: Any, seed: int, before: tuple[int, ...], after: tuple[int, ...], dtype: DTypeLike
) -> None:
    logits = make(seed, (3, *before), dtype)
    expected = np.zeros(after, int)
    for value, label in zip(resampled(logits, after), (3, 1, 2), strict=True):
        expected[value > 0] = label
    labels = export_labels(logits, after, **SPACINGS, regions=(3, 1, 2))
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_heads_that_are_far_away_are_left_out_without_a_difference(dtype: DTypeLike) -> None:
    logits = scattered_logits(7, (20, 9, 90, 80), dtype)
    values = resampled(logits, (12, 70, 100))
    labels = export_labels(logits, (12, 70, 100), **SPACINGS)
    np.testing.assert_array_equal(labels, values.argmax(axis=0))
    regions = tuple(range(1, 21))
    painted = export_labels(logits, (12, 70, 100), **SPACINGS, regions=regions)
    last = 20 - (values[::-1] > 0).argmax(axis=0)
    np.testing.assert_array_equal(painted, np.where((values > 0).any(axis=0), last, 0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_head_may_win_between_voxels_that_it_wins_nowhere(dtype: DTypeLike) -> None:
    logits = seesaw_logits(2, (7, 20, 50, 60), dtype)
    labels = export_labels(logits, (31, 77, 91), **SPACINGS)
    assert set(np.unique(labels)) - {0, 6}
    np.testing.assert_array_equal(labels, resampled(logits, (31, 77, 91)).argmax(axis=0))


@pytest.mark.parametrize("make", [smooth_logits, tied_logits])
def test_logits_that_are_larger_than_a_window_are_read_in_parts(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resenc_plans.inference.export.planes.BYTES_AT_ONCE", 1)
    logits = make(3, (4, 61, 9, 10))
    for shape in ((90, 12, 9), (20, 8, 13), (61, 9, 10), (1, 9, 10)):
        expected = resampled(logits, shape).argmax(axis=0)
        np.testing.assert_array_equal(export_labels(logits, shape, **SPACINGS), expected)


def test_logits_may_be_of_any_strides_or_lie_in_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resenc_plans.inference.export.planes.BYTES_AT_ONCE", 1)
    logits = smooth_logits(4, (5, 40, 11, 9))
    expected = resampled(logits, (33, 14, 9)).argmax(axis=0)
    np.save(tmp_path / "logits.npy", logits)
    stored = blosc2.asarray(logits, chunks=(5, 6, 11, 9), urlpath=str(tmp_path / "logits.b2nd"))
    for form in (
        np.asfortranarray(logits),
        np.load(tmp_path / "logits.npy", mmap_mode="r"),
        np.load(tmp_path / "logits.npy", mmap_mode="c"),
        stored,
        blosc2.asarray(logits, chunks=(1, 40, 4, 9)),
    ):
        labels = export_labels(form, (33, 14, 9), **SPACINGS)
        np.testing.assert_array_equal(labels, expected)


def test_changes_to_a_mapped_copy_of_a_file_are_kept(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", smooth_logits(4, (2, 20, 11, 9)))
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="c")
    mapped[1] = 100
    assert export_labels(mapped, (30, 12, 9), **SPACINGS).all()
    assert (mapped[1] == 100).all()


def test_logits_of_many_heads_get_labels_of_two_bytes() -> None:
    logits = smooth_logits(5, (300, 4, 5, 6))
    labels = export_labels(logits, (6, 4, 9), **SPACINGS)
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, resampled(logits, (6, 4, 9)).argmax(axis=0))


def test_negative_zero_ties_with_zero() -> None:
    logits = np.zeros((3, 4, 5, 6), np.float16)
    logits[0] = -0.0
    for shape in ((4, 5, 6), (6, 3, 9)):
        assert not export_labels(logits, shape, **SPACINGS).any()


def test_voxels_that_are_nan_in_all_heads_become_background() -> None:
    logits = np.full((3, 4, 5, 6), np.nan, np.float32)
    for shape in ((4, 5, 6), (6, 3, 9)):
        assert not export_labels(logits, shape, **SPACINGS).any()
        assert not export_labels(logits, shape, **SPACINGS, regions=(1, 2, 3)).any()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), before=shapes, after=shapes)
def test_other_orders_go_head_by_head(
    seed: int, before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    logits = smooth_logits(seed, (3, *before), np.float32)
    nearest = export_labels(logits, after, **SPACINGS, interpolation=Interpolation(order=0))
    at = [
        np.floor((np.arange(new) + 0.5) * (old / new)).astype(int)
        for old, new in zip(before, after, strict=True)
    ]
    np.testing.assert_array_equal(nearest, logits.argmax(axis=0)[np.ix_(*at)])
    cubic = export_labels(logits, after, **SPACINGS, interpolation=Interpolation(order=3))
    assert cubic.shape == after


def test_no_head_is_held_on_the_new_grid() -> None:
    logits = smooth_logits(6, (12, 40, 50, 50))
    shape = (60, 100, 100)
    export_labels(logits, shape, **SPACINGS)
    tracemalloc.start()
    labels = export_labels(logits, shape, **SPACINGS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < labels.nbytes + logits.nbytes / 2


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "reason"),
    [
        ((3, 2, 2, 2), np.float32, {"regions": (1, 2)}, "3 heads, but 2 regions"),
        ((2, 2, 2), np.float32, {}, "are needed"),
        ((3, 2, 0, 2), np.float32, {}, "are needed"),
        ((3, 2, 2, 2), np.int32, {}, "type int32"),
    ],
)
def test_what_are_no_logits_is_refused(
    shape: tuple[int, ...], dtype: DTypeLike, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(PredictionError, match=reason):
        export_labels(np.zeros(shape, dtype), (2, 2, 2), **SPACINGS, **options)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"shape": (2, 2, -1)}, "positive numbers of voxels"),
        ({"spacing": (1.0, 1.0)}, "three lengths"),
        ({"new_spacing": (1.0, 1.0, 0.0)}, "three lengths"),
    ],
)
def test_a_grid_that_is_none_is_refused(changed: dict[str, Any], reason: str) -> None:
    options: dict[str, Any] = {"shape": (2, 2, 2), **SPACINGS, **changed}
    with pytest.raises((PredictionError, DatasetError), match=reason):
        export_labels(np.zeros((3, 2, 2, 2), np.float32), **options)
