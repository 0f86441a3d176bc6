"""What the trainings of a study take: estimated before they run, measured when they are done."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from resenc_plans.cost.calibration import PUBLISHED
from resenc_plans.cost.estimate import ITERATIONS, MIN_TIMED_STEP, estimate_cost
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import ConfigurationError, FileError
from resenc_plans.files import read_json, write_json
from resenc_plans.plans.configuration import ResolvedConfiguration, input_channels
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.run_cost import COST_JSON, RunCost, load_cost
from resenc_plans.study.budgets import Budget
from resenc_plans.study.unattended.methods import own_network
from resenc_plans.study.unattended.outcomes import RunResult
from resenc_plans.study.unattended.study_file import StudyMethod


@dataclass(frozen=True, kw_only=True)
class ExpectedCost:
    """What a method is expected to take on a GPU. Only parameters and operations are exact."""

    parameters: int
    flops: int
    """Floating-point operations of a training step, forward and backward."""
    gigabytes: float
    """Of GPU memory, as nvidia-smi shows it."""
    seconds_per_step: float
    """On an A100; an upper bound where `is_bound`."""
    is_bound: bool
    """Whether steps are so short that the time to load data decides."""

    def hours(self, settings: TrainingSettings) -> float:
        """Of one training."""
        return self.seconds_per_step * settings.epochs * settings.iterations / 3600

    def save(self, path: Path) -> None:
        """Write it as JSON.

        Raises
        ------
        FileError
            It cannot be written.
        """
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read what `save` wrote; None where there is none."""
        try:
            return TypeAdapter(cls).validate_python(read_json(path))
        except (FileError, ValidationError):
            return None


def expect_cost(
    method: StudyMethod,
    config: ResolvedConfiguration,
    dataset: Dataset,
    allow_import: Collection[str] = (),
) -> ExpectedCost:
    """What a training of a method is expected to take.

    nnU-Net's U-Nets are counted; a training step of any other network is traced without memory.

    Raises
    ------
    ConfigurationError, NetworkError
        The network cannot be built, or does not take the patch.
    """
    labels = dataset.labels
    channels, heads = input_channels(config, labels), labels.num_heads
    shortest = MIN_TIMED_STEP * PUBLISHED.hours(PUBLISHED.reference_bytes, ITERATIONS).expected
    hours: float | None
    if method.network is None:
        try:
            cost = estimate_cost(config, channels, heads, regions=labels.has_regions)
        except ConfigurationError:
            pass
        else:
            hours = None if cost.hours is None else cost.hours.expected
            return _expected(
                cost.parameters, cost.flops, cost.gpu_memory_gb.expected, hours, shortest
            )
    from resenc_plans.profiling.trace import trace_cost, trace_network
    from resenc_plans.training.defaults import default_loss

    if method.network is None:
        traced = trace_cost(
            config, channels, heads, regions=labels.has_regions, allow_import=allow_import
        )
    else:
        settings = TrainingSettings.model_validate(method.settings).over(config.training)
        network = own_network(method, config, dataset, allow_import)
        assert network is not None, "the method names one"
        traced = trace_network(
            lambda: network,
            (config.batch_size, channels, *config.patch_size),
            heads,
            default_loss(config, settings, regions=labels.has_regions),
            regions=labels.has_regions,
            settings=settings,
        )
    memory, hours = traced.expected_gpu_memory_gb, traced.expected_hours
    return _expected(traced.parameters, traced.flops, memory, hours, shortest)


def _expected(
    parameters: int, flops: int, gigabytes: float, hours: float | None, shortest: float
) -> ExpectedCost:
    return ExpectedCost(
        parameters=parameters,
        flops=flops,
        gigabytes=gigabytes,
        seconds_per_step=(shortest if hours is None else hours) * 3600 / ITERATIONS,
        is_bound=hours is None,
    )


@dataclass(frozen=True, kw_only=True)
class MethodCost:
    """What the trainings of a method on a dataset took, per training. None: not measured."""

    dataset: str
    method: str
    trainings: int
    """That recorded their cost."""
    hours: float | None
    """The mean."""
    allocated_gb: float | None
    """The most of any, as the next two."""
    reserved_gb: float | None
    process_gb: float | None
    """As nvidia-smi shows it."""
    energy_kwh: float | None
    """The mean."""
    device: str
    """Where they ran; empty where that is not known."""
    is_of_cpu: bool
    expected: ExpectedCost | None

    @property
    def gigabytes(self) -> tuple[float | None, bool]:
        """GPU memory, and whether it is measured rather than estimated."""
        measured = self.process_gb if self.process_gb is not None else self.reserved_gb
        if measured is not None:
            return measured, True
        return (None if self.expected is None else self.expected.gigabytes), False

    @property
    def budget(self) -> Budget | None:
        """What was measured, as `compare` takes it; None where nothing was."""
        gigabytes, is_measured = self.gigabytes
        if self.hours is None:
            return None
        return Budget(
            self.hours,
            gigabytes if is_measured else None,
            f"{COST_JSON}, {self.device}",
            is_of_cpu=self.is_of_cpu,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON."""
        return asdict(self)


def measured_cost(
    dataset: str, method: str, runs: Sequence[RunResult], expected: ExpectedCost | None
) -> MethodCost:
    """What the finished runs of a method on a dataset recorded.

    Raises
    ------
    FileError
        A cost.json is damaged.
    """
    costs = [cost for one in runs for cost in [_recorded(one)] if cost is not None]
    energies = [cost.energy_kwh for cost in costs if cost.energy_kwh is not None]
    session = costs[0].sessions[0] if costs else None
    return MethodCost(
        dataset=dataset,
        method=method,
        trainings=len(costs),
        hours=_mean([cost.gpu_hours for cost in costs]),
        allocated_gb=_peak(costs, "allocated"),
        reserved_gb=_peak(costs, "reserved"),
        process_gb=_peak(costs, "process"),
        energy_kwh=_mean(energies) if len(energies) == len(costs) else None,
        device=session.device_name if session is not None else "",
        is_of_cpu=session is not None and session.device == "cpu",
        expected=expected,
    )


def _recorded(one: RunResult) -> RunCost | None:
    model, fold = one.result.model, one.run.fold
    if model is None or fold is None:
        return None
    path = model.run(fold).path / COST_JSON
    cost = load_cost(path) if path.is_file() else None
    return cost if cost is not None and cost.sessions else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _peak(costs: Sequence[RunCost], kind: str) -> float | None:
    sizes = [size for cost in costs for size in [cost.peak(kind)] if size is not None]
    return max(sizes) / 2**30 if sizes else None
