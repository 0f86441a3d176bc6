"""`python -m resenc_plans` is the command line `resenc-plans`."""

import sys

from resenc_plans.execution.exit_codes import ExitCode


def main() -> None:
    """Run the command line; Ctrl-C while it is still being loaded ends it without a word."""
    try:
        from resenc_plans.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    main()
