"""Commands that may be stopped: what they say then, and their exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from resenc_plans.cli.render import note
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.execution.signals import Terminated, raise_on_termination


@contextmanager
def resumable(advice: str) -> Iterator[None]:
    """Where Ctrl-C or SIGTERM stops the block, say how to resume and exit with STOPPED.

    Parameters
    ----------
    advice
        How to resume, as a sentence.
    """
    try:
        with raise_on_termination():
            yield
    except (KeyboardInterrupt, Terminated) as stop:
        name = "SIGTERM" if isinstance(stop, Terminated) else "Ctrl-C"
        note(f"Stopped by {name}. {advice}")
        raise typer.Exit(ExitCode.STOPPED) from None
