"""Counting voxels."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from resenc_plans.datasets.labels import Region
from resenc_plans.evaluation.metrics import METRICS, Counts, count_voxels

DTYPES = (np.uint8, np.int8, np.int16, np.uint16, np.int64, np.float32)


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    values = st.integers(0, 4)
    kinds = st.sampled_from(DTYPES)
    first, second = (draw(arrays(draw(kinds), shape, elements=values)) for _ in range(2))
    return first, second


@given(label_maps(), st.sampled_from((None, 3)))
def test_counts_are_those_of_masks(maps: tuple[np.ndarray, np.ndarray], ignore: int | None) -> None:
    prediction, reference = maps
    regions: tuple[Region, ...] = (1, (1, 2), (2,), 4)
    used = np.ones_like(reference, bool) if ignore is None else reference != ignore
    for region, counts in zip(
        regions, count_voxels(prediction, reference, regions, ignore), strict=True
    ):
        p, r = np.isin(prediction, region), np.isin(reference, region)
        expected = Counts(*(int(mask[used].sum()) for mask in (p & r, p & ~r, ~p & r, ~p & ~r)))
        assert counts == expected


@pytest.mark.parametrize("regions", [[0, 1], [1]])
def test_stretches_of_background_count_as_background(regions: list[int]) -> None:
    labels = np.zeros(2**18, np.uint8)
    labels[70_000] = 1
    counts = count_voxels(labels, labels, regions)
    assert counts[-1] == Counts(1, 0, 0, 2**18 - 1)
    assert counts[0] == Counts(2**18 - 1, 0, 0, 1) or regions == [1]


def test_images_larger_than_a_chunk_are_counted_whole() -> None:
    reference = np.zeros(2**20 + 5, np.uint8)
    prediction = reference.copy()
    reference[-3:] = 1
    prediction[-2:] = 1
    assert count_voxels(prediction, reference, [1]) == (Counts(2, 0, 1, 2**20 + 2),)


def test_a_label_in_neither_map_has_no_dice() -> None:
    (counts,) = count_voxels(np.zeros(3), np.zeros(3), [1])
    assert math.isnan(counts.dice)
    assert math.isnan(counts.iou)


def test_a_missed_label_has_dice_zero() -> None:
    (counts,) = count_voxels(np.zeros(3), np.ones(3), [1])
    assert counts.dice == counts.iou == 0


def test_values_between_labels_and_negative_ones_are_no_label() -> None:
    (counts,) = count_voxels(np.array([0.5, 1, -1]), np.array([1, 1, 1], np.int8), [1])
    assert counts == Counts(tp=1, fp=0, fn=2, tn=0)


def test_a_label_beyond_the_data_type_is_absent() -> None:
    (counts,) = count_voxels(np.array([44], np.uint8), np.array([300], np.int16), [300])
    assert counts == Counts(tp=0, fp=0, fn=1, tn=0)


def test_figures_have_nnunets_names_in_its_order() -> None:
    assert tuple(Counts(1, 2, 3, 4).to_dict()) == METRICS == tuple(sorted(METRICS))


@pytest.mark.parametrize("region", [1, (1,)])
def test_empty_arrays_have_nothing_to_count(region: int | tuple[int, ...]) -> None:
    assert count_voxels(np.zeros(0), np.zeros(0), [region]) == (Counts(0, 0, 0, 0),)
