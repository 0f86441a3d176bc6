"""How a process ends, as a number: what scripts and schedulers go by."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of all commands; docs/README.md explains them to users."""

    DONE = 0
    """All is done, and checks found no error."""
    FAILED = 1
    """Something failed, be it one case of many, or a check found an error. The rest is done."""
    NOTHING_DONE = 2
    """The options or the input are of no use, or nothing could be written: nothing has changed."""
    FAULT = 70
    """A fault of ours (EX_SOFTWARE of sysexits.h)."""
    STOPPED = 75
    """Stopped, and can be resumed (EX_TEMPFAIL of sysexits.h)."""
    LOST = 76
    """Of a process that trains with others and ends because another one ended."""
    INTERRUPTED = 130
    """Ctrl-C where nothing is to be resumed (128 + SIGINT)."""
    TERMINATED = 143
    """SIGTERM where nothing is to be resumed (128 + SIGTERM)."""
