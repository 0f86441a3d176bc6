import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from hypothesis import given, settings
from hypothesis import strategies as st

from resenc_plans.training.batches.augmentation import spatial_transform
from resenc_plans.training.batches.label_sampling import sample_labels
from resenc_plans.training.batches.patch_geometry import spatial_settings
from resenc_plans.training.batches.patch_sampling import reached


@settings(max_examples=60, deadline=None)
@given(
    dim=st.sampled_from([2, 3]),
    labels=st.lists(st.integers(-1, 40), min_size=1, max_size=5, unique=True),
    seed=st.integers(0, 10_000),
)
def test_labels_are_those_of_batchgeneratorsv2(dim: int, labels: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    patch = tuple(int(edge) for edge in random.integers(4, 12, dim))
    mine = spatial_transform(patch, spatial_settings(patch))
    mine.p_rotation = mine.p_scaling = 1
    coarse = random.integers(0, len(labels), [edge // 2 + 1 for edge in patch])
    fine = np.kron(coarse, np.ones((3,) * dim, int))
    segmentation = torch.from_numpy(np.array(labels, np.int16)[fine])[None]
    np.random.seed(seed)
    parameters = mine.get_parameters(image=segmentation.float())
    theirs = SpatialTransform._apply_to_segmentation(mine, segmentation, **parameters)
    assert torch.equal(mine._apply_to_segmentation(segmentation, **parameters), theirs)
    part = reached(parameters["grid"], segmentation.shape[1:])
    looked_at = torch.zeros_like(segmentation)
    looked_at[(slice(None), *part)] = segmentation[(slice(None), *part)]
    found = mine._apply_to_segmentation(looked_at, **parameters, part=part)
    assert torch.equal(found, theirs)


@pytest.mark.parametrize("dim", [2, 3])
def test_points_between_two_voxels_take_the_nearest(dim: int) -> None:
    segmentation = torch.zeros((4,) * dim, dtype=torch.int16)
    segmentation[2:] = 1
    grid = torch.zeros((1,) * dim + (dim,))
    found = sample_labels(segmentation, grid, -1)
    nearest = torch.nn.functional.grid_sample(
        segmentation[None, None].float(), grid[None], mode="nearest", align_corners=False
    )
    assert found.item() == nearest.item()
