"""What a run over a folder of images tells, while it goes on and at its end."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PredictionProblem:
    """Why a case has no segmentation."""

    case: str
    reason: str


@dataclass(frozen=True)
class PredictionReport:
    """What became of all cases."""

    written: tuple[str, ...]
    skipped: tuple[str, ...]
    """Those that were there already."""
    problems: tuple[PredictionProblem, ...]
    remarks: tuple[str, ...] = ()
    """What a person should know of cases that were predicted nonetheless."""


@dataclass(frozen=True)
class PredictionProgress:
    """How far a run is."""

    case: str
    """The case in the network, or the one that is done."""
    cases_done: int
    cases: int
    """Cases of this run, without those that were there already."""
    tiles_done: int
    """Of the case in the network, in the fold that it is at."""
    tiles: int
    """0 where no case is in the network."""
