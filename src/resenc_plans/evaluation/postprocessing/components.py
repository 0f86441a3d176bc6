"""Keep the largest connected component of a label map, as nnU-Net's post-processing does."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.runs.postprocessing_files import Selection


def keep_largest_component(labels: NDArray[Any], selection: Selection) -> NDArray[Any]:
    """Set to background what does not belong to the largest component of the selected labels.

    `labels` has the axes `(z, y, x)`, or `(y, x)`; a copy is returned. Voxels that touch at a face,
    an edge or a corner are connected, and labels of the selection are not told apart. Where several
    components are largest, all of them stay (nnU-Net's
    `remove_all_but_largest_component_from_segmentation`).

    >>> keep_largest_component(np.array([[1, 1, 0, 1], [0, 0, 0, 0]]), 1)
    array([[1, 1, 0, 0],
           [0, 0, 0, 0]])
    """
    mask = np.isin(labels, _values(selection))
    result = labels.copy()
    box = _bounding_box(mask)
    if box is None:
        return result
    from scipy import ndimage

    inside = mask[box]
    found = ndimage.label(inside, np.ones((3,) * mask.ndim))
    components: NDArray[Any] = found[0]
    if found[1] > 1:
        sizes = np.bincount(components.reshape(-1))[1:]
        keep = np.concatenate([[False], sizes == sizes.max()])
        result[box][inside & ~keep[components]] = 0
    return result


def _values(selection: Selection) -> list[int]:
    if isinstance(selection, int):
        return [selection]
    return [value for part in selection for value in _values(part)]


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        (indices,) = np.nonzero(mask.any(axis=others))
        if not indices.size:
            return None
        box.append(slice(int(indices[0]), int(indices[-1]) + 1))
    return tuple(box)
