"""Where everything of a study lies: beside its study.json."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.files import make_folder, part_of_path, write_json
from resenc_plans.runs.model_folder import MODEL_JSON, ModelFolder
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.study.unattended.graph import Job, Piece, Run

RUNS = "runs"
STATE = "state"
PREPROCESSED_FOLDER = "preprocessed"
REPORT = "report"
_MAX_BYTES = 100
"""Of a job's name in that of a file, whose lock adds more."""


@dataclass(frozen=True)
class StudyPlaces:
    """The folders of a study, below the folder of its study.json."""

    root: Path

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.root / REPORT

    @property
    def state_folder(self) -> Path:
        """The folder of what is known of the pieces."""
        return self.root / STATE

    @property
    def lock_file(self) -> Path:
        """What tells other processes that one runs the study."""
        return self.root / ".study.lock"

    @property
    def owner(self) -> Path:
        """The file that says whose study's results lie here."""
        return self.state_folder / "study.json"

    @property
    def cluster_lock(self) -> Path:
        """What tells the jobs on a cluster that the run that they are of goes on."""
        return self.state_folder / ".cluster.lock"

    def preprocessed(self, dataset: str) -> Path:
        """The folder of a dataset's fingerprint, plans and stored cases."""
        return self.root / PREPROCESSED_FOLDER / part_of_path(dataset, "dataset")

    def plans(self, dataset: str, method: str) -> Path:
        """The plans of a method."""
        return self.preprocessed(dataset) / part_of_path(method, "method", ending=".plans.json")

    def expected_cost(self, dataset: str, method: str) -> Path:
        """What a training of the method is expected to take."""
        return self.preprocessed(dataset) / part_of_path(method, "method", ending=".cost.json")

    def method(self, run: Run) -> Path:
        """The folder of all runs of a method on a dataset."""
        return (
            self.root
            / RUNS
            / part_of_path(run.dataset, "dataset")
            / part_of_path(run.method, "method")
        )

    def model(self, run: Run) -> ModelFolder:
        """The folder of the folds of one seed."""
        return ModelFolder(self.method(run) / part_of_path(f"seed_{run.seed}", "seed"))

    def run(self, run: Run) -> RunFolder:
        """The folder of a training."""
        assert run.fold is not None, "it is trained"
        return self.model(run).run(run.fold)

    def name_model(self, run: Run, identifier: str) -> None:
        """Make the folder of a seed's folds, and say in it which model they are of."""
        model = self.model(run)
        make_folder(model.folder)
        write_json(model.folder / MODEL_JSON, {"identifier": identifier})

    def record(self, piece: Piece) -> Path:
        """The file that says how far a piece is."""
        run = piece.run
        folder = self.state_folder / part_of_path(run.dataset, "dataset")
        if run.method:
            folder /= part_of_path(run.method, "method")
        if run.seed is not None:
            folder /= part_of_path(f"seed_{run.seed}", "seed")
            folder /= part_of_path(f"fold_{run.fold}", "fold")
        return folder / part_of_path(piece.kind, "piece", ending=".json")

    def job_lock(self, job: Job) -> Path:
        """What tells other processes that one does the job."""
        return self.state_folder / part_of_path(f".{_as_part(job)}", "job", ending=".lock")

    def job_log(self, job: Job) -> Path:
        """What a job's process prints."""
        return self.state_folder / "logs" / part_of_path(_as_part(job), "job", ending=".log")

    def relative(self, path: Path) -> str:
        """A path as the report has it: below the study's folder, if it lies there."""
        whole, root = path.resolve(), self.root.resolve()
        return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else str(path)


def _as_part(job: Job) -> str:
    """The name of a job as that of a file; a long one is cut, and a digest tells it from others."""
    name = job.name.replace("/", "~")
    whole = name.encode()
    if len(whole) <= _MAX_BYTES:
        return name
    return whole[:_MAX_BYTES].decode(errors="ignore") + hashlib.sha256(whole).hexdigest()[:16]
