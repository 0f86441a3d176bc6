"""Keeping the largest component."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import arrays

from resenc_plans.evaluation.postprocessing.components import keep_largest_component
from resenc_plans.runs.postprocessing_files import LabelGroup

MAPS = arrays(np.uint8, (4, 4, 4), elements=st.integers(0, 3))
SELECTIONS = st.sampled_from([1, (1, 2), [1, 2, 3], [(1, 2), 3]])


def test_corners_connect() -> None:
    labels = np.zeros((2, 2, 3), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 1
    assert np.array_equal(keep_largest_component(labels, 1), labels)


def test_labels_of_a_selection_hold_together_and_others_stay() -> None:
    labels = np.array([[1, 2, 0, 1, 0, 3]])
    assert keep_largest_component(labels, [1, 2]).tolist() == [[1, 2, 0, 0, 0, 3]]


def test_equally_large_components_all_stay() -> None:
    labels = np.array([[1, 0, 1, 0, 1]])
    assert keep_largest_component(labels, 1).tolist() == labels.tolist()


@given(MAPS, SELECTIONS)
def test_it_only_ever_removes_and_removes_nothing_twice(
    labels: np.ndarray, selection: LabelGroup
) -> None:
    before = labels.copy()
    once = keep_largest_component(labels, selection)
    assert np.array_equal(labels, before)
    assert np.all((once == labels) | (once == 0))
    assert np.array_equal(keep_largest_component(once, selection), once)
    assert once.dtype == labels.dtype
