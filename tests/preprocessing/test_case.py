"""Cases that nnU-Net 2.8.1 preprocessed: we make the same arrays, properties and locations."""

from pathlib import Path

import numpy as np
import pytest

from resenc_plans import Dataset, Plans
from resenc_plans.datasets.images.images import read_channels, read_label
from resenc_plans.planning.resampling import resampling_document
from resenc_plans.preprocessing.case import Recipe, preprocess_in_place
from resenc_plans.preprocessing.store.case_store import CaseStore
from tests.preprocessing.comparison import assert_same_properties, image_difference
from tests.preprocessing.datasets import plan

HIPPOCAMPUS = "Dataset004_Hippocampus"
BRAIN = "Dataset501_BrainMR"
EDITED = "nnUNetResEncUNetMPlans_edited.json"


@pytest.mark.parametrize(
    ("name", "plans_file", "configuration"),
    [
        (HIPPOCAMPUS, "nnUNetPlans.json", "2d"),
        (HIPPOCAMPUS, "nnUNetPlans.json", "3d_fullres"),
        (HIPPOCAMPUS, EDITED, "3d_fullres_iso08"),
        (BRAIN, "nnUNetPlans.json", "3d_fullres"),
    ],
)
def test_stored_cases_equal_nnunets(
    shared: Path, name: str, plans_file: str, configuration: str
) -> None:
    dataset = Dataset.load(shared / "data" / name)
    plan = Plans.load(shared / "oracle" / name / plans_file)
    config = plan.resolve(configuration)
    store = CaseStore(shared / "oracle" / name / config.data_identifier)
    recipe = Recipe.of(config, dataset.labels)
    cases = [case for case in dataset.cases if case.name in store]
    assert len(cases) == len(store) > 0

    for case in cases:
        image = read_channels(case.images, len(case.images), dataset.reader_name)
        assert case.label is not None
        label = read_label(case.label, dataset.reader_name).array
        ours, theirs = (
            preprocess_in_place(image.array, label, image.properties, recipe),
            store[case.name],
        )

        assert image_difference(ours.image, theirs.image[:]) < 1e-5
        np.testing.assert_array_equal(ours.labels, theirs.labels[:])
        assert ours.labels.dtype == theirs.labels.dtype
        assert_same_properties(ours.properties, theirs.properties)


def test_without_resampling_a_thin_image_keeps_its_grid() -> None:
    """One slice of 0.3 mm would have no voxel at the plans' 1 mm, to which nothing is resampled."""
    image, spacing = np.random.default_rng(0).random((1, 1, 9, 8), np.float32), (0.3, 1.5, 0.7)
    config = plan(**resampling_document("none")).resolve("3d_fullres")
    stored = preprocess_in_place(image.copy(), None, {"spacing": spacing}, Recipe.of(config))
    assert stored.image.shape == image.shape
