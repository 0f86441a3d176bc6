"""From counted tensors to what nvidia-smi shows and how long training takes, fitted to figures.

A counted peak leaves out what CUDA's context, cuDNN's workspaces and the allocator add. A straight
line stands for them. `benchmarks/fit_calibration.py` fits the values here and prints the residuals.
"""

from dataclasses import dataclass

from resenc_plans.reprs import rounded


@dataclass(frozen=True)
class Range:
    """A figure and how far off it may be."""

    low: float
    expected: float
    high: float

    def __str__(self) -> str:
        low, expected, high = (rounded(one, 2) for one in (self.low, self.expected, self.high))
        return f"{expected} ({low}-{high})"


@dataclass(frozen=True)
class Calibration:
    """What turns counts into figures, and where it comes from.

    Memory in GB is `memory_slope` times the counted peak in GiB, plus `memory_offset_gb`, since
    nvidia-smi prints GiB under the name of GB. `memory_error` and `hours_error` are relative, for
    networks like those that were fitted; `wider_memory_error` is for others of the same family.
    """

    name: str
    source: str
    memory_slope: float
    memory_offset_gb: float
    memory_error: float
    wider_memory_error: float
    bytes_per_second: float
    hours_error: float
    reference_bytes: float
    """Bytes that a training step of the default preset moves, the unit of relative time."""

    def memory_gb(self, low_bytes: int, high_bytes: int, *, is_alike: bool) -> Range:
        """What nvidia-smi may show where between `low_bytes` and `high_bytes` are counted."""
        error = self.memory_error if is_alike else self.wider_memory_error
        expected = self.expected_memory_gb(high_bytes)
        return Range(
            self.expected_memory_gb(low_bytes) * (1 - error), expected, expected * (1 + error)
        )

    def bytes_within(self, gpu_memory_gb: float, *, is_alike: bool) -> float:
        """The counted peak at which the upper bound of the memory is `gpu_memory_gb`."""
        error = self.memory_error if is_alike else self.wider_memory_error
        return (gpu_memory_gb / (1 + error) - self.memory_offset_gb) / self.memory_slope * 2**30

    def hours(self, bytes_moved: float, iterations: int) -> Range:
        """The time of so many training steps."""
        expected = bytes_moved * iterations / self.bytes_per_second / 3600
        return Range(expected * (1 - self.hours_error), expected, expected * (1 + self.hours_error))

    def expected_memory_gb(self, counted: float) -> float:
        """What nvidia-smi is expected to show where so many bytes are counted."""
        return self.memory_slope * counted / 2**30 + self.memory_offset_gb


PUBLISHED = Calibration(
    name="A100 40 GB, published presets",
    source="the four presets' memory and hours in nnU-Net Revisited, arXiv 2404.09556",
    memory_slope=1.0906,
    memory_offset_gb=2.2288,
    memory_error=0.1,
    wider_memory_error=0.2,
    bytes_per_second=3.809e11,
    hours_error=0.15,
    reference_bytes=4.716e10,
)
