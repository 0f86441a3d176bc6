"""Starting the processes that train together on this machine, by torchrun's own launcher."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.execution.signals import STOP_SIGNALS

_SECONDS_TO_STOP = 600
"""How long processes have for their batch and the checkpoint, when they are asked to stop."""
_SECONDS_OF_ONE_FAULT = 5
"""Processes that fail by themselves do so at about the same time."""


@dataclass(frozen=True)
class End:
    """How processes ended."""

    code: ExitCode
    """FAILED: one of them did."""
    reason: str | None = None
    """A sentence; None where all is well."""


def launch(processes: int, module: str, *arguments: str) -> End:
    """Run `python -m <module> <arguments> <pid of this process>` in so many processes.

    By the pid, they can end when this process does (`end_with_parent`). When one of them fails, the
    others are ended within seconds. The launcher logs nothing: that one was stopped is no error.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):  # each has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_SECONDS_TO_STOP))
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
        elastic_launch(config, sys.executable)("-m", module, *arguments, str(os.getpid()))
    except ChildFailedError as error:
        return end_of(error.failures)
    except SignalException as error:
        if error.sigval in STOP_SIGNALS:
            return End(ExitCode.STOPPED, f"Stopped by {error.sigval.name}.")
        return End(ExitCode.FAILED, f"{error.sigval.name} was received.")
    return End(ExitCode.DONE)


def end_of(failures: Mapping[int, ProcessFailure]) -> End:
    """What ended processes of which some, by their rank, did not end well.

    Those that were ended by the launcher, or ended for the loss of another, are not the cause.
    """
    codes = {failure.exitcode for failure in failures.values()}
    if ExitCode.STOPPED in codes:
        return End(ExitCode.STOPPED, "Stopped.")
    first = min((failure.timestamp for failure in failures.values()), default=0)
    causes = [
        f"rank {rank} (process {failure.pid}) {_what_happened(failure.exitcode)}"
        for rank, failure in sorted(failures.items(), key=lambda item: item[1].timestamp)
        if failure.exitcode not in (ExitCode.LOST, -signal.SIGTERM) and not _is_end(failure, first)
    ]
    if not causes:
        if codes == {-signal.SIGTERM}:
            return End(ExitCode.STOPPED, "Stopped by SIGTERM.")
        return End(ExitCode.FAILED, "The processes lost one another, and all have ended.")
    text = ", ".join(causes)
    code = ExitCode.FAULT if ExitCode.FAULT in codes else ExitCode.FAILED
    return End(code, f"{text[0].upper()}{text[1:]}; all were ended.")


def _is_end(failure: ProcessFailure, first: int) -> bool:
    """Whether the launcher, or NCCL's watchdog, ended a process that did not notice the first."""
    ends = (-signal.SIGKILL, -signal.SIGABRT)
    return failure.exitcode in ends and failure.timestamp > first + _SECONDS_OF_ONE_FAULT


def _what_happened(exitcode: int) -> str:
    if exitcode < 0:
        return f"was killed by {signal.Signals(-exitcode).name}"
    return f"failed with exit code {exitcode}, its error is above"
