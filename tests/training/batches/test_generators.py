"""What is drawn depends on seed, purpose, batch and rank alone."""

import random
from itertools import product

import numpy as np
import torch

from resenc_plans.training.batches.generators import generators_kept, seed_sample, seed_step
from resenc_plans.training.batches.source import Purpose

CPU = torch.device("cpu")
PURPOSES: tuple[Purpose, ...] = ("training", "validation")


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def of_step(seed: int, purpose: Purpose, batch: int, rank: int) -> tuple[float, float, float]:
    seed_step(seed, purpose, batch, rank=rank, device=CPU)
    return drawn()


def of_sample(seed: int, purpose: Purpose, batch: int, sample: int) -> tuple[float, float, float]:
    seed_sample(seed, purpose, batch, sample)
    return drawn()


def test_seeds_purposes_batches_and_ranks_draw_other_numbers_and_each_the_same_again() -> None:
    keys = list(product((0, 1), PURPOSES, (0, 1, 250_000), (0, 1)))
    first = [of_step(*key) for key in keys] + [of_sample(*key) for key in keys]
    again = [of_step(*key) for key in keys] + [of_sample(*key) for key in keys]
    assert first == again
    for numbers in zip(*first, strict=True):
        assert len(set(numbers)) == 2 * len(keys)


def test_who_draws_in_between_changes_nothing() -> None:
    before = of_step(0, "training", 0, 0)
    seed_step(0, "training", 0, rank=0, device=CPU)
    with generators_kept():
        of_sample(0, "training", 0, 0)
    assert drawn() == before
