"""How a command ends: its errors become messages, and what it did becomes its exit code."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from resenc_plans.cli.render import note, print_commands
from resenc_plans.cli.streams import lasting_streams
from resenc_plans.errors import ResencPlansError, WorkerError, WorkerStartError
from resenc_plans.execution.changes import changes
from resenc_plans.execution.exit_codes import ExitCode

if TYPE_CHECKING:
    import logging

_ERROR = "bold red"


def exit_code_of(command: Callable[[], object], said: Callable[[str], str] = str) -> int:
    """Run a command, tell its errors on stderr, and return its exit code.

    Parameters
    ----------
    command
        Returns its exit code or None, or raises.
    said
        How a message of the library is said to a user of this command.
    """
    before = changes()
    with lasting_streams() as fault_of_stdout:
        try:
            code = _as_code(command())
        except SystemExit as end:
            code = _as_code(end.code)
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except Exception as error:
            code = _tell(error, said, is_changed=changes() > before)
        fault = fault_of_stdout()
        if fault is not None:
            note(f"Error: the result cannot be printed: {fault.strerror}.", style=_ERROR)
        return code if fault is None or code != ExitCode.DONE else ExitCode.FAILED


def _as_code(code: object) -> int:
    """As Python takes the argument of `sys.exit`."""
    if code is None or isinstance(code, int):
        return code or ExitCode.DONE
    note(str(code), style=_ERROR)
    return ExitCode.FAILED


def _tell(error: Exception, said: Callable[[str], str], *, is_changed: bool) -> ExitCode:
    message = _message(error)
    if message is None:
        _tell_fault(error)
        return ExitCode.FAULT
    _logger().debug("The command failed.", exc_info=error)
    note(f"Error: {said(message)}", style=_ERROR)
    if isinstance(error, ResencPlansError) and error.remedy is not None:
        from resenc_plans.cli.scope import command_of

        print_commands(f"Run:\n{command_of(error.remedy)}", error=True)
    is_loss = isinstance(error, WorkerError) and not isinstance(error, WorkerStartError)
    return ExitCode.FAILED if is_changed or is_loss else ExitCode.NOTHING_DONE


def _message(error: Exception) -> str | None:
    """What a user can do something about, in words; None where that is nothing."""
    if isinstance(error, ResencPlansError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory."
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}."
    return None


def _tell_fault(error: Exception) -> None:
    """The traceback goes to the log; it is on stderr where nobody keeps a log."""
    from resenc_plans.cli.logs import log_file, shows_details

    _logger().debug("A fault.", exc_info=error)
    kept = log_file()
    if kept is None and not shows_details():
        sys.excepthook(type(error), error, error.__traceback__)
    place = "above" if kept is None else f"in {kept}"
    note(
        f"Error: this is a fault of resenc-plans, not of your data: {type(error).__name__}: "
        f"{error}. Please report it with the traceback {place}.",
        style=_ERROR,
    )


def _logger() -> "logging.Logger":
    import logging

    return logging.getLogger(__name__)
