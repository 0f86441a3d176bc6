"""Probabilities on disk: equal to softmax and sigmoid of all heads at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike

from resenc_plans.errors import FileError
from resenc_plans.inference.export.case import ExportRecipe, export_case
from resenc_plans.inference.export.interpolation import NNUNETS_DEFAULT
from resenc_plans.inference.export.probabilities import write_probabilities
from resenc_plans.safe_pickle import load_pickle
from tests.inference.logits import resampled, smooth_logits

PROPERTIES: dict[str, Any] = {
    "spacing": (1.0, 1.1, 1.2),
    "shape_before_cropping": (12, 16, 20),
    "bbox_used_for_cropping": [[1, 11], [2, 16], [0, 17]],
    "shape_after_cropping_and_before_resampling": (10, 14, 17),
}
BOX = (slice(1, 11), slice(2, 16), slice(0, 17))


def recipe(
    regions: tuple[int, int] | None = None, transpose: tuple[int, int, int] = (0, 1, 2)
) -> ExportRecipe:
    spacing = tuple(PROPERTIES["spacing"][axis] for axis in transpose)
    return ExportRecipe(spacing, transpose, NNUNETS_DEFAULT, regions, np.dtype(np.uint8))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 11, 20), (10, 14, 17)])
def test_softmax_is_taken_over_the_heads(
    tmp_path: Path, dtype: DTypeLike, shape: tuple[int, int, int]
) -> None:
    logits = smooth_logits(1, (4, *shape), dtype)
    write_probabilities(tmp_path / "case.npz", logits, PROPERTIES, recipe())
    written = np.load(tmp_path / "case.npz")["probabilities"]
    exponentials = np.exp(resampled(logits, (10, 14, 17)).astype(float))
    expected = np.zeros((4, 12, 16, 20))
    expected[0] = 1
    expected[:, *BOX] = exponentials / exponentials.sum(axis=0)
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, expected, atol=2e-6)
    assert load_pickle(tmp_path / "case.pkl") == PROPERTIES


def test_regions_have_the_sigmoid_and_nothing_outside_the_box(tmp_path: Path) -> None:
    logits = smooth_logits(2, (2, 8, 11, 20))
    write_probabilities(tmp_path / "case.npz", logits, PROPERTIES, recipe((1, 2)))
    written = np.load(tmp_path / "case.npz")["probabilities"]
    expected = np.zeros((2, 12, 16, 20))
    expected[:, *BOX] = 1 / (1 + np.exp(-resampled(logits, (10, 14, 17)).astype(float)))
    np.testing.assert_allclose(written, expected, atol=1e-6)


def test_probabilities_have_the_axes_of_the_image_file(tmp_path: Path) -> None:
    logits = smooth_logits(3, (3, 8, 11, 20))
    turned = recipe(transpose=(1, 2, 0))
    write_probabilities(tmp_path / "case.npz", logits, PROPERTIES, turned)
    labels = export_case(logits, PROPERTIES, turned)
    written = np.load(tmp_path / "case.npz")["probabilities"]
    assert written.shape == (3, 20, 12, 16)
    np.testing.assert_array_equal(written.argmax(axis=0), labels)


def test_a_failed_export_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "case.npz").write_bytes(b"before")
    with pytest.raises(KeyError):
        write_probabilities(tmp_path / "case.npz", smooth_logits(1, (2, 4, 4, 4)), {}, recipe())
    too_few = BrokenLogits(smooth_logits(1, (2, 8, 11, 20)))
    with pytest.raises(FileError, match="gone"):
        write_probabilities(tmp_path / "case.npz", too_few, PROPERTIES, recipe())
    assert [path.name for path in tmp_path.iterdir()] == ["case.npz"]
    assert (tmp_path / "case.npz").read_bytes() == b"before"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere"):
        write_probabilities(
            tmp_path / "nowhere" / "case.npz",
            smooth_logits(1, (2, 8, 11, 20)),
            PROPERTIES,
            recipe(),
        )


class BrokenLogits:
    """Logits on a disk whose second head is read only once."""

    def __init__(self, logits: Any) -> None:
        self._logits = logits
        self._reads = 0
        self.shape, self.dtype = logits.shape, logits.dtype

    def __getitem__(self, key: Any) -> Any:
        self._reads += 1
        if self._reads > 3:
            raise OSError("gone")
        return self._logits[key]
