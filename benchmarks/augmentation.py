"""Time to make a training batch: augmented by batchgeneratorsv2's transforms, or in batches.

    python benchmarks/augmentation.py [--batches 40] [--device cpu]

Patches of made-up cases in memory, on one thread; both ways make the same samples, in turn. Prints
milliseconds per batch for a process that loads data, and for the device that augments.
"""

import argparse
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from resenc_plans.datasets.labels import Labels
from resenc_plans.training.batches.device_augmentation import DeviceAugmentation
from resenc_plans.training.batches.drawn_samples import DrawnSamples
from resenc_plans.training.batches.samples import Samples
from resenc_plans.training.batches.source import PatchSource
from resenc_plans.training.ranks import split_batch

LABELS = Labels((0, 1, 2), None, None, None)
KINDS = {
    "3D, 64x64x64": ((64, 64, 64), 1, 2),
    "3D, 64x64x64, 4 channels": ((64, 64, 64), 4, 2),
    "anisotropic, 16x96x96": ((16, 96, 96), 1, 2),
    "2D, 192x192": ((192, 192), 1, 12),
}


class Cases:
    """Two cases of noise with a ball in each."""

    folder = "memory"

    def __init__(self, shape: tuple[int, ...], channels: int) -> None:
        random = np.random.default_rng(0)
        self.images = random.standard_normal((2, channels, *shape)).astype(np.float32)
        distance = sum(
            (axis - size / 2) ** 2
            for axis, size in zip(np.ogrid[tuple(map(slice, shape))], shape, strict=True)
        )
        ball = np.asarray(distance < (min(shape[1:]) / 4) ** 2, np.int16)
        self.labels = np.stack([ball, 2 * ball])[:, None]

    def arrays(self, case: str) -> tuple[Any, Any]:
        """Image and labels."""
        return self.images[int(case)], self.labels[int(case)]

    def class_locations(self, case: str) -> dict[Any, Any]:
        """The voxels of the ball."""
        label = int(case) + 1
        return {label: np.argwhere(self.labels[int(case)] == label)}


def source(patch: tuple[int, ...], channels: int, batch_size: int) -> PatchSource:
    shape = (3, 400, 400) if len(patch) == 2 else tuple(2 * size for size in patch)
    config: Any = SimpleNamespace(
        patch_size=patch,
        dim=len(patch),
        use_mask_for_norm=[False] * channels,
        previous_stage=None,
    )
    store: Any = Cases(shape, channels)
    share = split_batch(batch_size, 1, 0.33)[0]
    return PatchSource(
        store=store,
        config=config,
        labels=LABELS,
        cases=("0", "1"),
        share=share,
        purpose="training",
        seed=0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(1)
    for name, kind in KINDS.items():
        made = source(*kind)
        whole, drawn, augment = Samples(made), DrawnSamples(made), DeviceAugmentation(made, device)
        augment(drawn.batch(0))
        seconds = np.zeros(3)
        for number in range(options.batches):
            begun = time.process_time(), time.perf_counter()
            whole.batch(number)
            seconds[0] += time.process_time() - begun[0]
            begun = time.process_time(), time.perf_counter()
            batch = drawn.batch(number)
            seconds[1] += time.process_time() - begun[0]
            begun = time.process_time(), time.perf_counter()
            augment(batch)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            clock = time.perf_counter if device.type == "cuda" else time.process_time
            seconds[2] += clock() - begun[device.type == "cuda"]
        cpu, draw, do = 1000 * seconds / options.batches
        print(
            f"{name}, batch {kind[2]}: batchgeneratorsv2 {cpu:.1f} ms; drawn {draw:.1f} ms, on "
            f"{device} {do:.1f} ms: {cpu / (draw + do):.2f} times as fast, and the process that "
            f"loads does {draw / cpu:.0%} of the work",
            flush=True,
        )


if __name__ == "__main__":
    main()
