"""Fit `cost.calibration.PUBLISHED` to the presets' published memory and hours, with residuals.

The published figures are of one A100 40 GB (nnU-Net Revisited, arXiv 2404.09556): memory as
nvidia-smi shows it, hours as a mean over six datasets. The paper does not say on which dataset
memory was read, so counts are means over plans for datasets like those six. Run:
python benchmarks/fit_calibration.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean

from resenc_plans.cost.calibration import PUBLISHED
from resenc_plans.cost.estimate import ITERATIONS
from resenc_plans.cost.layers import layers_of
from resenc_plans.cost.training_step import StepMemory, simulate_training_step
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.planning.published import DATASETS, published_results
from resenc_plans.plans.plans import Plans
from side_by_side import SHARED

PLANS = {
    "default": "ExperimentPlanner__8",
    "M": "nnUNetPlannerResEncM__8",
    "L": "nnUNetPlannerResEncL__24",
    "XL": "nnUNetPlannerResEncXL__40",
}


@dataclass(frozen=True)
class Observation:
    """A preset's published figures, and the training steps of its plans for six datasets."""

    preset: str
    memory_gb: float
    hours: float
    steps: tuple[StepMemory, ...]

    @property
    def peak(self) -> float:
        """Mean counted peak in GiB."""
        return fmean(step.peak_bytes for step in self.steps) / 2**30

    @property
    def moved(self) -> float:
        """Mean bytes moved per step."""
        return fmean(step.bytes_moved for step in self.steps)


def observations() -> tuple[Observation, ...]:
    published = {result.preset: result for result in published_results() if result.preset}
    return tuple(
        Observation(
            preset,
            published[preset].vram_gb,
            published[preset].hours,
            tuple(_step(dataset, plans) for dataset in DATASETS),
        )
        for preset, plans in PLANS.items()
    )


def fit_memory(observed: Sequence[Observation]) -> tuple[float, float]:
    """Slope and offset with the least squared relative error."""
    weights = [1 / o.memory_gb**2 for o in observed]
    total = sum(weights)
    mean_x = sum(w * o.peak for w, o in zip(weights, observed, strict=True)) / total
    mean_y = sum(w * o.memory_gb for w, o in zip(weights, observed, strict=True)) / total
    covariance = sum(
        w * (o.peak - mean_x) * (o.memory_gb - mean_y)
        for w, o in zip(weights, observed, strict=True)
    )
    slope = covariance / sum(
        w * (o.peak - mean_x) ** 2 for w, o in zip(weights, observed, strict=True)
    )
    return slope, mean_y - slope * mean_x


def fit_bandwidth(observed: Sequence[Observation]) -> float:
    """Bytes per second: the geometric mean."""
    return exp(fmean(log(o.moved * ITERATIONS / (o.hours * 3600)) for o in observed))


def _step(dataset: str, plans: str) -> StepMemory:
    folder = SHARED / "oracle" / "planning"
    config = Plans.load(folder / f"{dataset}__{plans}.json").resolve("3d_fullres")
    described = DatasetJson.load(folder / f"{dataset}__dataset.json")
    heads = Labels.from_dataset(described).num_heads
    layers = layers_of(config, len(described.channel_names), heads)
    return simulate_training_step(layers, config.batch_size)


def main() -> None:
    observed = observations()
    slope, offset = fit_memory(observed)
    bandwidth = fit_bandwidth(observed)
    print(f"memory_slope={slope:.4f}, memory_offset_gb={offset:.4f}")
    print(f"bytes_per_second={bandwidth:.4g}, reference_bytes={observed[0].moved:.4g}")
    print(f"in use: {PUBLISHED}")
    print("preset  published  expected  residual  left out  by dataset")
    for left_out, o in enumerate(observed):
        rest = [*observed[:left_out], *observed[left_out + 1 :]]
        a, b = fit_memory(rest)
        expected, blind = slope * o.peak + offset, a * o.peak + b
        each = [(slope * s.peak_bytes / 2**30 + offset) / o.memory_gb - 1 for s in o.steps]
        print(
            f"{o.preset:8}{o.memory_gb:9.2f}{expected:10.2f}{expected / o.memory_gb - 1:+10.1%}"
            f"{blind / o.memory_gb - 1:+10.1%}  {min(each):+.1%} to {max(each):+.1%}"
        )
    for left_out, o in enumerate(observed):
        rest = [*observed[:left_out], *observed[left_out + 1 :]]
        hours, blind = (
            o.moved * ITERATIONS / rate / 3600 for rate in (bandwidth, fit_bandwidth(rest))
        )
        print(
            f"{o.preset:8}{o.hours:7.0f} h{hours:9.1f} h{hours / o.hours - 1:+9.1%}"
            f"{blind / o.hours - 1:+10.1%}"
        )


if __name__ == "__main__":
    main()
