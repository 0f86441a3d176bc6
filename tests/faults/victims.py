"""The commands that are killed, on data made for them: how far each is, and who is hit."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from resenc_plans.folders import (
    BEST_CHECKPOINT,
    FINAL_CHECKPOINT,
    GROUND_TRUTH,
    LATEST_CHECKPOINT,
    SUMMARY_JSON,
    VALIDATION,
)
from resenc_plans.plans.architectures import RESIDUAL_ENCODER_UNET
from resenc_plans.preprocessing.store.case_store import IMAGE, LABELS, OWN_FOLDER
from resenc_plans.runs.run_folder import METRICS
from tests.faults import marked_processes
from tests.faults.results import progress_of_checkpoint
from tests.networks.configurations import unet_arguments
from tests.preprocessing.datasets import make_dataset, plans

DATASET = "Dataset900_Made"
SMALL = {"n_blocks_per_stage": [1, 1], "features_per_stage": [4, 8]}
TRAINING = {
    "epochs": 3,
    "iterations": 12,
    "validation_iterations": 4,
    "precision": "fp32",
    "workers": 1,
}
FREQUENT = {"checkpoint_minutes": 1e-9}
RARE = {"checkpoint_epochs": 2}
"""How often checkpoints are written: after each batch, or after the first of three epochs on."""
RANK = "RANK"


@dataclass
class Job:
    """A command that runs in `place`, in a session of its own, with a mark on all its processes."""

    command: list[str]
    place: Path
    raw: Path
    token: str
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("nnUNet_")} | {
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.place / "preprocessed"),
            "nnUNet_results": str(self.place / "results"),
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
            marked_processes.MARK: self.token,
        }
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "resenc_plans", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def output(self) -> Path:
        """What it prints."""
        return self.place.with_suffix(".txt")


class Victim(Protocol):
    """A kind of command."""

    @property
    def kind(self) -> str:
        """Its name in the totals."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Who is killed, in turn."""

    def prepare(self, place: Path) -> None:
        """Put into a new folder what the command needs."""

    def command(self, place: Path, /, *, again: bool) -> list[str]:
        """Its arguments; `again` continues what was killed."""

    def milestone(self, place: Path) -> int | None:
        """How many of its files are there, of those that stay; None before the first write."""

    def weight(self, milestone: int, /, seconds: float) -> float:
        """How much of the course it is from a milestone to the next, which took so long."""

    def phase(self, place: Path) -> tuple[str, bool]:
        """Where a command was killed, and whether some of its results were there, but not all."""


@dataclass(frozen=True)
class Toys:
    """Small data, made once per campaign."""

    folder: Path
    cases: int

    @property
    def raw(self) -> Path:
        """The folder of raw datasets."""
        return self.folder / "raw"

    @property
    def plans(self) -> Path:
        """A preprocessed folder with plans only."""
        return self.folder / "plans" / DATASET

    def make(self) -> None:
        """Write the raw dataset and its plans."""
        make_dataset(self.raw, cases=self.cases)
        document = plans(patch_size=[16, 24, 24], batch_size=4)
        document["configurations"]["3d_fullres"]["architecture"] = {
            "network_class_name": RESIDUAL_ENCODER_UNET,
            "arch_kwargs": unet_arguments(3, 2, **SMALL),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
        self.plans.mkdir(parents=True)
        (self.plans / "nnUNetPlans.json").write_text(json.dumps(document))
        shutil.copy(self.raw / DATASET / "dataset.json", self.plans)

    def prerequisite(self, victim: "Victim", name: str) -> Path:
        """The folder that a victim leaves undisturbed; made if it does not exist."""
        place = self.folder / name
        if not place.is_dir():
            victim.prepare(place)
            job = Job(victim.command(place, again=False), place, self.raw, token=name)
            if job.process.wait() != 0:
                raise RuntimeError(job.output.read_text())
        return place


@dataclass(frozen=True)
class Preprocessing:
    """`preprocess` in two worker processes.

    Of its course, the time until the first case is a tenth, and the other files are equal parts,
    since starting the workers takes longer than the cases.
    """

    toys: Toys
    kind: str = "preprocess"
    targets: tuple[str, ...] = ("group", "main process")

    def prepare(self, place: Path) -> None:
        """See `Victim`."""
        shutil.copytree(self.toys.plans, place / "preprocessed" / DATASET)

    def command(self, _: Path, /, *, again: bool) -> list[str]:
        """See `Victim`."""
        del again  # it continues in any case
        return ["preprocess", "-d", "900", "--workers", "2"]

    def milestone(self, place: Path) -> int | None:
        """See `Victim`."""
        store = self._store(place)
        if not (store / OWN_FOLDER).is_dir():
            return None
        copies = store.parent / GROUND_TRUTH
        return sum(
            not entry.name.startswith(".")
            for folder in (store, copies)
            if folder.is_dir()
            for entry in os.scandir(folder)
        )

    def weight(self, milestone: int, /, seconds: float) -> float:
        """See `Victim`."""
        del seconds
        return 1.0 if milestone else 4 * self.toys.cases / 10

    def phase(self, place: Path) -> tuple[str, bool]:
        """See `Victim`."""
        stored = len(
            [path for path in self._store(place).glob(f"*{IMAGE}") if LABELS not in path.name]
        )
        if 0 < stored < self.toys.cases:
            return "some cases stored", True
        return "all cases stored" if stored else "no case stored", False

    def _store(self, place: Path) -> Path:
        return place / "preprocessed" / DATASET / "nnUNetPlans_3d_fullres"


@dataclass(frozen=True)
class Training:
    """`train` in one process, with one that loads data, and the final validation."""

    toys: Toys
    settings: Mapping[str, float]
    """What differs from `TRAINING`."""
    kind: str = "train"
    options: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("group", "main process")

    def prepare(self, place: Path) -> None:
        """See `Victim`."""
        stored = self.toys.prerequisite(Preprocessing(self.toys), "stored")
        shutil.copytree(stored / "preprocessed", place / "preprocessed")
        (place / "results").mkdir()
        (place / "settings.json").write_text(json.dumps({**TRAINING, **self.settings}))

    def command(self, place: Path, /, *, again: bool) -> list[str]:
        """See `Victim`."""
        settings = ["--settings", str(place / "settings.json"), "--device", "cpu"]
        resume = ["--resume"] if again else []
        return ["train", "900", "3d_fullres", "0", *settings, *self.options, *resume]

    def milestone(self, place: Path) -> int | None:
        """See `Victim`."""
        fold = next((place / "results").glob("*/*/fold_0"), None)
        if fold is None:
            return None
        checkpoints = (LATEST_CHECKPOINT, BEST_CHECKPOINT)
        has_begun = any((fold / name).is_file() for name in checkpoints)
        metrics, validation = fold / METRICS, fold / VALIDATION
        epochs = metrics.read_bytes().count(b"\n") if metrics.is_file() else 0
        is_trained = (fold / FINAL_CHECKPOINT).is_file()
        validated = len(list(validation.glob("[!.]*"))) if is_trained else 0
        return (has_begun or is_trained) + epochs + is_trained + validated

    def weight(self, _: int, /, seconds: float) -> float:
        """See `Victim`."""
        return seconds

    def phase(self, place: Path) -> tuple[str, bool]:
        """See `Victim`."""
        fold = next((place / "results").glob("*/*/fold_0"), None)
        if fold is None:
            return "before the first epoch", False
        if (fold / FINAL_CHECKPOINT).is_file():
            is_done = (fold / VALIDATION / SUMMARY_JSON).is_file()
            return ("end" if is_done else "final validation"), True
        if list(fold.glob(".*.tmp")):
            return "writing a file", True
        if not (fold / LATEST_CHECKPOINT).is_file():
            has_epoch = (fold / METRICS).is_file() and (fold / METRICS).stat().st_size > 0
            return ("a later epoch" if has_epoch else "first epoch"), has_epoch
        epochs, batches = progress_of_checkpoint(fold / LATEST_CHECKPOINT)
        if batches == TRAINING["iterations"]:
            return "validation of an epoch", True
        return ("a later epoch" if epochs else "first epoch"), True


def two_ranks(toys: Toys) -> Training:
    """`train --gpus 2` on the CPU."""
    return Training(
        toys,
        FREQUENT,
        kind="ranks",
        options=("--gpus", "2"),
        targets=("parent", "rank 0", "rank 1"),
    )


@dataclass(frozen=True)
class Prediction:
    """`predict` of all cases, with probabilities, continued by `--continue`."""

    toys: Toys
    kind: str = "predict"
    targets: tuple[str, ...] = ("group", "main process")

    def prepare(self, place: Path) -> None:
        """See `Victim`."""
        self._trained()
        place.mkdir()

    def command(self, place: Path, /, *, again: bool) -> list[str]:
        """See `Victim`."""
        [model] = (self._trained() / "results").glob("*/*")
        images = self.toys.raw / DATASET / "imagesTr"
        paths = ["-i", str(images), "-o", str(place / "predicted"), "-m", str(model)]
        options = ["--device", "cpu", "--precision", "fp32", "--probabilities"]
        return ["predict", *paths, *options, *(["--continue"] if again else [])]

    def milestone(self, place: Path) -> int | None:
        """See `Victim`."""
        folder = place / "predicted"
        return len(list(folder.glob("[!.]*"))) if folder.is_dir() else None

    def weight(self, _: int, /, seconds: float) -> float:
        """See `Victim`."""
        return seconds

    def phase(self, place: Path) -> tuple[str, bool]:
        """See `Victim`."""
        written = len(list((place / "predicted").glob("*.nii.gz")))
        if 0 < written < self.toys.cases:
            return "some cases written", True
        return "all cases written" if written else "no case written", False

    def _trained(self) -> Path:
        return self.toys.prerequisite(Training(self.toys, RARE), "trained")


def ranks(job: Job) -> dict[str, int]:
    """The pids of the ranks that a command has started, without what these have started."""
    pids = [
        pid
        for pid in marked_processes.find(job.token)
        if marked_processes.parent_of(pid) == job.process.pid
    ]
    return {rank: pid for pid in pids if (rank := marked_processes.value_of(pid, RANK)) is not None}
