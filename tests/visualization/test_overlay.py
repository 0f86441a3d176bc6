"""Pictures of cases: what they show, and which way round."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resenc_plans.errors import DatasetError, FileError
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.visualization.overlay import COLOURS, draw_overlay, draw_overlays
from tests.evaluation.label_folders import write_labels

LPS = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, (12, 20, 24)).astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    array = np.zeros((12, 20, 24), np.uint8)
    array[3:6, 4:13, 5:14] = 1
    array[6:8, 4:13, 5:14] = 2
    return array


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def near(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where a picture has a colour, such as "#ff0000"."""
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.asarray((abs(picture - channels) < 12).all(axis=-1))


def test_every_label_is_outlined_in_its_colour(
    image: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "Fall 1 海.png"
    draw_overlay(image, labels, (3, 1, 1), path, names={1: "liver", 2: "腫瘍"}, title="case")
    picture = pixels(path)
    assert near(picture, COLOURS[0]).sum() > 300
    assert near(picture, COLOURS[1]).sum() > 300
    assert near(picture, COLOURS[2]).sum() == 0


def test_the_label_around_another_does_not_show_in_the_gaps_of_its_reference(
    image: np.ndarray, tmp_path: Path
) -> None:
    reference = np.ones(image.shape, np.uint8)
    reference[4:8, 6:14, 7:17] = 2
    path = tmp_path / "case.png"
    draw_overlay(image, np.zeros_like(reference), (3, 1, 1), path, reference=reference)
    panel = pixels(path)[:, :400]
    rows, columns = np.nonzero(near(panel, COLOURS[1])[:-80])
    around = panel[rows.min() - 3 : rows.max() + 4, columns.min() - 3 : columns.max() + 4]
    assert near(around, COLOURS[1]).sum() > 100
    assert near(around, COLOURS[0]).sum() == 0


@pytest.mark.parametrize("axes", [(1,), (2,), (0, 1, 2)])
def test_an_image_stored_the_other_way_round_gives_the_same_picture(
    image: np.ndarray, labels: np.ndarray, tmp_path: Path, axes: tuple[int, ...]
) -> None:
    direction = np.diag([-1.0 if 2 - i in axes else 1.0 for i in range(3)]).ravel()
    draw_overlay(image, labels, (3, 1, 1), tmp_path / "a.png", direction=LPS)
    draw_overlay(
        np.flip(image, axes), np.flip(labels, axes), (3, 1, 1), tmp_path / "b.png",
        direction=tuple(direction),
    )  # fmt: skip
    assert_alike(tmp_path)


def assert_alike(folder: Path) -> None:
    """Two pictures are the same but for the numbers of the planes."""
    first, second = pixels(folder / "a.png"), pixels(folder / "b.png")
    assert first.shape == second.shape
    assert (first != second).any(axis=-1).mean() < 1e-3


def test_an_image_of_sagittal_planes_is_turned(
    image: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    draw_overlay(image, labels, (3, 1, 0.5), tmp_path / "a.png", direction=LPS)
    draw_overlay(
        image.transpose(2, 0, 1), labels.transpose(2, 0, 1), (0.5, 3, 1), tmp_path / "b.png",
        direction=(0, 0, 1, 1, 0, 0, 0, 1, 0),
    )  # fmt: skip
    assert_alike(tmp_path)


def test_panels_are_as_wide_as_the_image_in_mm(tmp_path: Path) -> None:
    """White from the centre of the second of ten planes of 6 mm upwards: 51 mm, on 30 mm."""
    white = np.ones((10, 30, 30), np.float32)
    white[0] = 0
    draw_overlay(white, np.zeros((10, 30, 30), np.uint8), (6, 1, 1), tmp_path / "a.png")
    picture = pixels(tmp_path / "a.png")
    row = near(picture, "#ffffff")[:, picture.shape[1] // 2]
    (filled,) = np.nonzero(row)
    panel_height = filled[-1] - filled[0]
    column = near(picture, "#ffffff")[(filled[0] + filled[-1]) // 2]
    (runs,) = np.nonzero(np.diff(column.astype(int)))
    width = runs[3] - runs[2]
    assert panel_height / width == pytest.approx(51 / 30, rel=0.03)


@pytest.mark.parametrize("shape", [(1, 40, 50), (12, 1, 20), (1, 1, 9), (2, 2, 2)])
def test_flat_and_tiny_images_can_be_drawn(shape: tuple[int, ...], tmp_path: Path) -> None:
    labels = np.ones(shape, np.uint8)
    draw_overlay(np.zeros(shape, np.float32), labels, (1, 1, 1), tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").size


def test_nan_voxels_and_no_foreground_are_drawn(image: np.ndarray, tmp_path: Path) -> None:
    image[3] = np.nan
    image[4] = np.inf
    draw_overlay(image, np.zeros(image.shape, np.uint8), (3, 1, 1), tmp_path / "a.png")
    assert not near(pixels(tmp_path / "a.png"), COLOURS[0]).any()


def test_a_hundred_labels_do_not_crowd_out_the_image(image: np.ndarray, tmp_path: Path) -> None:
    labels = np.arange(image.size).reshape(image.shape) % 105
    draw_overlay(image, labels, (3, 1, 1), tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").shape[0] < 1100


def test_a_folder_that_is_not_there_is_named(
    image: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(FileError, match="does not exist"):
        draw_overlay(image, labels, (1, 1, 1), tmp_path / "no" / "a.png")


def test_a_case_is_drawn_from_its_files(
    image: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    write_labels(tmp_path / "pred" / "a.b.nii.gz", labels)
    write_labels(tmp_path / "ref" / "a.b.nii.gz", labels)
    write_labels(tmp_path / "images" / "a.b_0000.nii.gz", image)

    def draw() -> tuple[CaseProblem, ...]:
        return draw_overlays(
            [tmp_path / "pred" / "a.b.nii.gz"], tmp_path / "images", tmp_path / "pictures",
            references=tmp_path / "ref",
        )  # fmt: skip

    assert draw() == ()
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["a.b.png"]
    write_labels(tmp_path / "images" / "a.b_0000.nii.gz", image[1:])
    (problem,) = draw()
    assert problem.case == "a.b"
    assert "has the shape" in problem.reason


def test_label_maps_of_another_shape_are_refused(
    image: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="`labels=` has the shape"):
        draw_overlay(image, labels[1:], (3, 1, 1), tmp_path / "a.png")
    with pytest.raises(DatasetError, match="`reference=` has the shape"):
        draw_overlay(image, labels, (3, 1, 1), tmp_path / "a.png", reference=labels[1:])


def test_a_folder_for_pictures_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="not written, since a part of this path is a file"):
        draw_overlays([], tmp_path, tmp_path / "file")
