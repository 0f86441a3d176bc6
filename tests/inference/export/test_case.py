"""Cases: what the plans say about export, and undoing what preprocessing did to the grid."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import ConfigurationError
from resenc_plans.inference import export_labels
from resenc_plans.inference.export.case import ExportRecipe, export_case
from tests.inference.logits import smooth_logits
from tests.preprocessing.datasets import plan


def labels(count: int) -> Labels:
    document = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0} | {f"label {n}": n for n in range(1, count + 1)},
        "file_ending": ".nii.gz",
        "numTraining": 1,
    }
    return Labels.from_dataset(DatasetJson.from_dict(document))


def recipe(foreground: int = 2, **changes: Any) -> ExportRecipe:
    return ExportRecipe.of(plan(**changes).resolve("3d_fullres"), labels(foreground))


PROPERTIES = {
    "spacing": (0.7, 1.5, 1.2),
    "shape_before_cropping": (16, 12, 10),
    "bbox_used_for_cropping": [[3, 16], [0, 12], [1, 9]],
    "shape_after_cropping_and_before_resampling": (13, 12, 8),
}


def test_cropping_and_transposition_are_undone() -> None:
    logits = smooth_logits(1, (3, 9, 11, 14))
    made = recipe(transpose=(1, 2, 0), spacing=[1.0, 1.0, 1.0])
    result = export_case(logits, PROPERTIES, made)
    assert result.shape == (10, 16, 12)
    inner = export_labels(logits, (13, 12, 8), spacing=(1.0, 1.0, 1.0), new_spacing=(1.5, 1.2, 0.7))
    turned = result.transpose(1, 2, 0)
    np.testing.assert_array_equal(turned[3:16, :, 1:9], inner)
    turned[3:16, :, 1:9] = 0
    assert not turned.any()


@pytest.mark.parametrize(("foreground", "dtype"), [(254, np.uint8), (255, np.uint16)])
def test_labels_have_the_type_that_nnunet_gives_them(foreground: int, dtype: DTypeLike) -> None:
    made = recipe(foreground)
    logits = np.zeros((foreground + 1, 13, 12, 8), np.float16)
    logits[-1, 5] = 1
    result = export_case(logits, PROPERTIES, made)
    assert result.dtype == dtype
    assert result.max() == foreground


def test_a_case_that_was_not_to_be_resampled_must_have_its_shape() -> None:
    made = recipe(
        resampling_fn_probabilities="no_resampling_hack", resampling_fn_probabilities_kwargs={}
    )
    assert export_case(smooth_logits(1, (3, 13, 12, 8)), PROPERTIES, made).any()
    with pytest.raises(ConfigurationError, match="resampling_fn_probabilities"):
        export_case(smooth_logits(1, (3, 9, 12, 8)), PROPERTIES, made)


def test_an_unknown_function_is_named() -> None:
    with pytest.raises(ConfigurationError, match="3d_fullres: resampling_fn_probabilities"):
        recipe(resampling_fn_probabilities="by_magic")
