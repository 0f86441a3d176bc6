"""Keep the largest connected component of a label map, as nnU-Net's post-processing does."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.bounding_box import nonzero_box
from resenc_plans.runs.postprocessing_files import LabelGroup


def keep_largest_component(labels: NDArray[Any], group: LabelGroup) -> NDArray[Any]:
    """Set the labels of a group to background outside their largest connected component.

    `labels` is `(z, y, x)` or `(y, x)`, of any integer data type; a copy is returned. Voxels that
    touch at a face, an edge or a corner are connected, whichever labels of the group they have. If
    several components are largest, all of them stay (nnU-Net's
    `remove_all_but_largest_component_from_segmentation`).

    >>> keep_largest_component(np.array([[1, 1, 0, 1], [0, 0, 0, 0]]), 1)
    array([[1, 1, 0, 0],
           [0, 0, 0, 0]])
    """
    mask = np.isin(labels, _values(group))
    result = labels.copy()
    if not mask.any():
        return result
    from scipy import ndimage

    missing_axes = 3 - mask.ndim
    box = nonzero_box([mask[(np.newaxis,) * missing_axes]])[missing_axes:]
    inside = mask[box]
    components, count = ndimage.label(inside, np.ones((3,) * mask.ndim))
    if count > 1:
        sizes = np.bincount(components.reshape(-1))[1:]
        is_largest = np.concatenate([[False], sizes == sizes.max()])
        result[box][inside & ~is_largest[components]] = 0
    return result


def _values(group: LabelGroup) -> list[int]:
    if isinstance(group, int):
        return [group]
    return [value for part in group for value in _values(part)]
