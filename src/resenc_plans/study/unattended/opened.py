"""A study as it is now: its file, its datasets, its pieces and their states."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from resenc_plans.errors import ResencPlansError, StudyError
from resenc_plans.files import make_folder, part_of_path, read_json, user_path, write_json
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

    def other_file(self) -> Path | None:
        """The file of another study whose results lie in the folder, if there is one."""
        named = self._owner()
        if named is None or named == self.path.name:
            return None
        other = self.places.root / part_of_path(named, "file")
        return other if other.is_file() else None  # else it has been renamed

    def _owner(self) -> str | None:
        """The file whose results lie in the folder, as recorded."""
        if not self.places.owner.is_file():
            return None
        document = read_json(self.places.owner)
        named = document.get("file") if isinstance(document, dict) else None
        return named if isinstance(named, str) else None

    def claim(self) -> None:
        """Make the folder this study's, where no other study's results lie in it.

        Raises
        ------
        StudyError
            Those of another file lie there.
        FileError
            The folder cannot be written to.
        """
        other = self.other_file()
        if other is not None:
            raise StudyError(f"{self.path}: {one_study_per_folder(other)}.")
        if self._owner() != self.path.name:
            make_folder(self.places.state_folder)
            write_json(self.places.owner, {"file": self.path.name})

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

    def changed_pieces(self) -> frozenset[Piece]:
        """Pieces that the file and the data decide otherwise by now, or not any more."""
        try:
            now = OpenedStudy.open(self.path)
            keys = {piece: now.keys[piece] for piece in now.graph.needs}
        except ResencPlansError:
            return frozenset(self.graph.needs)
        return frozenset(piece for piece in self.graph.needs if keys.get(piece) != self.keys[piece])

    def state(self, piece: Piece) -> State:
        """How far a piece is."""
        record = self.record(piece)
        if record is None:
            return "missing"
        return record.state(self.places.root, self.keys[piece])


def one_study_per_folder(other: Path) -> str:
    """Why a study cannot be run beside another file's."""
    return (
        f"its folder holds the results of {other.name}, which this study would replace. Move this "
        "file to a folder of its own, from which its relative paths then count; or remove "
        f"{other.name}, if this file has taken its place"
    )
