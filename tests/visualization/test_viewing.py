"""What is shown of a volume."""

import numpy as np

from resenc_plans.visualization.viewing import ViewOrientation, grey_window, locate_foreground


def test_an_orientation_moves_voxel_sizes_with_the_axes() -> None:
    sagittal_planes = (0, 0, 1, 1, 0, 0, 0, 1, 0)
    orientation = ViewOrientation.of(sagittal_planes)
    array = np.zeros((2, 3, 4))
    sizes = np.array(array.shape)[list(orientation.order)]
    assert orientation.apply(array).shape == tuple(sizes)
    assert orientation.spacing((2, 3, 4)) == tuple(float(size) for size in sizes)


def test_without_foreground_the_middle_planes_are_shown() -> None:
    foreground = locate_foreground(np.zeros((5, 7, 9), np.uint8))
    assert (foreground.sizes, foreground.planes) == ({}, (2, 3, 4))


def test_grey_values_far_from_the_foreground_do_not_count() -> None:
    volume = np.zeros((40, 40, 40), np.float32)
    volume[:4] = 1000
    volume[30:] = np.linspace(0, 1, 10)[:, None, None]
    labels = np.zeros(volume.shape, np.uint8)
    labels[34:36, 18:22, 18:22] = 1
    low, high = grey_window(volume, labels, (10, 10, 10))
    assert 0 <= low < high <= 1
    assert grey_window(volume, np.zeros_like(labels), (10, 10, 10))[1] == 1000


def test_a_constant_image_has_a_window_too() -> None:
    flat = np.full((3, 4, 5), 7, np.float32)
    assert grey_window(flat, np.zeros(flat.shape, np.uint8), (1, 1, 1)) == (6.5, 7.5)
