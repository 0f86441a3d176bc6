"""Sampled voxels of each class; equality with nnU-Net's is tested in tests/interop."""

from typing import Any

import numpy as np

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.preprocessing.class_locations import classes_to_locate, sample_class_locations


def labels_of(labels: dict[str, Any], **more: Any) -> Labels:
    document = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz", **more}
    return Labels.from_dataset(DatasetJson.from_dict(document))


def test_every_voxel_of_a_small_class_is_kept_once() -> None:
    volume = np.random.default_rng(0).integers(-1, 3, (6, 7, 8))

    located = sample_class_locations(volume, (1, (1, 2), 5))

    assert located[5] == []
    for key in (1, (1, 2)):
        expected = np.argwhere(np.isin(volume, key))
        assert np.shape(located[key]) == (len(expected), 4)
        assert not np.array(located[key])[:, 0].any()
        np.testing.assert_array_equal(np.unique(np.array(located[key])[:, 1:], axis=0), expected)


def test_of_a_large_class_ten_thousand_or_one_percent_are_kept() -> None:
    volume = np.zeros((12, 300, 400), np.int8)
    volume[:, 10:] = 1
    volume[:4, 10:] = 2

    located = sample_class_locations(volume, (1, 2))

    assert len(located[1]) == len(np.unique(located[1], axis=0)) == 10_000
    assert (volume[tuple(np.array(located[1])[:, 1:].T)] == 1).all()
    assert len(sample_class_locations(np.ones((10, 400, 400), np.int8), (1,))[1]) == 16_000


def test_regions_take_the_place_of_labels() -> None:
    labels = labels_of({"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2])

    assert classes_to_locate(labels) == ((1, 2), 2)


def test_an_ignore_label_adds_all_that_is_annotated() -> None:
    labels = labels_of({"background": 0, "organ": 1, "ignore": 2})

    assert classes_to_locate(labels) == (1, (-1, 0, 1))
