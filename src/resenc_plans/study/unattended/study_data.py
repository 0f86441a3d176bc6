"""The datasets of a study: their files, their digests, and the splits that all methods share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.splits import Split, load_splits, make_splits
from resenc_plans.errors import DatasetError, StudyError
from resenc_plans.files import make_folder, part_of_path, user_path, write_json
from resenc_plans.folders import DATASET_JSON, PREPROCESSED, SPLITS_JSON, environment_folder
from resenc_plans.runs.folds import FOLDS
from resenc_plans.study.patients import patients_file
from resenc_plans.study.unattended.digests import DigestCache
from resenc_plans.study.unattended.places import StudyPlaces
from resenc_plans.study.unattended.study_file import StudyDataset
from resenc_plans.words import counted


@dataclass(frozen=True)
class StudyData:
    """A dataset of a study."""

    dataset: Dataset
    described: StudyDataset
    places: StudyPlaces

    @classmethod
    def load(cls, described: StudyDataset, places: StudyPlaces) -> "StudyData":
        """Open the dataset that a study's file names; a relative path counts from its folder.

        Raises
        ------
        DatasetError, FileError
            There is none, or its dataset.json is not usable.
        """
        beside = places.root / described.dataset
        name = str(beside) if (beside / DATASET_JSON).is_file() else described.dataset
        return cls(Dataset.load(name), described, places)

    @property
    def name(self) -> str:
        """Such as Dataset004_Hippocampus."""
        return self.dataset.name

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the raw data that count."""
        labels = [case.label for case in self.dataset.cases if case.label is not None]
        images = [path for case in self.dataset.cases for path in case.images]
        return (self.dataset.folder / DATASET_JSON, *images, *labels)

    @property
    def first_channels(self) -> dict[str, Path]:
        """The image of each case on which its segmentations are drawn."""
        return {case.name: case.images[0] for case in self.dataset.cases if case.images}

    def digests(self) -> dict[str, str]:
        """The SHA-256 of every file, by its path below the dataset's folder.

        Raises
        ------
        FileError
            One cannot be read.
        """
        folder = self.places.state_folder / part_of_path(self.name, "dataset")
        make_folder(folder)
        cache = DigestCache(folder / "inputs.json")
        root = self.dataset.folder
        digests = {}
        for path in self.files:
            below = path.relative_to(root) if path.is_relative_to(root) else path
            digests[below.as_posix()] = cache.sha256(path)
        cache.save()
        return digests

    @property
    def patients(self) -> str | Path | None:
        """The file, or the pattern, that tells the patient of each case.

        Raises
        ------
        FileError
            No file can have that path.
        """
        named = self.described.patients
        if named is None:
            return None
        return patients_file(named, self.places.root) or named

    @property
    def splits_file(self) -> Path:
        """The splits of the study."""
        return self.places.preprocessed(self.name) / SPLITS_JSON

    def splits(self) -> tuple[Split, ...]:
        """The folds: those that the study's file names, else those that it began with, else new.

        New ones are those of nnU-Net's preprocessed dataset, if it has any; else they are made as
        nnU-Net makes them.

        Raises
        ------
        DatasetError, FileError
            The file is missing or damaged, or there are too few cases.
        """
        if self.described.splits is not None:
            return load_splits(self.places.root / user_path(self.described.splits))
        if self.splits_file.is_file():
            return load_splits(self.splits_file)
        root = environment_folder(PREPROCESSED)
        if root is not None:
            present = root / part_of_path(self.name, "dataset") / SPLITS_JSON
            if present.is_file():
                return load_splits(present)
        names = sorted(case.name for case in self.dataset.cases)
        if len(names) < FOLDS:
            raise DatasetError(
                f"{self.name}: {counted(len(names), 'case is', 'cases are')} too few for nnU-Net's "
                f"{FOLDS} folds. Name a "
                "file of splits in the study: {" + '"dataset": ..., "splits": ...}.'
            )
        return make_splits(names, FOLDS)

    def save_splits(self) -> None:
        """Write the splits beside the plans, where trainings look for them.

        Raises
        ------
        DatasetError, FileError
            As `splits`; or the file cannot be written.
        """
        splits = self.splits()
        make_folder(self.splits_file.parent)
        write_json(self.splits_file, [split.to_dict() for split in splits])

    def require_folds(self, folds: Sequence[int]) -> None:
        """Refuse folds that the splits do not have.

        Raises
        ------
        StudyError
            There are some.
        DatasetError, FileError
            As `splits`.
        """
        count = len(self.splits())
        missing = [fold for fold in folds if fold >= count]
        if missing:
            raise StudyError(
                f"{self.name}: has folds 0 to {count - 1}, but the study asks for "
                f"{', '.join(map(str, missing))}. Name other folds, or a file of splits."
            )
