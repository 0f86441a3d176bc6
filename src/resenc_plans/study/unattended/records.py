"""How far a piece of a study is, as its record on disk says."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from resenc_plans.errors import FileError
from resenc_plans.files import make_folder, part_of_path, read_json, write_json
from resenc_plans.runs.run_record import OwnCode, changed_code
from resenc_plans.study.unattended.digests import FileDigest

State = Literal["missing", "begun", "done", "failed", "stale", "broken"]
"""stale: done from other inputs or settings than the study has now. broken: its files differ."""

_WHY_OLD: dict[State, str] = {
    "stale": "was made from other inputs or settings than the study has now",
    "broken": "has files that have changed",
}


def why_old(state: State) -> str:
    """Why what is there does not count; empty where that is not the reason."""
    return _WHY_OLD.get(state, "")


class PieceRecord(BaseModel):
    """What was done of a piece, and from what."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    status: Literal["begun", "done", "failed"]
    """What was known last."""
    key: str
    """The digest of everything that decides the result."""
    reason: str | None = None
    """Why it failed."""
    seconds: float | None = None
    """That it took."""
    outputs: dict[str, FileDigest] = {}
    """Its files, by paths below the study's folder."""
    taken_from: str | None = None
    """The folder of the run that was taken over."""
    network: OwnCode | None = None
    """Of a training: what made its network, where the plans do not name it."""

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """The record; None where there is none, or where it is damaged."""
        try:
            return cls.model_validate(read_json(path)) if path.is_file() else None
        except (FileError, ValidationError):
            return None

    def save(self, path: Path) -> None:
        """Write the record, whole or not at all.

        Raises
        ------
        FileError
            It cannot be written.
        """
        make_folder(path.parent)
        write_json(path, self.model_dump())

    def state(self, root: Path, key: str) -> State:
        """How far the piece is, where its key is now `key`."""
        if self.status == "failed" and self.key == key:
            return "failed"
        if self.status != "done":
            return "begun" if self.key == key else "stale" if self.status == "begun" else "missing"
        if self.key != key:
            return "stale"
        return "done" if self._is_intact(root) else "broken"

    def has_other_source(self, network: OwnCode) -> bool:
        """Whether the source of what made its network has changed since."""
        before = {} if self.network is None else {"network": self.network}
        return bool(changed_code(before, {"network": network}))

    def _is_intact(self, root: Path) -> bool:
        try:
            return all(digest.is_of(_below(root, path)) for path, digest in self.outputs.items())
        except FileError:
            return False


def _below(root: Path, path: str) -> Path:
    """What a record names, which is below the study's folder.

    Raises
    ------
    FileError
        It is not, or a file cannot be read.
    """
    for part in path.split("/"):
        root /= part_of_path(part, "outputs")
    return root


def digests_below(root: Path, files: Iterable[Path]) -> dict[str, FileDigest]:
    """The digests of files by their paths below a folder.

    Raises
    ------
    FileError
        One cannot be read.
    """
    return {path.relative_to(root).as_posix(): FileDigest.of(path) for path in sorted(files)}
