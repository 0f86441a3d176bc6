"""Batches of patches from a store, made by worker processes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from resenc_plans.datasets.labels import Labels
from resenc_plans.plans.models import ResolvedConfiguration
from resenc_plans.preprocessing.store import CaseStore
from resenc_plans.training.batch import Batch, Batches

__all__ = ["Batch", "Batches", "PatchBatches", "training_batches", "validation_batches"]


class PatchBatches:
    """Batches of random patches of stored cases."""

    def batches(self, first: int, count: int) -> Iterator[Batch]:
        """The batches number `first` to `first + count - 1`, each a function of its number."""
        raise NotImplementedError

    def close(self) -> None:
        """End the worker processes."""


def training_batches(
    store: CaseStore,
    config: ResolvedConfiguration,
    labels: Labels,
    cases: Sequence[str],
    *,
    batch_size: int | None = None,
    rank: int = 0,
    world: int = 1,
    oversampled_foreground: float = 0.33,
    deep_supervision: bool = True,
    seed: int = 0,
    workers: int = 0,
    previous_stage: Path | None = None,
    mirror_axes: tuple[int, ...] | None = None,
    pin_memory: bool = False,
) -> PatchBatches:
    """This rank's share of augmented batches; `batch_size` is the global one (None: the plans')."""
    raise NotImplementedError


def validation_batches(
    store: CaseStore,
    config: ResolvedConfiguration,
    labels: Labels,
    cases: Sequence[str],
    *,
    batch_size: int | None = None,
    rank: int = 0,
    world: int = 1,
    oversampled_foreground: float = 0.33,
    deep_supervision: bool = True,
    seed: int = 0,
    workers: int = 0,
    previous_stage: Path | None = None,
    pin_memory: bool = False,
) -> PatchBatches:
    """This rank's share of batches that are not augmented."""
    raise NotImplementedError
