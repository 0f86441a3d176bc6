"""SIGTERM as an exception, so that what has been begun is cleaned up as after Ctrl-C."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def raise_on_termination() -> Iterator[None]:
    """Raise SystemExit(143) within the block where SIGTERM would end the process.

    Only in the main thread can signals be handled; and a handler that is there is left alone.
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
    del frame
    raise SystemExit(128 + signum)
