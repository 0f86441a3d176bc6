"""Held-out cases spread over the processes that have trained together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resenc_plans.errors import TrainingError
from resenc_plans.evaluation.validation import CasePredictor
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.training.ranks import HostGroup, Ranks


@dataclass(frozen=True)
class SharedPredictor:
    """The first process's part of the work; the others `predict_share`."""

    predictor: CasePredictor
    ranks: Ranks

    def predict_cases(
        self, cases: Sequence[str], target: Path, /, *, probabilities: bool = False
    ) -> tuple[CaseProblem, ...]:
        """Write a segmentation of each case, of this process and the others; those that failed.

        Raises
        ------
        TrainingError
            Another process ended before its cases were predicted.
        """
        group = HostGroup(self.ranks)
        shares = _agreed_shares(tuple(cases), group, self.ranks)
        failed = list(self.predictor.predict_cases(shares[0], target, probabilities=probabilities))
        for rank in range(1, self.ranks.world):
            failed += _problems_of(rank, shares[rank], group)
        return tuple(sorted(failed, key=lambda problem: cases.index(problem.case)))


def predict_share(
    ranks: Ranks, checkpoint: Path, predict: Callable[[Sequence[str]], Sequence[CaseProblem]]
) -> None:
    """Predict the share of a process that is not the first one; called when that one predicts.

    A process that does not see the checkpoint, as on a machine with other folders, has no share.
    """
    group = HostGroup(ranks)
    shares = _agreed_shares(checkpoint.is_file(), group, ranks)
    failed = predict(shares[ranks.rank]) if shares[ranks.rank] else ()
    group.tell_first([(problem.case, problem.reason) for problem in failed])


def _agreed_shares(own: Any, group: HostGroup, ranks: Ranks) -> list[tuple[str, ...]]:
    """The cases of each process; the first one tells all, the others whether they can help."""
    told = group.exchange(own)
    helping = [rank for rank in range(ranks.world) if rank == 0 or told[rank]]
    return [
        told[0][helping.index(rank) :: len(helping)] if rank in helping else ()
        for rank in range(ranks.world)
    ]


def _problems_of(rank: int, cases: tuple[str, ...], group: HostGroup) -> list[CaseProblem]:
    try:
        told = group.hear(rank)
    except RuntimeError as error:  # of Gloo, whose connection was closed
        raise TrainingError(
            f"Rank {rank} ended before its held-out cases were predicted: {', '.join(cases)}. The "
            "training is complete; resume it to repeat the validation."
        ) from error
    return [CaseProblem(case, reason) for case, reason in told]
