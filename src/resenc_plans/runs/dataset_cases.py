"""Which training cases a dataset has, whatever of them happens to be stored."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.datasets.dataset import Dataset, file_names
from resenc_plans.folders import GROUND_TRUTH


@dataclass(frozen=True)
class DatasetCases:
    """The cases of a dataset, as far as their names are known."""

    names: tuple[str, ...]
    """Sorted."""
    unnamed: int = 0
    """How many more there are, as numTraining of dataset.json counts them."""


def dataset_cases(dataset: Dataset, preprocessed: Path, stored: Collection[str]) -> DatasetCases:
    """The training cases of a dataset.

    They are those of the raw data. Where there are none, they are those with a reference in
    gt_segmentations, into which preprocessing copies that of every case, also of one that fails.
    Where there is no such folder either, they are the stored ones, and only numTraining can tell
    that there are more.
    """
    names = {case.name for case in dataset.cases}
    if names:
        return DatasetCases(tuple(sorted(names)))
    ending = dataset.json.file_ending
    references = file_names(preprocessed / GROUND_TRUTH, ending)
    names = {*(name.removesuffix(ending) for name in references), *stored}
    expected = 0 if references else dataset.json.num_training or 0
    return DatasetCases(tuple(sorted(names)), max(0, expected - len(names)))
