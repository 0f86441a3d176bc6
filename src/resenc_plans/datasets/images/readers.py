"""Which of nnU-Net's image readers a dataset uses, by the name that plans files record."""

from pathlib import Path

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import DatasetError

SIMPLEITK = "SimpleITKIO"
SIMPLEITK_REORIENT = "SimpleITKIOWithReorient"
NIBABEL = "NibabelIO"
NIBABEL_REORIENT = "NibabelIOWithReorient"
NATURAL_2D = "NaturalImage2DIO"
TIFF_3D = "Tiff3DIO"

READERS_BY_ENDING = {
    ".png": (NATURAL_2D,),
    ".bmp": (NATURAL_2D,),
    ".tif": (NATURAL_2D, TIFF_3D),
    ".tiff": (TIFF_3D,),
    ".nii.gz": (SIMPLEITK, NIBABEL, NIBABEL_REORIENT),
    ".nii": (NIBABEL, NIBABEL_REORIENT),
    ".nrrd": (SIMPLEITK,),
    ".mha": (SIMPLEITK,),
    ".gipl": (SIMPLEITK,),
}
"""Readers per file ending in the order in which nnU-Net tries them."""

READERS = frozenset({SIMPLEITK_REORIENT, *(r for rs in READERS_BY_ENDING.values() for r in rs)})


def reader_writer_name(dataset_json: DatasetJson, example_file: Path | None = None) -> str:
    """The reader that nnU-Net's `determine_reader_writer_from_dataset_json` picks.

    `overwrite_image_reader_writer` decides where nnU-Net has a reader of that name, else the file
    ending; where several readers share it, the first that can read `example_file`.

    Raises
    ------
    DatasetError
        No reader knows the file ending, or none can read the example.
    """
    wanted = dataset_json.overwrite_image_reader_writer
    if wanted in READERS:
        return wanted
    candidates = READERS_BY_ENDING.get(dataset_json.file_ending.lower(), ())
    if not candidates:
        raise DatasetError(
            f"{dataset_json.source}, file_ending: there is no reader for "
            f"{dataset_json.file_ending!r}. Known endings: {', '.join(READERS_BY_ENDING)}."
        )
    if example_file is None or len(candidates) == 1:
        return candidates[0]
    from resenc_plans.datasets.images.images import can_read

    for name in candidates:
        if can_read(example_file, name):
            return name
    raise DatasetError(f"{example_file}: none of {', '.join(candidates)} can read this file.")
