"""The cases in a folder of images, and what each one's files hold."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.datasets.dataset import file_names
from resenc_plans.datasets.file_naming import other_endings
from resenc_plans.datasets.images.images import Image, read_channels, read_label
from resenc_plans.datasets.images.segmentation_files import segmentation_file
from resenc_plans.errors import DatasetError, FileError, PredictionError
from resenc_plans.reprs import listed
from resenc_plans.words import counted

_CHANNEL = re.compile(r"_\d{4}")
_CHANNEL_LENGTH = len("_0000")


@dataclass(frozen=True)
class InputCase:
    """An image to segment: its name, a file per channel, and the four digits of each."""

    name: str
    images: tuple[Path, ...]
    numbers: tuple[str, ...]


def find_cases(folder: Path, file_ending: str) -> tuple[InputCase, ...]:
    """The cases of a folder by name, as nnU-Net finds them: CASE_0000.nii.gz, CASE_0001.nii.gz.

    A file without a channel number makes a case without images, under the file's own name, unless
    no file has one. A broken link is a channel that cannot be read, so that no case is lost
    silently.

    Raises
    ------
    FileError
        There is no such folder, or no file has this ending, or none has a channel number.
    """
    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder. It should hold the images to segment.")
    broken_links = (
        path.name
        for path in folder.iterdir()
        if path.name.endswith(file_ending) and path.is_symlink() and not path.exists()
    )
    files = sorted({*file_names(folder, file_ending), *broken_links})
    if not files:
        others = other_endings(folder, file_ending)
        but = f", but {others}. Convert them" if others else ""
        raise FileError(
            f"{folder}: has no files that end in {file_ending}, as the model's do{but}."
        )
    images: dict[str, list[Path]] = {}
    for file in files:
        stem = file.removesuffix(file_ending)
        if _CHANNEL.fullmatch(stem[-_CHANNEL_LENGTH:]) and len(stem) > _CHANNEL_LENGTH:
            images.setdefault(stem[:-_CHANNEL_LENGTH], []).append(folder / file)
        else:
            images.setdefault(file, [])
    if not any(images.values()):
        raise FileError(
            f"{folder}: none of {counted(len(files), 'file')} has a channel number "
            f"({listed(files, 3)}). Rename them so that they end like case_0000{file_ending}. If "
            "they are segmentations, as in labelsTr, name the folder of the images instead."
        )
    end = -len(file_ending)
    return tuple(
        InputCase(name, tuple(paths), tuple(path.name[:end][-4:] for path in paths))
        for name, paths in sorted(images.items())
    )


def part_of(cases: tuple[InputCase, ...], part: tuple[int, int]) -> tuple[InputCase, ...]:
    """Part k of n of the cases, k from 1: every n-th one, as nnU-Net splits them over machines.

    Raises
    ------
    PredictionError
        There is no such part.
    """
    number, parts = part
    if parts < 1:
        raise PredictionError(f"Part {number}/{parts}: at least one part is needed.")
    if not 1 <= number <= parts:
        raise PredictionError(f"Part {number}/{parts}: choose 1/{parts} to {parts}/{parts}.")
    return cases[number - 1 :: parts]


def read_case(
    case: InputCase,
    channels: tuple[str, ...],
    reader: str | None,
    on_remark: Callable[[str], None],
) -> Image:
    """The image of a case, float32 (c, z, y, x), with the header of its first channel.

    Where nnU-Net's `reader` makes zeros of voxels that are not finite, as ITK does in NIfTI files,
    they are zeros here too, and `on_remark` is called with a sentence about them.

    Raises
    ------
    DatasetError
        A channel is missing, a file is unreadable, grids differ, or voxels are not finite where
        nnU-Net's labels would all be 0.
    """
    if not case.images:
        raise DatasetError(
            "Its name has no channel number. Rename the file so that it ends like case_0000.nii.gz."
        )
    missing = [
        f"{number:04d} ({name})"
        for number, name in enumerate(channels)
        if f"{number:04d}" not in case.numbers
    ]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {counted(len(channels), 'channel is', 'channels are')} missing; "
            f"there is no file for {', '.join(missing)}."
        )
    return read_channels(
        case.images,
        len(channels),
        reader,
        lambda fault: on_remark(f"{fault}; predicted with zeros in their place, as nnU-Net does."),
    )


def read_previous(folder: Path, case: str, file_ending: str, reader: str | None) -> Image:
    """The previous stage's segmentation of a case.

    Raises
    ------
    DatasetError
        It is missing or unreadable.
    """
    path = segmentation_file(folder, case, file_ending)
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; the previous stage has not predicted this case.")
    return read_label(path, reader)
