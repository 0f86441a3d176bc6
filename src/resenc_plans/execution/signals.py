"""Signals: SIGTERM as an exception, and requests to stop that a run answers when it can."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from resenc_plans.execution.exit_codes import ExitCode

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name)
)

_SECONDS_OF_ONE_REQUEST = 1


class Terminated(SystemExit):
    """SIGTERM, where `raise_on_termination` has made an exception of it."""


@contextmanager
def raise_on_termination() -> Iterator[None]:
    """Within the block, SIGTERM raises `Terminated`, exit code 143, where it would end the process.

    What has begun is then cleaned up as after Ctrl-C. Outside the main thread, where signals cannot
    be handled, and where SIGTERM already has a handler, nothing changes.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    raise Terminated(ExitCode.TERMINATED)


class StopRequest:
    """A context in which signals do not end the process but ask it to stop.

    So does the end of a time budget. A second Ctrl-C ends the process at once, unless it comes
    within a second: then a launcher has passed on the first.
    """

    def __init__(self, max_minutes: float | None = None) -> None:
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._signal: int | None = None
        self._received = 0.0
        self._former_handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._former_handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)

    @property
    def reason(self) -> str | None:
        """Why to stop; None to continue."""
        if self._signal is not None:
            return f"{signal.Signals(self._signal).name} was received"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "the time budget is spent"
        return None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        is_repeated = number == signal.SIGINT and self._signal == signal.SIGINT
        if is_repeated and time.monotonic() - self._received > _SECONDS_OF_ONE_REQUEST:
            raise KeyboardInterrupt
        if not is_repeated:
            self._signal, self._received = number, time.monotonic()
