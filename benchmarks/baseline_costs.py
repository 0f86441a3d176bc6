"""What `cost` expects of the published systems, beside what nnU-Net Revisited found.

Each baseline that can be planned here is planned for a dataset like one of the study's six, and a
training step of its 3d_fullres traced, without memory. Prints the rows of the table in
docs/cost.md. A row takes some seconds to a minute.

    python benchmarks/baseline_costs.py [--dataset KiTS] [NAME ...]
"""

import argparse
import sys
from time import perf_counter

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.datasets.labels import Labels
from resenc_plans.planning.baselines.registry import baselines
from resenc_plans.planning.published import DATASETS
from resenc_plans.profiling.trace import trace_cost
from resenc_plans.reprs import numbers
from side_by_side import SHARED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=DATASETS, default="KiTS")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    folder = SHARED / "oracle" / "planning"
    fingerprint = Fingerprint.load(folder / f"{options.dataset}__fingerprint.json")
    dataset = DatasetJson.load(folder / f"{options.dataset}__dataset.json")
    channels, heads = len(dataset.channel_names), Labels.from_dataset(dataset).num_heads
    print("| | patch, batch | TFLOP | published (GB) | expected (GB) | residual |", end="")
    print(" published (hours) | expected (hours) | residual |")
    print("|---|---|---|---|---|---|---|---|---|")
    for baseline in baselines():
        published = baseline.published
        is_named = not options.names or baseline.name in options.names
        if published is None or baseline.missing or not is_named:
            continue
        start = perf_counter()
        config = baseline.create_plans(fingerprint, dataset).resolve("3d_fullres")
        cost = trace_cost(config, channels, heads)
        cells = [
            baseline.name,
            f"{numbers(config.patch_size)}, {config.batch_size}",
            f"{cost.flops / 1e12:.3g}",
            *_beside(published.vram_gb, cost.expected_gpu_memory_gb),
            *_beside(published.hours, cost.expected_hours),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
        print(f"{baseline.name}: {perf_counter() - start:.0f} s", file=sys.stderr)


def _beside(published: float, expected: float | None) -> tuple[str, str, str]:
    """A published figure, the expected one and the residual."""
    if expected is None:
        return f"{published:g}", "-", "-"
    return f"{published:g}", f"{expected:.1f}", f"{expected / published - 1:+.0%}"


if __name__ == "__main__":
    main()
