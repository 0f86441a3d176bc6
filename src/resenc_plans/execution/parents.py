"""Processes that end with the one that started them, whatever ends that."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that a process gets when its parent ends."""
_SECONDS_BETWEEN_LOOKS = 1.0


def end_with_parent(parent: int | None = None) -> None:
    """From now on, end this process as soon as its parent has ended, by whatever signal.

    On Linux the system kills it; elsewhere, and where a fork server started it, a thread waits for
    the parent's end. If the parent has ended before, this process ends now.

    Parameters
    ----------
    parent
        The parent's pid, as the parent has told it; by default that of the process that started
        this one by `multiprocessing`, and without such a process nothing is done.
    """
    by_multiprocessing = multiprocessing.parent_process()
    if parent is None:
        if by_multiprocessing is None or by_multiprocessing.pid is None:
            return
        parent = by_multiprocessing.pid
    if _dies_by_signal() and os.getppid() == parent:
        return
    threading.Thread(target=_wait_and_end, args=(parent,), daemon=True).start()


def _dies_by_signal() -> bool:
    """Ask Linux to kill this process when its parent ends; whether it will."""
    if sys.platform != "linux":
        return False
    prctl = ctypes.CDLL(None).prctl
    return bool(prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0)


def _wait_and_end(parent: int) -> None:
    by_multiprocessing = multiprocessing.parent_process()
    if by_multiprocessing is not None:
        by_multiprocessing.join()  # which reads from a pipe until the parent has closed it
    else:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
