"""Starting the processes that train together on this machine, by torchrun's own launcher."""

import logging
import signal
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from resenc_plans.errors import ResencPlansError


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `python -m resenc_plans <arguments>` in so many processes; the exit code of the first.

    When one of them fails, the others are ended within seconds.

    Raises
    ------
    ResencPlansError
        A process failed, which is named.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
        signals_to_handle="SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
    )
    try:
        elastic_launch(config, sys.executable)("-m", "resenc_plans", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return int(failure.exitcode)
        name = signal.Signals(-failure.exitcode).name
        raise ResencPlansError(
            f"Rank {rank} (process {failure.pid}) was killed by {name}; the others were ended. "
            "Go on with --resume."
        ) from None
    except SignalException:
        return 75
    return 0
