"""The files of a training: nnU-Net's folders and names, and our log."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import FileError, ModelError
from resenc_plans.execution.locks import lock
from resenc_plans.execution.unfinished import remove_unfinished
from resenc_plans.files import (
    MAX_JSON_BYTES,
    append,
    finite,
    inside,
    make_folder,
    move,
    parse_json,
    part_of_path,
    read_bytes,
    replace_file,
    write_json,
)
from resenc_plans.folders import (
    BEST_CHECKPOINT,
    DATASET_JSON,
    FINAL_CHECKPOINT,
    FINGERPRINT_JSON,
    LATEST_CHECKPOINT,
    PLANS_JSON,
    REPLACED,
    VALIDATION,
)
from resenc_plans.plans.configuration import ResolvedConfiguration

DEBUG_JSON = "debug.json"
METRICS = "metrics.jsonl"
PROGRESS_PNG = "progress.png"
TRAINING_LOG = "training_log.txt"

Checkpoints = dict[Path, tuple[int, ...]]
"""Files, and what changes of them when they are replaced: inode, size, time of the last change."""

_RESUMABLE = (FINAL_CHECKPOINT, LATEST_CHECKPOINT, BEST_CHECKPOINT)


@dataclass(frozen=True)
class RunFolder:
    """`<model folder>/fold_<fold>`; plans, dataset.json and fingerprint lie beside the folds."""

    model: Path
    fold: int | str

    @property
    def path(self) -> Path:
        """The fold's folder."""
        return self.model / part_of_path(f"fold_{self.fold}", "fold")

    @property
    def validation(self) -> Path:
        """The folder of predictions of the held-out cases."""
        return self.path / VALIDATION

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings and validations out of the fold while the block is executed.

        The lock lies beside the folder, which may be moved meanwhile.

        Raises
        ------
        LockedError
            Another process has the fold; the message says which.
        FileError
            The model's folder cannot be made or written to.
        """
        make_folder(self.model)
        with lock(self.lock_file, self.path):
            yield

    @property
    def lock_file(self) -> Path:
        """What tells other processes that one has the fold."""
        return self.model / part_of_path(f".{self.path.name}.lock", "fold")

    @property
    def replaced(self) -> Path:
        """Where replaced runs go: not into the model's folder, whose `fold_*` nnU-Net reads."""
        return self.model.parent / REPLACED / part_of_path(self.model.name, "model")

    def checkpoint(self, name: str) -> Path:
        """The file of a checkpoint."""
        return self.path / part_of_path(name, "checkpoint")

    def checkpoints(self) -> Checkpoints:
        """All checkpoints that a run may be resumed from, and how to tell others of these names."""
        return {
            path: (status.st_ino, status.st_size, status.st_mtime_ns)
            for path in map(self.checkpoint, _RESUMABLE)
            if path.is_file()
            for status in [path.stat()]
        }

    def resumable(self) -> Path | None:
        """The checkpoint to resume from: that of the furthest state; each holds a whole one.

        nnU-Net takes the final one if it exists, even where a run that was prolonged, or started
        again, has got further since. The times of the files decide only where one of them is
        damaged, since a copy may not keep them.
        """
        written = self.checkpoints()
        if len(written) < 2:
            return next(iter(written), None)
        from resenc_plans.runs.checkpoint import load_checkpoint

        try:
            progress = {path: load_checkpoint(path, mapped=True).progress for path in written}
        except (ModelError, TypeError, ValueError):  # the latter of curves of other kinds
            return max(written, key=lambda path: written[path][-1])
        return max(written, key=progress.__getitem__)

    def move_aside(self) -> Path | None:
        """Move all that an earlier run has left to a folder in `replaced`; None if that is nothing.

        Raises
        ------
        FileError
            It cannot be moved; nothing has changed.
        """
        if not self.path.is_dir() or not any(self.path.iterdir()):
            return None
        target = self._new_replaced()
        _move(self.path, target)
        return target

    def reopen(self) -> None:
        """Make a finished fold an unfinished one, before further epochs are trained.

        What is known of the earlier end goes: the final checkpoint becomes the latest, or moves to
        `replaced` where training had gone beyond it; the validation moves there as well.

        Raises
        ------
        FileError
            Something cannot be moved.
        """
        final, latest = self.checkpoint(FINAL_CHECKPOINT), self.checkpoint(LATEST_CHECKPOINT)
        is_newest = self.resumable() == final
        old = [] if is_newest or not final.is_file() else [final]
        target = self._new_replaced()
        for path in (*([self.validation] if self.validation.is_dir() else []), *old):
            _move(path, target / part_of_path(path.name, "file"))
        if is_newest:
            _move(final, latest)

    def _new_replaced(self) -> Path:
        stamp = time.strftime("%Y-%m-%dT%H-%M-%S")
        names = (f"fold_{self.fold}-{stamp}{f'-{n}' if n else ''}" for n in range(1000))
        paths = (self.replaced / part_of_path(name, "fold") for name in names)
        return inside(self.model.parent, next(path for path in paths if not path.exists()))

    def keep_records(self, epochs: int) -> None:
        """Drop all but the first `epochs` from metrics.jsonl: the others are trained again.

        Damaged lines are dropped, too.

        Raises
        ------
        FileError
            The file cannot be read or written.
        """
        path = self.path / METRICS
        if path.is_file():
            lines = read_bytes(path, MAX_JSON_BYTES).splitlines(keepends=True)
            with replace_file(path) as stream:
                stream.write(b"".join(line for line in lines if _is_of(line, epochs)))

    def prepare(self, config: ResolvedConfiguration, dataset: Dataset) -> None:
        """Make the folder, with copies of what the model was made from and no half-written files.

        To be called under the lock only: half-written files may be another process's.

        Raises
        ------
        FileError
            The folder cannot be made or written to, or lies elsewhere, behind a symbolic link.
        """
        for path in (self.path, self.path / TRAINING_LOG, self.path / METRICS):
            inside(self.model, path)
        make_folder(self.path)
        remove_unfinished(self.path, sole=True)
        write_json(self.model / PLANS_JSON, config.plans.to_dict())
        write_json(self.model / DATASET_JSON, dataset.json.to_dict())
        if config.plans.path is not None:
            fingerprint = config.plans.folder / FINGERPRINT_JSON
            if fingerprint.is_file():
                with replace_file(self.model / FINGERPRINT_JSON) as stream:
                    stream.write(fingerprint.read_bytes())

    def write_debug(self, facts: Mapping[str, Any]) -> None:
        """debug.json: what a person may want to know of a run later, as strings."""
        write_json(self.path / DEBUG_JSON, {key: str(value) for key, value in facts.items()})

    def log(self, line: str) -> None:
        """Append a line to training_log.txt."""
        append(self.path / TRAINING_LOG, f"{line}\n".encode())

    def record(self, figures: Mapping[str, Any]) -> None:
        """Append an object to metrics.jsonl; values that are not finite become null."""
        line = json.dumps(finite(figures), allow_nan=False)
        append(self.path / METRICS, f"{line}\n".encode())


def _move(old: Path, new: Path) -> None:
    make_folder(new.parent)
    try:
        move(old, new)
    except OSError as error:
        raise FileError(f"{old}: cannot be moved to {new}: {error.strerror}.") from None


def _is_of(line: bytes, epochs: int) -> bool:
    """Whether a line of metrics.jsonl is whole, and about one of the first `epochs`."""
    try:
        return bool(parse_json(line.decode(), METRICS)["epoch"] < epochs)
    except (FileError, UnicodeDecodeError, KeyError, TypeError):
        return False
