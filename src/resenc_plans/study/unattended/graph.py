"""What a study consists of: pieces, what each needs, and the jobs that do them.

A dataset is prepared by one job: its fingerprint, and plans and stored cases of each method. Each
training is a job with its prediction and evaluation. A piece needs those before it; a piece that
fails stops those that need it, and no others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import PurePosixPath
from typing import Literal

from resenc_plans.study.unattended.study_file import StudyFile

Kind = Literal["fingerprint", "plans", "preprocessing", "training", "prediction", "evaluation"]


@dataclass(frozen=True, order=True)
class Run:
    """One training of a method, or its predictions that were made elsewhere."""

    dataset: str
    method: str
    seed: int | None = None
    """None for predictions made elsewhere, as `fold`."""
    fold: int | None = None

    def __str__(self) -> str:
        parts = [self.dataset, self.method]
        if self.seed is not None:
            parts += [f"seed_{self.seed}", f"fold_{self.fold}"]
        return str(PurePosixPath(*parts))


@dataclass(frozen=True)
class Piece:
    """A part of a study that is done or not."""

    kind: Kind
    run: Run
    """Of a fingerprint, plans and stored cases only dataset and method count."""

    def __str__(self) -> str:
        what = self.run.dataset if self.kind == "fingerprint" else str(self.run)
        return f"{self.kind} of {what}"


@dataclass(frozen=True)
class Job:
    """Pieces that one process does, in order."""

    name: str
    """Such as prepare/Dataset004_Hippocampus, or run/<dataset>/<method>/seed_0/fold_0."""
    pieces: tuple[Piece, ...]
    needs: tuple[str, ...] = ()
    """The names of the jobs that come before it."""

    @property
    def is_run(self) -> bool:
        """Whether it is a training, or the evaluation of predictions."""
        return self.name.startswith("run/")


@dataclass(frozen=True)
class StudyGraph:
    """All pieces of a study, by what they need, and its jobs."""

    needs: dict[Piece, tuple[Piece, ...]]
    """In an order in which they can be done."""
    jobs: tuple[Job, ...]
    """In an order in which they can be done."""

    @classmethod
    def of(cls, study: StudyFile, datasets: Sequence[str]) -> "StudyGraph":
        """The graph of a study; `datasets` are the names of its datasets."""
        needs = {piece: before for name in datasets for piece, before in _pieces(study, name)}
        ordered = {piece: needs[piece] for piece in TopologicalSorter(needs).static_order()}
        jobs: list[Job] = []
        for name in datasets:
            of_dataset = [piece for piece in needs if piece.run.dataset == name]
            prepared = [one for one in of_dataset if _is_preparation(one)]
            preparation = Job(f"prepare/{name}", tuple(prepared))
            jobs += [preparation] if prepared else []
            for run in dict.fromkeys(one.run for one in of_dataset if not _is_preparation(one)):
                pieces = tuple(one for one in of_dataset if one.run == run and one not in prepared)
                jobs.append(
                    Job(f"run/{run}", pieces, () if run.seed is None else (preparation.name,))
                )
        return cls(ordered, tuple(sorted(jobs, key=lambda job: job.is_run)))

    @property
    def runs(self) -> tuple[Run, ...]:
        """The trainings, and the predictions made elsewhere."""
        return tuple(job.pieces[-1].run for job in self.jobs if job.is_run)


def _is_preparation(piece: Piece) -> bool:
    return piece.kind in ("fingerprint", "plans", "preprocessing")


def _pieces(study: StudyFile, dataset: str) -> Iterator[tuple[Piece, tuple[Piece, ...]]]:
    """The pieces for a dataset, and what each needs."""
    trained = [name for name, method in study.methods.items() if method.is_trained]
    fingerprint = Piece("fingerprint", Run(dataset, ""))
    if trained:
        yield fingerprint, ()
    for method in study.methods:
        if method not in trained:
            yield Piece("evaluation", Run(dataset, method)), ()
            continue
        plans, stored = (
            Piece("plans", Run(dataset, method)),
            Piece("preprocessing", Run(dataset, method)),
        )
        yield plans, (fingerprint,)
        yield stored, (plans,)
    for seed in study.seeds:
        for fold in study.folds:
            for method in trained:
                run = Run(dataset, method, seed, fold)
                training, prediction = Piece("training", run), Piece("prediction", run)
                yield training, (Piece("preprocessing", Run(dataset, method)),)
                yield prediction, (training,)
                yield Piece("evaluation", run), (prediction,)
