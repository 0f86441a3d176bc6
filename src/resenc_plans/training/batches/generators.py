"""The global generators of random numbers, seeded so that no state has to be kept.

What a network, a loss or an augmentation draws depends on the seed, the rank and the number of the
batch alone. So a run that resumes draws what an undisturbed one draws, on every rank.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from resenc_plans.training.batches.source import Purpose

_STREAMS: dict[Purpose, int] = {"training": 0, "validation": 1}
_STEPS, _NOISE = 1, 2
"""Tell these from samples: a fifth word of entropy makes another stream of the first four."""


def seed_sample(seed: int, purpose: Purpose, batch: int, sample: int) -> None:
    """Seed the generators of NumPy, torch (on the CPU) and Python for one sample of a batch."""
    _seed(np.random.SeedSequence((seed, _STREAMS[purpose], batch, sample)))


def seed_step(seed: int, purpose: Purpose, batch: int, *, rank: int, device: torch.device) -> None:
    """Seed these and the device's generator for what a rank does with one batch."""
    on_device = _seed(np.random.SeedSequence((seed, _STREAMS[purpose], batch, rank, _STEPS)))
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(on_device)
    elif device.type == "mps":
        torch.mps.manual_seed(on_device)


def noise_seed(seed: int, purpose: Purpose, batch: int, sample: int) -> int:
    """The seed of the noise that a device adds to a sample of a batch."""
    entropy = np.random.SeedSequence((seed, _STREAMS[purpose], batch, sample, _NOISE))
    return int(entropy.generate_state(1)[0])


@contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the global generators as they were, for who else draws from them in this process."""
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])


def _seed(entropy: np.random.SeedSequence) -> int:
    """Seed the generators of the CPU; returns a seed for another one."""
    state = entropy.generate_state(7)
    np.random.seed(state[:4])
    torch.default_generator.manual_seed(int(state[4]))
    random.seed(int(state[5]))
    return int(state[6])
