"""cost.json in a fold's folder: what a training took, in hours, memory and energy."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from resenc_plans.errors import FileError
from resenc_plans.files import read_json, write_json

COST_JSON = "cost.json"


@dataclass(frozen=True)
class Session:
    """What one process took between the start of `Trainer.fit` and its end, or its last epoch.

    Memory in bytes, its peak on the device of the first rank; None where it is not known.
    """

    begun: float
    """Seconds since 1970, as `ended`."""
    ended: float
    first_epoch: int
    """Counted from 0."""
    epochs_done: int
    """Of the whole run, at the end of the session."""
    device: str
    device_name: str
    """Such as NVIDIA H100 80GB HBM3."""
    ranks: int
    torch: str
    allocated_bytes: int | None
    """By tensors."""
    reserved_bytes: int | None
    """By PyTorch's allocator."""
    process_bytes: int | None
    """By this process, as nvidia-smi shows it; in most containers it shows no processes."""
    card_bytes: int | None
    """By all programs on the card."""
    host_bytes: int | None
    """Of main memory, by this process, without those that load data."""
    energy_joules: float | None
    """By the GPUs of all ranks, as NVML counts it: whatever ran on them."""


@dataclass(frozen=True)
class RunCost:
    """What a run took: its sessions, oldest first, and their sum."""

    sessions: tuple[Session, ...]

    @property
    def hours(self) -> float:
        """Of training, without the pauses between sessions, on all ranks together."""
        return sum(one.ended - one.begun for one in self.sessions) / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours times ranks."""
        return sum((one.ended - one.begun) * one.ranks for one in self.sessions) / 3600

    @property
    def energy_kwh(self) -> float | None:
        """None where it is not known of every session."""
        joules = [one.energy_joules for one in self.sessions]
        known = [energy for energy in joules if energy is not None]
        return sum(known) / 3.6e6 if len(known) == len(joules) else None

    def peak(self, kind: str) -> int | None:
        """The largest of all sessions: of `allocated`, `reserved`, `process`, `card` or `host`."""
        sizes = [getattr(one, f"{kind}_bytes") for one in self.sessions]
        return max((size for size in sizes if size is not None), default=None)


_SESSIONS = TypeAdapter(tuple[Session, ...])
_PEAKS = ("allocated", "reserved", "process", "card", "host")


def load_cost(path: Path) -> RunCost:
    """Read a cost.json.

    Raises
    ------
    FileError
        It cannot be read, or holds something else.
    """
    document = read_json(path)
    try:
        return RunCost(_SESSIONS.validate_python(document["sessions"]))
    except (KeyError, TypeError, ValidationError) as error:
        reason = str(error).partition("\n")[0]
        raise FileError(f"{path}: is not the cost of a training: {reason}.") from None


def save_cost(path: Path, sessions: Sequence[Session]) -> None:
    """Write sessions with their sums, whole or not at all."""
    cost = RunCost(tuple(sessions))
    sums = {"hours": cost.hours, "gpu_hours": cost.gpu_hours, "energy_kwh": cost.energy_kwh}
    peaks = {f"{kind}_bytes": cost.peak(kind) for kind in _PEAKS}
    write_json(path, sums | peaks | {"sessions": [asdict(one) for one in cost.sessions]})
