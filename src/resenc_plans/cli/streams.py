"""stdout and stderr that outlast their reader, so that a closed pipe stops no work."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class _Lasting(io.FileIO):
    """A stream that drops what it cannot write, and knows why."""

    fault: OSError | None = None
    """None where all was written, or the reader has closed the pipe, as `head` does."""

    def write(self, data: Any) -> int:
        """Write, or drop."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EPIPE:
                self.fault = error
            return len(data)


@contextmanager
def lasting_streams() -> Iterator[Callable[[], OSError | None]]:
    """Within the block, nothing that is printed can fail; stdout and stderr may even be closed.

    Yields a function that flushes stdout and says why it could not be written.
    """
    former = sys.stdout, sys.stderr
    files = []
    for name in ("stdout", "stderr"):
        stream, file = _lasting(getattr(sys, name))
        setattr(sys, name, stream)
        files.append(file)

    def fault_of_stdout() -> OSError | None:
        sys.stdout.flush()
        return None if files[0] is None else files[0].fault

    try:
        yield fault_of_stdout
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = former


def _lasting(stream: Any) -> tuple[Any, _Lasting | None]:
    """The stream as one that lasts; one that is no file of the system, as in a notebook, stays."""
    if stream is None:  # closed before the process began
        return open(os.devnull, "w", encoding="utf-8"), None  # noqa: PTH123
    buffer = getattr(stream, "buffer", None)
    is_buffered = isinstance(getattr(buffer, "raw", None), io.FileIO)
    if not (is_buffered or isinstance(buffer, io.FileIO)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        return stream, None
    stream.flush()
    file = _Lasting(stream.fileno(), "wb", closefd=False)
    lasting = io.TextIOWrapper(
        io.BufferedWriter(file) if is_buffered else file,
        encoding=stream.encoding,
        errors="backslashreplace",  # names of files may be in no encoding at all
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    return lasting, file
