"""What the library logs, shown on stderr and kept in a file."""

import logging
from pathlib import Path

from resenc_plans.cli.render import note
from resenc_plans.errors import FileError

_STYLES = {logging.DEBUG: "dim", logging.INFO: "dim", logging.WARNING: "yellow"}


class StderrHandler(logging.Handler):
    """Shows a record as a note; its traceback only in detail."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to stderr."""
        text = self.format(record) if self.level <= logging.DEBUG else record.getMessage()
        note(text, style=_STYLES.get(record.levelno, "bold red"))


def log_file() -> Path | None:
    """The file that keeps what is logged, if there is one."""
    handlers = logging.getLogger("resenc_plans").handlers
    files = [Path(h.baseFilename) for h in handlers if isinstance(h, logging.FileHandler)]
    return files[0] if files else None


def shows_details() -> bool:
    """Whether tracebacks are shown on stderr."""
    handlers = logging.getLogger("resenc_plans").handlers
    return any(isinstance(h, StderrHandler) and h.level <= logging.DEBUG for h in handlers)


def configure_logging(*, verbose: bool = False, log_file: Path | None = None) -> None:
    """Show warnings, with `verbose` everything with tracebacks; keep everything in `log_file`.

    This replaces an earlier configuration; lines are appended to the file.

    Raises
    ------
    FileError
        The file cannot be written.
    """
    logger = logging.getLogger("resenc_plans")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    on_stderr = StderrHandler(logging.DEBUG if verbose else logging.WARNING)
    logger.addHandler(on_stderr)
    logger.setLevel(on_stderr.level)
    if log_file is not None:
        try:
            in_file = logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise FileError(f"{log_file}: cannot be written: {error.strerror}.") from None
        in_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(in_file)
        logger.setLevel(logging.DEBUG)
