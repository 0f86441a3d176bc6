"""Ending a run between two batches: signals, Ctrl-C, a time budget."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

from resenc_plans.training.ranks import Ranks

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name)
)
STOPPED = 75
"""Exit code of a run that was stopped and can go on with --resume (sysexits' EX_TEMPFAIL)."""
_SECONDS_OF_ONE_REQUEST = 1


class StopRequest:
    """While it is entered, signals do not end the process but are noted.

    A second Ctrl-C ends it at once, unless it comes so soon that the launcher passed on the first.
    """

    def __init__(self, max_minutes: float | None) -> None:
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._signal: int | None = None
        self._noted = 0.0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def reason(self, ranks: Ranks) -> str | None:
        """Why to stop, None to go on; all ranks get the same kind of answer."""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        [asked] = ranks.total([float(late or self._signal is not None)])
        if not asked:
            return None
        if self._signal is not None:
            return f"{signal.Signals(self._signal).name} was received"
        return "the time budget is spent" if late else "another rank was asked to stop"

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        is_again = number == signal.SIGINT and self._signal == signal.SIGINT
        if is_again and time.monotonic() - self._noted > _SECONDS_OF_ONE_REQUEST:
            raise KeyboardInterrupt
        if not is_again:
            self._signal, self._noted = number, time.monotonic()
