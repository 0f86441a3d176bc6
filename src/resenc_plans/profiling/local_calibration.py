"""Measurements of training steps on this machine's GPU, and the calibration that follows from them.

A measurement is kept with what was counted for the same step. From those of one GPU follows a line
with the published slope through their mean, and their common rate of bytes moved.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from resenc_plans.cost.calibration import PUBLISHED, Calibration
from resenc_plans.errors import FileError
from resenc_plans.files import make_folder, read_json, write_json

Bytes = Annotated[int, Field(gt=0, lt=2**63)]
Seconds = Annotated[float, Field(gt=0, lt=1e9)]


@dataclass(frozen=True)
class Measured:
    """Training steps of one configuration on a GPU, counted and measured; sizes in bytes."""

    gpu: str
    torch: str
    date: str
    """ISO 8601."""
    plans: str
    configuration: str
    batch_size: int
    patch_size: tuple[int, ...]
    counted_peak_bytes: Bytes
    counted_bytes_moved: Bytes
    allocated_bytes: Bytes
    reserved_bytes: Bytes
    used_bytes: Bytes
    """As nvidia-smi shows it."""
    seconds_per_step: Seconds


_MEASUREMENTS = TypeAdapter(tuple[Measured, ...])


def load_measurements(path: Path) -> tuple[Measured, ...]:
    """The measurements in a file, oldest first; none where there is no file.

    Raises
    ------
    FileError
        The file is damaged.
    """
    if not path.is_file():
        return ()
    try:
        return _MEASUREMENTS.validate_python(read_json(path))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise FileError(
            f"{path}: not a file of measurements ({where}: {fault['msg']}). Remove it, and measure "
            "again."
        ) from None


def add_measurement(path: Path, measured: Measured) -> tuple[Measured, ...]:
    """Append a measurement to the file; an older one of the same step on the same GPU goes."""
    others = [other for other in load_measurements(path) if _step(other) != _step(measured)]
    measurements = (*others, measured)
    make_folder(path.parent)
    write_json(path, [asdict(one) for one in measurements])
    return measurements


def calibrate(measurements: Sequence[Measured]) -> Calibration:
    """The calibration to the GPU that was measured last.

    Ranges are those of the published calibration, or as wide as the measurements scatter.
    """
    gpu = measurements[-1].gpu
    mine = [one for one in measurements if one.gpu == gpu]
    slope = PUBLISHED.memory_slope
    offset = fmean(_gib(one.used_bytes) - slope * _gib(one.counted_peak_bytes) for one in mine)
    rate = sum(one.counted_bytes_moved for one in mine) / sum(one.seconds_per_step for one in mine)
    memory_error = max(
        abs(slope * _gib(one.counted_peak_bytes) + offset - _gib(one.used_bytes))
        / _gib(one.used_bytes)
        for one in mine
    )
    hours_error = max(
        abs(one.counted_bytes_moved / rate / one.seconds_per_step - 1) for one in mine
    )
    return replace(
        PUBLISHED,
        name=gpu,
        source=f"{len(mine)} configuration{'s' * (len(mine) > 1)} measured on this machine, "
        f"last on {mine[-1].date[:10]}",
        memory_offset_gb=offset,
        memory_error=max(PUBLISHED.memory_error, memory_error),
        wider_memory_error=max(PUBLISHED.wider_memory_error, memory_error),
        bytes_per_second=rate,
        hours_error=max(PUBLISHED.hours_error, hours_error),
    )


def _step(one: Measured) -> tuple[object, ...]:
    return one.gpu, one.counted_peak_bytes, one.counted_bytes_moved


def _gib(size: int) -> float:
    return size / 2**30
