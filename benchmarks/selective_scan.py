"""Time and memory of the selective scan in plain PyTorch, forward and backward, on the CPU.

    python benchmarks/selective_scan.py [STEPS ...]

64 channels, 16 states, a batch of one, float32; by default over 100,000 steps and over 2,097,152,
the full resolution of 128x128x128 in U-Mamba Enc. Each length has a process of its own, with as
many threads as there are CPUs. The memory is the most that the process holds beyond what torch and
this package take before the inputs are made: inputs, result and gradients are in it.
"""

import argparse
import os
import resource
import subprocess
import sys
from time import perf_counter

LENGTHS = (100_000, 128**3)
CHANNELS, STATES = 64, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("steps", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(options.only)
        return
    print(f"{'steps':>9}  forward  backward  memory beyond torch")
    for steps in options.steps:
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "--only", str(steps)], check=True)


def measure(steps: int) -> None:
    """One forward and one backward pass, after a short scan that warms up."""
    import torch

    from resenc_plans.networks.baselines.selective_scan import selective_scan

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)

    def inputs(length: int) -> list[torch.Tensor]:
        u, delta = torch.randn(1, CHANNELS, length), torch.rand(1, CHANNELS, length) / 10
        b, c = torch.randn(1, STATES, length), torch.randn(1, STATES, length)
        a, d = -1 - torch.rand(CHANNELS, STATES), torch.ones(CHANNELS)
        return [tensor.requires_grad_() for tensor in (u, delta, a, b, c, d)]

    selective_scan(*inputs(1000)).sum().backward()  # type: ignore[no-untyped-call]
    before = _most_memory()
    tensors = inputs(steps)
    start = perf_counter()
    y = selective_scan(*tensors)
    middle = perf_counter()
    y.backward(torch.ones_like(y))  # type: ignore[no-untyped-call]
    end = perf_counter()
    memory = (_most_memory() - before) / 2**30
    print(f"{steps:>9,}  {middle - start:5.2f} s  {end - middle:6.2f} s  {memory:.2f} GiB")


def _most_memory() -> int:
    """The most that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
