"""A dataset: a folder with dataset.json and, where the raw data exist, its cases."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.reader_choice import reader_writer_name
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError, expect_type
from resenc_plans.folders import DATASET_JSON, find_dataset_folder
from resenc_plans.reprs import card, listed

IMAGES = "imagesTr"
LABELS = "labelsTr"

_CHANNEL_SUFFIX_LENGTH = len("_0000")


@dataclass(frozen=True)
class Case:
    """One training case: an image file per channel, and the file of its segmentation."""

    name: str
    images: tuple[Path, ...]
    label: Path | None


@dataclass(frozen=True)
class Dataset:
    """A dataset's folder and what its dataset.json says."""

    folder: Path
    json: DatasetJson

    @classmethod
    def load(cls, dataset: int | str | os.PathLike[str]) -> Self:
        """Open a dataset by path, by name (Dataset004_Hippocampus) or by id (4).

        Names and ids are looked up in the folder that the environment variable nnUNet_raw names.
        A folder that holds nothing but dataset.json is a dataset without cases.

        Raises
        ------
        DatasetError
            There is no such dataset, or its dataset.json is not usable.
        FileError
            Its dataset.json cannot be read or is not JSON.
        UsageError
            `dataset` is something else.
        """
        remedy = "the path, the name or the id of a dataset"
        expect_type(dataset, (int, str, os.PathLike), "dataset", remedy)
        name = str(dataset) if isinstance(dataset, int) else os.fspath(dataset)
        folder = find_dataset_folder(name)
        return cls(folder, DatasetJson.load(folder / DATASET_JSON))

    @property
    def name(self) -> str:
        """The name of the folder, such as Dataset004_Hippocampus."""
        return self.folder.resolve().name

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, in the order of the images' first axis."""
        return self.json.channels

    @cached_property
    def labels(self) -> Labels:
        """The labels; raises DatasetError where they contradict each other."""
        return Labels.from_dataset(self.json)

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The training cases, in the order and with the files that nnU-Net finds.

        They come from dataset.json's `dataset`, or else from imagesTr, sorted by name. A file of
        `dataset` and a label are listed whether or not they exist; channels of imagesTr only if
        they exist.
        """
        if self.json.dataset is not None:
            return tuple(self._explicit_cases())
        return tuple(self._cases_in_folders())

    @cached_property
    def reader_name(self) -> str:
        """The nnU-Net class that reads the images, as plans files name it.

        If several readers share a file ending, the first image decides, provided it is readable.
        """
        example = next((image for case in self.cases for image in case.images), None)
        try:
            return reader_writer_name(self.json, example)
        except DatasetError:
            return reader_writer_name(self.json)

    def __repr__(self) -> str:
        return card(
            f"Dataset {self.name}",
            {
                "folder": self.folder,
                "training cases": self.json.num_training,
                "channels": listed(self.channels),
                "labels": listed(f"{name} {value}" for name, value in self.json.labels.items()),
            },
        )

    def _explicit_cases(self) -> Iterator[Case]:
        for name, files in (self.json.dataset or {}).items():
            images = tuple(self._expand(image) for image in files.images)
            yield Case(name, images, self._expand(files.label))

    def _expand(self, path: str) -> Path:
        return Path(os.path.normpath(self.folder.absolute() / os.path.expandvars(path)))

    def _cases_in_folders(self) -> Iterator[Case]:
        ending = self.json.file_ending
        suffix_length = _CHANNEL_SUFFIX_LENGTH + len(ending)
        images: dict[str, list[Path]] = {}
        for file in file_names(self.folder / IMAGES, ending):
            name, channel = file[:-suffix_length], file[-suffix_length : -len(ending)]
            files = images.setdefault(name, [])
            if channel[:1] == "_" and channel[1:].isdecimal() and len(channel) == 5:
                files.append(self.folder / IMAGES / file)
        for name in sorted(images):
            label = self.folder / LABELS / (name + ending)
            yield Case(name, tuple(images[name]), label)


def expect_dataset(dataset: object) -> None:
    """Refuse what is not a dataset, and say how to get one.

    Raises
    ------
    UsageError
        It is a path, a name, or something else.
    """
    where = dataset if isinstance(dataset, int | str) else "path"
    expect_type(dataset, Dataset, "dataset", f"a dataset, such as Dataset.load({where!r})")


def case_of_file(name: str) -> str:
    """The case that a segmentation's file is named after.

    >>> case_of_file("case.1.nii.gz"), case_of_file("case.png")
    ('case.1', 'case')
    """
    return Path(name.removesuffix(".gz")).stem


def file_names(folder: Path, ending: str) -> list[str]:
    """Sorted names of the files in `folder` with this ending; none if there is no such folder.

    FIFOs, devices and links that lead in a circle are among them, so that they are named by
    `check_regular` and not passed over.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.name.endswith(ending) and _is_listed(e))


def _is_listed(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder counts as a file: what cannot be read is named on reading."""
    try:
        return not stat.S_ISDIR(entry.stat().st_mode)
    except FileNotFoundError:  # a link that leads nowhere, which nnU-Net passes over as well
        return False
    except OSError:
        return True
