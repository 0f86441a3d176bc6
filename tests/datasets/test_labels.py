from typing import Any

import pytest

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError
from tests.datasets.made import document


def _labels(labels: dict[str, Any], order: list[int] | None = None) -> Labels:
    return Labels.from_dataset(
        DatasetJson.from_dict(document(labels=labels, regions_class_order=order))
    )


def test_exclusive_labels_have_a_head_each_and_one_for_background() -> None:
    labels = _labels({"organ": 1, "background": 0, "lesion": 2})
    assert labels.all_labels == (0, 1, 2)
    assert labels.foreground_labels == (1, 2)
    assert not labels.has_regions
    assert labels.num_heads == 3


def test_regions_keep_their_order_and_have_a_head_each() -> None:
    labels = _labels({"background": 0, "tumor": [1, 2, 3], "core": [2, 3], "active": 3}, [1, 2, 3])
    assert labels.regions == ((1, 2, 3), (2, 3), 3)
    assert labels.regions_class_order == (1, 2, 3)
    assert labels.num_heads == 3


def test_lists_of_one_value_are_labels_and_not_regions() -> None:
    labels = _labels({"background": 0, "organ": [1]})
    assert not labels.has_regions
    assert labels.num_heads == 2


def test_the_ignore_label_has_no_head() -> None:
    labels = _labels({"background": 0, "organ": 1, "ignore": 2})
    assert labels.ignore_label == 2
    assert labels.all_labels == (0, 1)
    assert labels.num_heads == 2


@pytest.mark.parametrize(
    ("labels", "order", "reason"),
    [
        ({"organ": 1}, None, "background.*missing"),
        ({"background": 1, "organ": 2}, None, "background.*must be 0"),
        ({"background": [0], "organ": 2}, None, "background.*must be 0"),
        ({"background": 0, "organ": 1, "ignore": 1}, None, "ignore.*2"),
        ({"background": 0, "organ": 1, "ignore": [2, 3]}, None, "ignore.*region"),
        ({"background": 0, "all": [1, 2], "core": 2}, None, "regions_class_order"),
        ({"background": 0, "all": [1, 2], "core": 2}, [1, 2, 3], "3 values.*2 foreground"),
    ],
)
def test_contradictions_are_errors(
    labels: dict[str, Any], order: list[int] | None, reason: str
) -> None:
    with pytest.raises(DatasetError, match=reason):
        _labels(labels, order)
