"""The files of a training: nnU-Net's folders and names, and our log."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import FileError
from resenc_plans.files import write_json
from resenc_plans.folders import DATASET_JSON, FINGERPRINT_JSON
from resenc_plans.plans.models import ResolvedConfiguration

LATEST, BEST, FINAL = "checkpoint_latest.pth", "checkpoint_best.pth", "checkpoint_final.pth"


@dataclass(frozen=True)
class RunFolder:
    """`<model folder>/fold_<fold>`; plans, dataset.json and fingerprint lie beside the folds."""

    model: Path
    fold: int | str

    @property
    def path(self) -> Path:
        """The fold's folder."""
        return self.model / f"fold_{self.fold}"

    def checkpoint(self, name: str) -> Path:
        """The file of a checkpoint."""
        return self.path / name

    def resumable(self) -> Path | None:
        """The checkpoint to go on from: final, else latest, else best, as nnU-Net chooses."""
        paths = (self.checkpoint(name) for name in (FINAL, LATEST, BEST))
        return next((path for path in paths if path.is_file()), None)

    def prepare(self, config: ResolvedConfiguration, dataset: Dataset) -> None:
        """Make the folder, with copies of what the model was made from.

        Raises
        ------
        FileError
            The folder cannot be made or written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.model / "plans.json", config.plans.to_dict())
            write_json(self.model / DATASET_JSON, dataset.json.to_dict())
            fingerprint = Path(config.plans.source).parent / FINGERPRINT_JSON
            if fingerprint.is_file():
                shutil.copy(fingerprint, self.model / FINGERPRINT_JSON)
        except OSError as error:
            raise FileError(f"{self.path}: cannot be written to: {error.strerror}.") from None

    def write_debug(self, facts: Mapping[str, Any]) -> None:
        """debug.json: what a person wants to know of a run later, as strings."""
        write_json(self.path / "debug.json", {key: str(value) for key, value in facts.items()})

    def log(self, line: str) -> None:
        """Append a line to training_log.txt."""
        with (self.path / "training_log.txt").open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def record(self, figures: Mapping[str, Any]) -> None:
        """Append an object to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(figures) + "\n")
