"""The processes that train together: torchrun's environment, or a world of one."""

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from resenc_plans.errors import ConfigurationError, DeviceError
from resenc_plans.networks.device import find_device, refuse_one_gpu
from resenc_plans.words import counted

OTHER_RANK_STOPS = "another rank was asked to stop"
_SECONDS_TO_RELEASE = 0.3
_DAYS_TO_WAIT = 7


@dataclass(frozen=True)
class Ranks:
    """Where a process stands among those that train together."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, through which gradients flow.

        All ranks must do the same with the sum, so that its gradient is the same everywhere: then
        theirs together are `world` times that of one, and nothing need be reduced again.
        """
        if self.world == 1:
            return tensor
        total: Tensor = _Sum.apply(tensor, self.world)  # type: ignore[no-untyped-call]
        return total

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks, of plain numbers."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def union(self, names: Collection[str]) -> set[str]:
        """The names that any rank has."""
        if self.world == 1:
            return set(names)
        of_ranks: list[Collection[str]] = [()] * self.world
        dist.all_gather_object(of_ranks, list(names))
        return {name for of_rank in of_ranks for name in of_rank}

    def refuse_batch_norm(self, network: nn.Module) -> None:
        """Make sure that the ranks can train a network together.

        Raises
        ------
        DeviceError
            It has batch normalisation, and there are several ranks on a CPU, where torch cannot
            synchronise statistics.
        """
        if self.world > 1 and self.device.type != "cuda" and _has_batch_norm(network):
            raise DeviceError(
                "The network has batch normalisation, whose statistics several processes share on "
                "CUDA only. Train in one process, or with InstanceNorm."
            )

    def synchronise_batch_norm(self, network: nn.Module) -> nn.Module:
        """The network, with batch normalisation over all ranks if it has any, as in nnU-Net.

        From then on it runs on CUDA only.
        """
        if self.world == 1 or not _has_batch_norm(network):
            return network
        convert = nn.SyncBatchNorm.convert_sync_batchnorm
        synchronised: nn.Module = convert(network)  # type: ignore[no-untyped-call]
        return synchronised

    def wait(self) -> None:
        """Return when all ranks have called this; no GPU takes part."""
        self.total([0.0])

    def take_device(self) -> None:
        """Make a GPU the current one of this process, which gives the process a context there."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)


def _has_batch_norm(network: nn.Module) -> bool:
    layers = nn.modules.batchnorm._BatchNorm
    return any(isinstance(part, layers) for part in network.modules())


class HostGroup:
    """What ranks say to one another beside the training, from host to host.

    One may wait for another for days, as collectives on GPUs may not.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._world = ranks.world
        self._group = dist.new_group(backend="gloo", timeout=timedelta(days=_DAYS_TO_WAIT))

    def exchange(self, own: Any) -> list[Any]:
        """What each process says; all do this at once."""
        said: list[Any] = [None] * self._world
        dist.all_gather_object(said, own, self._group)
        return said

    def tell_first(self, own: Any) -> None:
        """Return when the first process has heard it."""
        dist.send_object_list([own], 0, self._group)

    def hear(self, rank: int) -> Any:
        """What another process tells the first one.

        Raises
        ------
        RuntimeError
            It has ended.
        """
        said: list[Any] = [None]
        dist.recv_object_list(said, rank, self._group)
        return said[0]


class _Sum(torch.autograd.Function):
    """A sum over ranks whose gradient is the same on all of them."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, world: int) -> Tensor:
        ctx.world = world
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.world, None


@dataclass(frozen=True)
class RankShare:
    """The samples of the global batch that one rank works on."""

    first: int
    size: int
    foreground: int
    """How many of this rank's samples, the last ones, show foreground for certain."""

    @property
    def first_foreground(self) -> int:
        """The first of this rank's samples, counted from 0, that shows foreground for certain."""
        return self.size - self.foreground


def split_batch(batch_size: int, world: int, foreground_share: float) -> tuple[RankShare, ...]:
    """The share of each rank; those of lower rank get what is left over.

    `foreground_share` is that of the global batch, whose last samples show foreground.

    >>> [(share.size, share.first_foreground) for share in split_batch(5, 2, 0.33)]
    [(3, 3), (2, 0)]

    Raises
    ------
    ConfigurationError
        There are fewer samples than ranks.
    """
    if batch_size < world:
        raise ConfigurationError(
            f"A batch of {batch_size} cannot be split over {world} processes: each needs at least "
            f"one sample. Use fewer, or derive a configuration with a batch of {world} or more."
        )
    anywhere = round(batch_size * (1 - foreground_share))
    shares = []
    first = 0
    for rank in range(world):
        size = batch_size // world + (rank < batch_size % world)
        foreground = min(size, max(0, first + size - anywhere))
        shares.append(RankShare(first, size, foreground))
        first += size
    return tuple(shares)


ALONE = Ranks(0, 1, torch.device("cpu"))


def alone(device: str | torch.device | None) -> Ranks:
    """A process that trains by itself; None takes a GPU if there is one.

    Raises
    ------
    DeviceError
        There is no such device.
    """
    return Ranks(0, 1, find_device(device))


def world_size() -> int:
    """The number of processes that torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device_of_rank(name: str | None) -> torch.device:
    """The device of this process: as named, else CUDA where there is one, else the CPU.

    Under torchrun each process of a machine has its own CUDA device, by its local rank. Only one
    that is alone on its machine may be given another by name.

    Raises
    ------
    DeviceError
        There is no such device, or none of this rank, or the name is that of one GPU for several
        ranks.
    """
    if int(os.environ.get("LOCAL_WORLD_SIZE", world_size())) > 1:
        refuse_one_gpu(name)
    elif name is not None and ":" in name:
        return find_device(name)
    device = find_device(name)
    if device.type != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    rank, available = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if rank >= available:
        raise DeviceError(
            f"LOCAL_RANK is {rank}, so this process trains on cuda:{rank}, but PyTorch finds "
            f"{counted(available, 'GPU')}. Let each process see all GPUs of its machine: check "
            "CUDA_VISIBLE_DEVICES, and under SLURM request GPUs per node, not per task."
        )
    return torch.device("cuda", rank)


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun started, by Gloo; tensors on CUDA are exchanged by NCCL."""
    world = world_size()
    if world == 1:
        yield alone(device)
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), world, device)
    except BaseException:
        if device.type != "cuda":  # NCCL might wait for the others, which the launcher will end
            leave_ranks()
        raise
    leave_ranks()


def leave_ranks() -> None:
    """Destroy the process group, when Gloo's threads have released the last tensors.

    They need the interpreter for that, and the group's destructor waits for them without releasing
    it: on busy cores, a run sometimes hung for ever after its last epoch.
    """
    time.sleep(_SECONDS_TO_RELEASE)
    dist.destroy_process_group()


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether an operation over all ranks failed because one of them ended."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
