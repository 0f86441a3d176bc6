"""A study as it is now: its file, its datasets, its pieces and their states."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from resenc_plans.errors import StudyError
from resenc_plans.files import user_path
from resenc_plans.study.unattended.graph import Piece, StudyGraph
from resenc_plans.study.unattended.keys import PieceKeys
from resenc_plans.study.unattended.places import StudyPlaces
from resenc_plans.study.unattended.records import PieceRecord, State, why_old
from resenc_plans.study.unattended.study_data import StudyData
from resenc_plans.study.unattended.study_file import STUDY_JSON, StudyFile


@dataclass(frozen=True)
class OpenedStudy:
    """A study.json with what it names."""

    path: Path
    file: StudyFile
    places: StudyPlaces
    data: Mapping[str, StudyData]
    """By the names of the datasets, in the file's order."""
    graph: StudyGraph

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a study by its file, or by the folder of its study.json.

        Raises
        ------
        StudyError
            The file says something impossible, or names a dataset twice.
        FileError, DatasetError
            The file or a dataset cannot be read.
        """
        path = user_path(path)
        path = path / STUDY_JSON if path.is_dir() else path
        study = StudyFile.load(path)
        places = StudyPlaces(path.absolute().parent)
        opened = [StudyData.load(one, places) for one in study.datasets]
        data = {one.name: one for one in opened}
        if len(data) < len(opened):
            raise StudyError(f"{path}: datasets names one dataset twice.")
        return cls(path, study, places, data, StudyGraph.of(study, tuple(data)))

    @cached_property
    def keys(self) -> PieceKeys:
        """What decides each piece.

        Raises
        ------
        FileError, DatasetError
            Files of a dataset, plans or predictions cannot be read.
        """
        return PieceKeys(self.file, self.graph, self.data)

    def record(self, piece: Piece) -> PieceRecord | None:
        """What is recorded of a piece."""
        return PieceRecord.load(self.places.record(piece))

    def old_trainings(self) -> dict[Piece, str]:
        """Trainings that are there but are not what the study asks for, and why."""
        trainings = [piece for piece in self.graph.needs if piece.kind == "training"]
        reasons = {piece: why_old(self.state(piece)) for piece in trainings}
        return {piece: reason for piece, reason in reasons.items() if reason}

    def state(self, piece: Piece) -> State:
        """How far a piece is."""
        record = self.record(piece)
        if record is None:
            return "missing"
        return record.state(self.places.root, self.keys[piece])
