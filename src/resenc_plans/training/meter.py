"""What a training takes while it runs: time, memory and energy, for cost.json."""

import math
import os
import platform
import sys
import time

import torch

from resenc_plans.errors import FileError
from resenc_plans.execution.gpus import energy_of, installed_gpus
from resenc_plans.runs.run_cost import COST_JSON, Session, load_cost, save_cost
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.ranks import Ranks


class Meter:
    """Counts from its making on; every rank has one, and the first one writes.

    `resumed` is whether the sessions that cost.json already holds belong to this run.
    """

    def __init__(self, folder: RunFolder, ranks: Ranks, *, epochs_done: int, resumed: bool) -> None:
        self._path, self._ranks, self._first_epoch = folder.path / COST_JSON, ranks, epochs_done
        self._begun = time.time()
        self._on_gpu = ranks.device.type == "cuda"
        self._uuid = _uuid(ranks.device) if self._on_gpu else None
        self._joules = self._energy()
        self._process_bytes: int | None = None
        self._asked_driver = False
        self._card_bytes = 0
        self._earlier: tuple[Session, ...] = ()
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats(ranks.device)
        if resumed and ranks.is_first and self._path.is_file():
            try:
                self._earlier = load_cost(self._path).sessions
            except FileError:
                self._earlier = ()  # the training matters more than its costs

    def record(self, *, epochs_done: int, is_end: bool) -> None:
        """Write what has been taken so far; all ranks call this.

        Raises
        ------
        FileError
            The file cannot be written.
        """
        [joules] = self._ranks.total([self._energy() - self._joules])
        if not self._ranks.is_first:
            return
        allocated = reserved = None
        device = self._ranks.device
        if self._on_gpu:
            allocated = torch.cuda.max_memory_allocated(device)
            reserved = torch.cuda.max_memory_reserved(device)
            free, total = torch.cuda.mem_get_info(device)
            self._card_bytes = max(self._card_bytes, total - free)
            if is_end or not self._asked_driver:
                self._asked_driver = True
                self._process_bytes = _memory_of_process() or self._process_bytes
        session = Session(
            begun=self._begun,
            ended=time.time(),
            first_epoch=self._first_epoch,
            epochs_done=epochs_done,
            device=str(device),
            device_name=torch.cuda.get_device_name(device) if self._on_gpu else _cpu_name(),
            ranks=self._ranks.world,
            torch=torch.__version__,
            allocated_bytes=allocated,
            reserved_bytes=reserved,
            process_bytes=self._process_bytes,
            card_bytes=self._card_bytes or None,
            host_bytes=_host_memory(),
            energy_joules=joules if math.isfinite(joules) else None,
        )
        save_cost(self._path, (*self._earlier, session))

    def _energy(self) -> float:
        """Of this rank's GPU; NaN where it is not known."""
        energy = None if self._uuid is None else energy_of(self._uuid)
        return math.nan if energy is None else energy


def _uuid(device: torch.device) -> str | None:
    """As the driver names a GPU; None where PyTorch does not know it."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else f"GPU-{str(uuid).removeprefix('GPU-')}"


def _memory_of_process() -> int | None:
    sizes = [
        process.memory_bytes
        for gpu in installed_gpus() or ()
        for process in gpu.processes
        if process.pid == os.getpid() and process.memory_bytes is not None
    ]
    return max(sizes, default=None)


def _host_memory() -> int | None:
    """The peak of this process's main memory in bytes; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpu_name() -> str:
    return platform.processor() or platform.machine()
