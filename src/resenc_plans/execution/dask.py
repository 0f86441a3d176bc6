"""A Dask cluster as an executor (extra `dask`)."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from resenc_plans.errors import UsageError, WorkerStartError


@contextmanager
def dask_executor(address: str, timeout: str = "10s") -> Iterator[Executor]:
    """The cluster whose scheduler is at `address` (tcp://host:8786), as an executor.

    Its workers must see the dataset and the output folder under the same paths, and have
    resenc-plans installed. Dask itself hands the work of a lost worker to another one.

    Raises
    ------
    UsageError
        The address is none.
    WorkerStartError
        Dask is not installed, or nothing answers at the address.
    """
    if "://" not in address:
        raise UsageError(f"`dask=` {address}: an address such as tcp://host:8786 is needed.")
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise WorkerStartError(
            "Dask is not installed. Run: pip install 'resenc-plans[dask]'"
        ) from None
    try:
        client = distributed.Client(address, timeout=timeout, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkerStartError(f"No Dask scheduler answers at {address}: {error}") from None
    with client:
        yield client.get_executor(pure=False)


def worker_count(executor: Any) -> int:
    """How many workers the cluster of `dask_executor` has now, at least 1."""
    client = executor._client
    return max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
