import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from PIL import Image as Pillow

from resenc_plans.datasets.images.images import (
    can_read,
    read_file,
    read_image,
    read_label,
    write_label,
)
from resenc_plans.errors import DatasetError, UsageError
from tests.datasets.made import SPACING, image_array, label_array, truncate, write_image

TILTED = (0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0)
READERS = ("SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient")


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_volumes_have_channels_first_and_spacing_as_the_array(ending: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"a_{channel:04}{ending}" for channel in range(2)]
    for seed, path in enumerate(paths):
        write_image(path, image_array(seed))
    image = read_image(paths)
    assert image.array.dtype == np.float32
    assert image.array.shape == (2, 6, 9, 8)
    assert np.array_equal(image.array[1], image_array(1))
    assert image.spacing == pytest.approx(SPACING)


def test_properties_hold_the_geometry_in_the_file_s_order(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nrrd", image_array(0), origin=(1, 2, 3), direction=TILTED)
    properties = read_image([tmp_path / "a.nrrd"]).properties
    assert properties["sitk_stuff"]["spacing"] == tuple(reversed(SPACING))
    assert properties["sitk_stuff"]["origin"] == (1, 2, 3)
    assert properties["sitk_stuff"]["direction"] == pytest.approx(TILTED)
    assert properties["spacing"] == list(SPACING)


def test_a_2d_volume_gets_a_coarse_first_axis(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii.gz", image_array(0)[2], spacing=(0.5, 0.25))
    image = read_image([tmp_path / "a.nii.gz"])
    assert image.array.shape == (1, 1, 9, 8)
    assert image.spacing == (499.5, 0.5, 0.25)


def test_a_4d_volume_holds_several_channels(tmp_path: Path) -> None:
    volumes = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(image_array(i)) for i in range(3)])
    SimpleITK.WriteImage(volumes, str(tmp_path / "a.nii.gz"))
    assert read_image([tmp_path / "a.nii.gz"], "SimpleITKIO").array.shape == (3, 6, 9, 8)


def test_labels_keep_their_data_type(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii.gz", label_array(0))
    assert read_label(tmp_path / "a.nii.gz").array.dtype == np.uint8


@pytest.mark.parametrize("reader", READERS)
def test_a_label_comes_back_on_the_grid_of_its_image(reader: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii.gz", image_array(0), origin=(1, 2, 3), direction=TILTED)
    image = read_image([tmp_path / "a.nii.gz"], reader)
    labels = np.random.default_rng(0).integers(0, 3, size=image.array.shape[1:])
    write_label(labels, tmp_path / "seg.nii.gz", image.properties)
    again = read_label(tmp_path / "seg.nii.gz", reader)
    assert np.array_equal(again.array[0], labels)
    on_disk = [SimpleITK.ReadImage(str(tmp_path / name)) for name in ("a.nii.gz", "seg.nii.gz")]
    assert on_disk[1].GetSize() == on_disk[0].GetSize()
    assert on_disk[1].GetOrigin() == pytest.approx(on_disk[0].GetOrigin(), abs=1e-5)
    assert on_disk[1].GetDirection() == pytest.approx(on_disk[0].GetDirection(), abs=1e-5)


def test_many_labels_need_sixteen_bits(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nrrd", image_array(0))
    properties = read_image([tmp_path / "a.nrrd"]).properties
    for highest, dtype in ((254, np.uint8), (255, np.uint16)):
        write_label(np.full((6, 9, 8), highest), tmp_path / "seg.nrrd", properties)
        assert read_label(tmp_path / "seg.nrrd").array.dtype == dtype


@pytest.mark.parametrize("ending", [".png", ".bmp"])
@pytest.mark.parametrize("colours", [0, 3])
def test_pictures_have_a_channel_per_colour(ending: str, colours: int, tmp_path: Path) -> None:
    shape = (5, 7, colours) if colours else (5, 7)
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / f"a{ending}")
    image = read_image([tmp_path / f"a{ending}"])
    assert image.spacing == (999, 1, 1)
    assert image.array.shape == (max(1, colours), 1, 5, 7)
    expected = np.moveaxis(pixels, -1, 0) if colours else pixels[None]
    assert np.array_equal(image.array[:, 0], expected)


def test_a_label_picture_comes_back(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 300, (1, 5, 7))
    write_label(labels, tmp_path / "a.png", {"spacing": (999, 1, 1)})
    assert np.array_equal(read_label(tmp_path / "a.png").array[0], labels)


def test_a_bilevel_picture_is_zero_and_one(tmp_path: Path) -> None:
    mask = np.eye(5, dtype=bool)
    Pillow.fromarray(mask).save(tmp_path / "a.png")
    assert np.array_equal(read_label(tmp_path / "a.png").array[0, 0], mask)


def _tiff(path: Path, pixels: NDArray[np.integer]) -> Path:
    tifffile = pytest.importorskip("tifffile", reason="needs the extra tiff")
    tifffile.imwrite(path, pixels)
    return path


def test_a_tiff_stack_finds_its_spacing_beside_it(tmp_path: Path) -> None:
    image_path = _tiff(tmp_path / "a_0000.tif", image_array(0))
    label_path = _tiff(tmp_path / "seg.tif", label_array(0))
    (tmp_path / "a.json").write_text('{"spacing": [2, 0.5, 0.5]}')
    image = read_image([image_path])
    assert image.spacing == (2, 0.5, 0.5)
    assert np.array_equal(image.array[0], image_array(0))
    assert read_label(label_path).spacing == (1, 1, 1)


def test_a_tiff_stack_label_comes_back_with_its_spacing(tmp_path: Path) -> None:
    pytest.importorskip("tifffile", reason="needs the extra tiff")
    write_label(label_array(0), tmp_path / "seg.tif", {"spacing": [2, 0.5, 0.5]})
    label = read_label(tmp_path / "seg.tif")
    assert np.array_equal(label.array[0], label_array(0))
    assert label.spacing == (2, 0.5, 0.5)


@pytest.mark.parametrize("content", ["{}", '{"spacing": [1, 1]}', '{"spacing": [1, 1, 0]}', "["])
def test_a_bad_spacing_beside_a_tiff_stack_is_named(content: str, tmp_path: Path) -> None:
    path = _tiff(tmp_path / "a_0000.tif", image_array(0))
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DatasetError, match=r"a\.json"):
        read_image([path])


def test_a_2d_tiff_is_a_picture(tmp_path: Path) -> None:
    path = _tiff(tmp_path / "a_0000.tif", image_array(0)[2])
    assert read_image([path]).array.shape == (1, 1, 9, 8)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_truncated_file_is_an_error_and_not_an_image_with_zeros(
    ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{ending}"
    write_image(path, image_array(0, (40, 40, 40)))
    truncate(path)
    with pytest.raises(DatasetError, match=str(path)):
        read_file(path)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".bmp", ".tif"])
@pytest.mark.parametrize("content", [b"", b"this is no image at all"])
def test_a_file_that_is_no_image_is_named(ending: str, content: bytes, tmp_path: Path) -> None:
    if ending == ".tif":
        pytest.importorskip("tifffile", reason="needs the extra tiff")
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=str(path)):
        read_image([path])


def test_a_missing_file_and_an_unknown_ending_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        read_image([tmp_path / "a.nii.gz"])
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"no reader.*\.nrrd"):
        read_image([tmp_path / "a.jpg"])


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".png", ".tif"])
def test_only_regular_files_are_images(ending: str, tmp_path: Path) -> None:
    fifo, circle = tmp_path / f"fifo{ending}", tmp_path / f"circle{ending}"
    os.mkfifo(fifo)
    circle.symlink_to(circle)
    for path, words in ((fifo, "is a FIFO"), (circle, "in a circle"), (tmp_path, "is a folder")):
        assert not can_read(path, "NibabelIO")
        with pytest.raises(DatasetError, match=words):
            read_file(path, "SimpleITKIO")


def test_channels_on_different_grids_are_an_error(tmp_path: Path) -> None:
    write_image(tmp_path / "a_0000.nii.gz", image_array(0))
    write_image(tmp_path / "a_0001.nii.gz", image_array(0, (6, 9, 7)))
    write_image(tmp_path / "a_0002.nii.gz", image_array(0), spacing=(2.5, 0.8, 0.9))
    with pytest.raises(DatasetError, match=r"a_0001.*\(1, 6, 9, 7\).*\(1, 6, 9, 8\)"):
        read_image([tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz"])
    with pytest.raises(DatasetError, match=r"a_0002.*spacing"):
        read_image([tmp_path / "a_0000.nii.gz", tmp_path / "a_0002.nii.gz"])


def test_colour_voxels_in_a_volume_are_an_error(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(DatasetError, match="3 values per voxel"):
        read_image([tmp_path / "a.nrrd"])


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (
            np.zeros((1, 6, 9, 8), np.uint8),
            r"\(1, 6, 9, 8\): a segmentation \(z, y, x",
        ),
        (np.zeros((9, 8), np.uint8), r"has the shape \(9, 8\)"),
        (np.full((6, 9, 8), 0.5), "no labels: whole numbers from 0 to 65,535"),
        (np.full((6, 9, 8), -1), "no labels"),
        (np.full((6, 9, 8), 65_536), "no labels"),
        (np.full((6, 9, 8), np.nan), "no labels"),
    ],
)
def test_what_is_no_segmentation_is_not_written(
    labels: NDArray[Any], fault: str, tmp_path: Path
) -> None:
    write_image(tmp_path / "a.nrrd", image_array(0))
    properties = read_image([tmp_path / "a.nrrd"]).properties
    with pytest.raises(UsageError, match=fault):
        write_label(labels, tmp_path / "seg.nrrd", properties)
    assert not (tmp_path / "seg.nrrd").exists()


def test_whole_numbers_may_be_floats(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nrrd", image_array(0))
    labels = label_array(0).astype(np.float32)
    write_label(labels, tmp_path / "b.nrrd", read_image([tmp_path / "a.nrrd"]).properties)
    assert np.array_equal(read_label(tmp_path / "b.nrrd").array[0], labels)


def test_several_planes_do_not_go_to_a_picture_of_one(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nrrd", image_array(0))
    properties = read_image([tmp_path / "a.nrrd"]).properties
    for known in (properties, {"spacing": (999, 1, 1)}):
        with pytest.raises(DatasetError, match=r"a\.png: .*(in part|one plane)"):
            write_label(label_array(0), tmp_path / "a.png", known)


def test_a_label_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nrrd", image_array(0))
    properties = read_image([tmp_path / "a.nrrd"]).properties
    for path, known in ((tmp_path / "no/a.nrrd", properties), (tmp_path / "no/a.png", None)):
        with pytest.raises(DatasetError, match=str(path)):
            write_label(label_array(0)[:1], path, known or {"spacing": (999, 1, 1)})


def test_a_picture_that_might_be_a_bomb_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "case_0000.png"
    Pillow.new("L", (8, 8)).save(path)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DatasetError, match=r"case_0000\.png: unreadable: Image size \(64 pixels\)"):
        read_image([path])


@pytest.mark.parametrize(
    "damage",
    [
        {"original_orientation": "XYZ"},
        {"original_orientation": 3},
        {"direction": (0.0,) * 9},
        {"spacing": (-1.0, 1.0, 1.0)},
        {"spacing": ("a", 1.0, 1.0)},
        {"spacing": (1.0, 1.0)},
        {"origin": 3},
    ],
)
def test_a_place_that_no_image_has_is_an_error_in_words(
    damage: dict[str, Any], tmp_path: Path
) -> None:
    place = {"spacing": (1.0,) * 3, "origin": (0.0,) * 3, "direction": np.eye(3).ravel().tolist()}
    path = tmp_path / "a.nii.gz"
    with pytest.raises(DatasetError, match="do not say where it lies"):
        write_label(np.zeros((2, 3, 4), np.uint8), path, {"sitk_stuff": place | damage})
    assert not path.exists()


@pytest.mark.parametrize("properties", [{}, {"spacing": 3}, {"spacing": "a"}])
def test_a_picture_without_spacing_is_an_error_in_words(
    properties: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="have no spacing"):
        write_label(np.zeros((1, 3, 4), np.uint8), tmp_path / "a.png", properties)
