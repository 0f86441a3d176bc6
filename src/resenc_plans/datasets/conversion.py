"""Datasets of the Medical Segmentation Decathlon and of nnU-Net v1, in nnU-Net v2's form.

The same files as nnU-Net's `convert_MSD_dataset` and `convert_old_nnUNet_dataset` write, but all of
them or none: everything is checked and written to a hidden folder first, which is then renamed.
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resenc_plans.datasets.bounds import MAX_LABEL
from resenc_plans.datasets.dataset import IMAGES, LABELS
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import DatasetError, shown
from resenc_plans.execution.cases import Progress, each_case, no_progress, separate
from resenc_plans.files import (
    check_regular,
    make_folder,
    part_of_path,
    read_json,
    replace_folder,
    write_json,
    writing,
)
from resenc_plans.folders import (
    DATASET_JSON,
    PREPROCESSED,
    RAW,
    RESULTS,
    dataset_id,
    environment_folder,
)
from resenc_plans.reprs import listed
from resenc_plans.words import counted

TEST_IMAGES = "imagesTs"

_ENDING = ".nii.gz"
_TASK = re.compile(r"Task(\d+)_(.+)")
_OLD_FOLDERS = (IMAGES, LABELS, TEST_IMAGES, "labelsTs", "imagesVal", "labelsVal")
_NEEDED = (IMAGES, LABELS)
_MAX_ID = 999
_MAX_NAMES = 5
_MAX_DIGITS = len(str(MAX_LABEL))


@dataclass(frozen=True)
class _Work:
    """A file of the source, and the folder of the new dataset that it goes to."""

    file: Path
    folder: Path
    channels: int | None
    """Channels of an image, which become files of their own; None of a segmentation."""

    def __str__(self) -> str:
        return self.file.name.removesuffix(_ENDING)


def convert_msd(
    source: str | os.PathLike[str],
    raw: str | os.PathLike[str] | None = None,
    *,
    new_id: int | None = None,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Convert a task of the Medical Segmentation Decathlon; returns the new dataset's folder.

    Each channel of a 4D image becomes a file `<case>_0000.nii.gz` and so on; 3D images and
    segmentations are copied byte for byte.

    Parameters
    ----------
    source
        The unpacked task, such as `Task05_Prostate`.
    raw
        The folder of raw datasets; by default `nnUNet_raw`.
    new_id
        The number of the new dataset; by default the task's.
    workers
        Threads; by default one per usable CPU.
    progress
        Shows how far it is.

    Raises
    ------
    DatasetError
        The folder is no task, its dataset.json is not usable, an image has no segmentation, a file
        cannot be read, or the number is taken.
    FileError
        dataset.json is not JSON, or the new folder cannot be written.
    """
    source = _existing(source)
    match = _TASK.fullmatch(source.resolve().name)
    if match is None:
        raise DatasetError(
            f"{source}: a task of the Decathlon is a folder such as Task05_Prostate. Rename it."
        )
    document = _read_description(source)
    number = int(match[1]) if new_id is None else new_id
    if not 0 < number <= _MAX_ID:
        raise DatasetError(f"{number}: the number of a dataset is 1 to {_MAX_ID} (`new_id=`).")
    target = _raw_folder(raw) / part_of_path(f"Dataset{number:03d}_{match[2]}", "dataset")
    _refuse_taken(number, target)
    channels = document.get("modality", {})
    converted = {
        key: value for key, value in document.items() if key not in ("modality", "training", "test")
    } | {
        "labels": _labels_by_name(document, source),
        "file_ending": _ENDING,
        "channel_names": channels,
    }
    _check_description(converted, source)
    _refuse_unlabelled(source)
    with replace_folder(target) as new:
        work = [
            _Work(file, new / folder, None if folder == LABELS else len(channels))
            for folder in (IMAGES, TEST_IMAGES, LABELS)
            for file in _images(source / folder)
        ]
        for folder in (IMAGES, TEST_IMAGES, LABELS):
            make_folder(new / folder)
        with progress("Converting", len(work)) as on_case:
            _, problems = separate(each_case(_convert, work, workers=workers, on_case=on_case))
        if problems:
            reasons = "\n".join(map(str, problems))
            raise DatasetError(f"{source}: not converted.\n{reasons}")
        write_json(new / DATASET_JSON, converted)
    return target


def convert_old_dataset(
    source: str | os.PathLike[str], name: str, raw: str | os.PathLike[str] | None = None
) -> Path:
    """Convert a task of nnU-Net v1; returns the new dataset's folder.

    Images and segmentations are copied as they are; dataset.json is rewritten.

    Parameters
    ----------
    source
        The raw task of nnU-Net v1, such as `nnUNet_raw_data/Task005_Prostate`.
    name
        The new dataset's name, such as `Dataset005_Prostate`.
    raw
        The folder of raw datasets; by default `nnUNet_raw`.

    Raises
    ------
    DatasetError
        The folder is no task, its dataset.json is not usable, or the name is none or taken.
    FileError
        dataset.json is not JSON, or the new folder cannot be written.
    """
    source = _existing(source)
    number = dataset_id(name)
    if number is None:
        raise DatasetError(f"{shown(name)}: a dataset is named such as Dataset005_Prostate.")
    document = _read_description(source)
    target = _raw_folder(raw) / part_of_path(name, "dataset")
    _refuse_taken(number, target)
    removed = ("tensorImageSize", "numTest", "training", "test", "modality")
    converted = {key: value for key, value in document.items() if key not in removed} | {
        "channel_names": document.get("modality", {}),
        "labels": _labels_by_name(document, source),
        "file_ending": _ENDING,
    }
    _check_description(converted, source)
    with replace_folder(target) as new:
        for folder in _OLD_FOLDERS:
            if (source / folder).is_dir():
                make_folder(new / folder)
                for file in sorted((source / folder).iterdir()):
                    check_regular(file)
                    _copy(file, new / folder / part_of_path(file.name, "file"))
        write_json(new / DATASET_JSON, converted)
    return target


def _existing(source: str | os.PathLike[str]) -> Path:
    if not Path(source).is_dir():
        raise DatasetError(f"{source}: no such folder.")
    return Path(source)


def _read_description(source: Path) -> Mapping[str, Any]:
    for folder in _NEEDED:
        if not (source / folder).is_dir():
            raise DatasetError(f"{source}: has no folder {folder}, so it is no task to convert.")
    document = read_json(source / DATASET_JSON)
    if not isinstance(document, dict):
        raise DatasetError(f"{source / DATASET_JSON}: is no JSON object.")
    if "modality" not in document:
        hint = " It is converted already." if "channel_names" in document else ""
        raise DatasetError(f"{source / DATASET_JSON}: modality is missing.{hint}")
    if not isinstance(document["modality"], dict) or not document["modality"]:
        raise DatasetError(f"{source / DATASET_JSON}: modality maps numbers to channels' names.")
    return document


def _labels_by_name(document: Mapping[str, Any], source: Path) -> dict[str, int]:
    """Labels turned round: name to value instead of value to name."""
    labels = document.get("labels")
    if not isinstance(labels, dict):
        raise DatasetError(f"{source / DATASET_JSON}: labels is missing, or is no JSON object.")
    by_name: dict[str, int] = {}
    for value, name in labels.items():
        if not isinstance(name, str) or not value.isdecimal():
            raise DatasetError(
                f"{source / DATASET_JSON}: labels maps values to names, such as "
                f'"1": "liver"; {shown(value)}: {shown(name)} does not.'
            )
        if len(value) > _MAX_DIGITS:
            raise DatasetError(
                f"{source / DATASET_JSON}: the value of the label {shown(name)} has {len(value):,} "
                f"digits; {_MAX_DIGITS} are allowed. Give the labels small numbers."
            )
        if name in by_name:
            raise DatasetError(
                f"{source / DATASET_JSON}: two labels are named {shown(name)}. Rename one of them."
            )
        by_name[name] = int(value)
    return by_name


def _check_description(converted: Mapping[str, Any], source: Path) -> None:
    DatasetJson.from_dict(converted, f"{source / DATASET_JSON}, converted")


def _raw_folder(raw: str | os.PathLike[str] | None) -> Path:
    folder = environment_folder(RAW) if raw is None else Path(raw)
    if folder is None:
        raise DatasetError(f"Set {RAW}, or name the folder of raw datasets (`raw=`).")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; it is where the dataset would be written.")
    return folder


def _refuse_taken(number: int, target: Path) -> None:
    """Refuse a number that another dataset has, raw, preprocessed or trained."""
    roots = [target.parent, *map(environment_folder, (RAW, PREPROCESSED, RESULTS))]
    taken = sorted(
        {
            path
            for root in roots
            if root is not None
            for path in root.iterdir()
            if dataset_id(path.name) == number
        }
    )
    if taken:
        raise DatasetError(
            f"The number {number} is taken by {listed(map(str, taken), _MAX_NAMES)}. "
            "Choose another number, or remove that dataset."
        )


def _images(folder: Path) -> list[Path]:
    """The images of a folder; names that begin with a dot or `_` are litter of archives."""
    if not folder.is_dir():
        return []
    files = sorted(file for file in folder.iterdir() if file.name.endswith(_ENDING))
    return [file for file in files if file.name[0] not in "._"]


def _refuse_unlabelled(source: Path) -> None:
    images, labels = ({f.name for f in _images(source / part)} for part in _NEEDED)
    if not images:
        raise DatasetError(f"{source / IMAGES}: has no {_ENDING} files.")
    for without, what, where in (
        (images - labels, "no segmentation", LABELS),
        (labels - images, "no image", IMAGES),
    ):
        if without:
            raise DatasetError(
                f"{source}: {listed(sorted(without), _MAX_NAMES)} "
                f"{'has' if len(without) == 1 else 'have'} {what} in {where}. "
                "Was the task unpacked completely?"
            )


def _convert(work: _Work) -> None:
    from resenc_plans.datasets.images import itk, nifti

    nifti.scan(work.file)
    if work.channels is None:
        _copy(work.file, work.folder / part_of_path(work.file.name, "file"))
        return
    names = _channel_files(work)
    try:
        header = itk.read_header(work.file)
        dimensions, size = header.GetDimension(), header.GetSize()
    except RuntimeError:
        raise DatasetError(f"{work.file}: cannot be read as an image.") from None
    if dimensions not in (3, 4):
        raise DatasetError(
            f"{work.file}: has {counted(dimensions, 'dimension')}, 3 or 4 are expected."
        )
    held = size[3] if dimensions == 4 else 1
    if held != work.channels:
        raise DatasetError(
            f"{work.file}: has {counted(held, 'channel')}, but dataset.json names {work.channels}."
        )
    if dimensions == 3:
        _copy(work.file, names[0])
    else:
        _split(header, names)


def _channel_files(work: _Work) -> list[Path]:
    case = work.file.name.removesuffix(_ENDING)
    endings = (f"_{channel:04d}{_ENDING}" for channel in range(work.channels or 1))
    return [work.folder / part_of_path(case, "case", ending=ending) for ending in endings]


def _split(reader: Any, names: Sequence[Path]) -> None:
    """Write each channel of a 4D image, with the position of the first three axes."""
    from resenc_plans.datasets.images import itk
    from resenc_plans.datasets.images.images import write_itk_image

    sitk = itk.simpleitk()
    try:
        image = itk.read_voxels(reader)
    except RuntimeError:
        raise DatasetError("the voxels cannot be read: the file is damaged.") from None
    voxels = sitk.GetArrayViewFromImage(image)
    direction = image.GetDirection()
    for name, channel in zip(names, voxels, strict=True):
        volume = sitk.GetImageFromArray(channel)
        volume.SetSpacing(image.GetSpacing()[:3])
        volume.SetOrigin(image.GetOrigin()[:3])
        volume.SetDirection(
            [direction[4 * row + column] for row in range(3) for column in range(3)]
        )
        with writing(name, name):
            write_itk_image(volume, name)


def _copy(file: Path, target: Path) -> None:
    with writing(target):
        shutil.copy(file, target)
