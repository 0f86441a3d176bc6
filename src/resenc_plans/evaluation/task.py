"""What to compare: which labels count, and which files belong together."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from resenc_plans.datasets.dataset import file_names
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.images import Image, read_label
from resenc_plans.datasets.images.reader_choice import reader_writer_name
from resenc_plans.datasets.images.readers import READERS_BY_ENDING
from resenc_plans.datasets.labels import Labels, Region
from resenc_plans.errors import EvaluationError, UsageError
from resenc_plans.folders import DATASET_JSON, find_dataset_folder
from resenc_plans.reprs import call

SPACING_TOLERANCE = 1e-3
"""Relative difference of spacings that rounding in headers explains."""


@dataclass(frozen=True)
class EvaluationTask:
    """What is evaluated in every case."""

    regions: tuple[Region, ...]
    """Labels, or regions, in the order of dataset.json."""
    ignore_label: int | None = None
    """Voxels that have this value in the reference are omitted."""
    reader: str | None = None
    """nnU-Net's reader for the files; by default the file ending decides."""
    file_ending: str | None = None
    """Ending of the files to evaluate; by default any that a reader knows."""
    label_names: Mapping[Region, str] = field(default_factory=dict)
    """Names of labels and regions, where they have one."""

    def __repr__(self) -> str:
        return call("EvaluationTask", vars(self))

    @property
    def foreground_labels(self) -> tuple[int, ...]:
        """The label values that occur in `regions`, in rising order, without the background."""
        flat = {v for r in self.regions for v in (r if isinstance(r, tuple) else (r,))}
        return tuple(sorted(flat - {0}))

    @classmethod
    def of_dataset(cls, dataset_json: DatasetJson, example: Path | None = None) -> "EvaluationTask":
        """What nnU-Net evaluates in a dataset: its foreground labels, or its regions.

        `example` is a file that decides among the readers that know the file ending.

        Raises
        ------
        DatasetError
            The labels contradict each other, or no reader knows the file ending.
        """
        labels = Labels.from_dataset(dataset_json)
        return cls(
            regions=labels.foreground_labels if labels.regions is None else labels.regions,
            ignore_label=labels.ignore_label,
            reader=reader_writer_name(dataset_json, example),
            file_ending=dataset_json.file_ending,
            label_names={value: name for name, value in dataset_json.labels.items()},
        )

    @property
    def value_names(self) -> dict[int, str]:
        """The names of single label values, as pictures of label maps show them."""
        return {v: name for v, name in self.label_names.items() if isinstance(v, int)}

    def describe(self, region: Region | Sequence[Region]) -> str:
        """A label or region with its name, for a person; a list is all labels.

        >>> task = EvaluationTask((1, (1, 2)), label_names={1: "liver"})
        >>> task.describe(1), task.describe((1, 2)), task.describe([1, 2])
        ('1 liver', '(1, 2)', 'all labels together')
        """
        if not isinstance(region, int | tuple):
            return "all labels together"
        return f"{region} {self.label_names.get(region, '')}".strip()


def find_task(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str] | None = None,
    *,
    dataset: int | str | os.PathLike[str] | None = None,
    labels: Sequence[int] = (),
    ignore_label: int | None = None,
) -> EvaluationTask:
    """The task for a folder of predictions, from its dataset.json or from label values.

    Parameters
    ----------
    predictions, references
        Folders of segmentations. Without `dataset` and `labels`, the dataset.json in the first or
        beside the second is used.
    dataset
        A dataset.json, or a dataset by path, name or id.
    labels
        Label values to evaluate, instead of those of a dataset.
    ignore_label
        With `labels`: voxels of the reference to omit.

    Raises
    ------
    UsageError
        Both `dataset` and `labels` are given.
    EvaluationError
        There is no dataset.json, or no prediction.
    DatasetError, FileError
        The dataset does not exist, or its dataset.json cannot be used.
    """
    if labels:
        if dataset is not None:
            raise UsageError("Give either `labels=` or `dataset=`: each says which labels count.")
        return EvaluationTask(tuple(dict.fromkeys(labels)), ignore_label)
    dataset_json = DatasetJson.load(_dataset_json_path(predictions, references, dataset))
    first = prediction_names(predictions, dataset_json.file_ending)[0]
    return EvaluationTask.of_dataset(dataset_json, Path(predictions) / first)


def prediction_names(folder: str | os.PathLike[str], file_ending: str | None) -> list[str]:
    """Sorted file names of the segmentations in a folder.

    Raises
    ------
    EvaluationError
        The folder does not exist, or has no segmentation.
    """
    names = segmentation_names(folder, file_ending)
    if not names:
        raise EvaluationError(
            f"{os.fspath(folder)}: has no {file_ending or 'image'} file, so there is nothing to "
            "evaluate."
        )
    return names


def segmentation_names(folder: str | os.PathLike[str], file_ending: str | None) -> list[str]:
    """Sorted names of the files with this ending, or without one of all images, in a folder.

    Raises
    ------
    EvaluationError
        The folder does not exist.
    """
    if not Path(folder).is_dir():
        raise EvaluationError(f"{os.fspath(folder)}: no such folder.")
    if file_ending:
        return file_names(Path(folder), file_ending)
    endings = tuple(READERS_BY_ENDING)
    return [name for name in file_names(Path(folder), "") if name.lower().endswith(endings)]


def read_pair(
    prediction_file: str, reference_file: str, reader: str | None = None
) -> tuple[Image, Image]:
    """A prediction and its reference, `(1, z, y, x)` each, on one grid.

    Raises
    ------
    DatasetError
        A file is unreadable.
    EvaluationError
        There is no reference, or the two differ in shape or spacing.
    """
    if not os.path.isfile(reference_file):  # noqa: PTH113
        raise EvaluationError(
            f"{reference_file}: no such file, so the prediction has no reference."
        )
    prediction, reference = read_label(prediction_file, reader), read_label(reference_file, reader)
    if prediction.array.shape != reference.array.shape:
        raise EvaluationError(
            f"{prediction_file}: has the shape {prediction.array.shape[1:]}, but the reference "
            f"has {reference.array.shape[1:]} (z, y, x)."
        )
    if not np.allclose(prediction.spacing, reference.spacing, rtol=SPACING_TOLERANCE, atol=0):
        raise EvaluationError(
            f"{prediction_file}: has the spacing {_mm(prediction)}, but the reference has "
            f"{_mm(reference)} (z, y, x)."
        )
    return prediction, reference


def _dataset_json_path(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str] | None,
    dataset: int | str | os.PathLike[str] | None,
) -> Path:
    if dataset is not None:
        path = Path(str(dataset))
        return path if path.is_file() else find_dataset_folder(str(dataset)) / DATASET_JSON
    folders = [Path(predictions), *([] if references is None else [Path(references).parent])]
    for folder in folders:
        if (folder / DATASET_JSON).is_file():
            return folder / DATASET_JSON
    raise EvaluationError(
        f"No {DATASET_JSON} in {' or '.join(map(str, folders))}, so the labels are not known. "
        "Name the dataset, `dataset=`, or the labels that count, `labels=` 1,2,3."
    )


def _mm(image: Image) -> str:
    return "x".join(f"{size:.5g}" for size in image.spacing) + " mm"
