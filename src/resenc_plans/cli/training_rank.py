"""A process of `train --gpus`: `python -m resenc_plans.cli.training_rank JOB PARENT`."""

import sys
from pathlib import Path

from resenc_plans.cli.logs import configure_logging
from resenc_plans.cli.render import note
from resenc_plans.cli.training_job import TrainingJob, run_job
from resenc_plans.errors import ResencPlansError
from resenc_plans.execution.parents import end_with_parent
from resenc_plans.execution.signals import INTERRUPTED


def main(path: Path) -> int:
    """Do the job of a file; the exit code."""
    try:
        job = TrainingJob.load(path)
        log_file = None if job.log_file is None else Path(job.log_file)
        configure_logging(verbose=job.verbose, log_file=log_file)
        return run_job(job)
    except ResencPlansError as error:
        note(f"Error: {error}", style="bold red")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    sys.exit(main(Path(sys.argv[1])))
