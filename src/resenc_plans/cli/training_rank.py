"""A process of `train --gpus`: `python -m resenc_plans.cli.training_rank JOB PARENT`."""

import sys
from functools import partial
from pathlib import Path

from resenc_plans.cli.ending import exit_code_of
from resenc_plans.cli.logs import configure_logging
from resenc_plans.cli.training_job import TOLD, TrainingJob, rank_prefix, run_job
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.execution.parents import end_with_parent


def main(path: Path) -> ExitCode:
    """Do the job of a file; the exit code."""
    try:
        job = TrainingJob.load(path)
        log_file = None if job.log_file is None else Path(job.log_file)
        configure_logging(verbose=job.verbose, log_file=log_file)
        code = run_job(job)
        if code is ExitCode.STOPPED:
            path.with_name(TOLD).touch()
        return code
    except KeyboardInterrupt:
        return ExitCode.STOPPED


def of_this_rank(message: str) -> str:
    """A message that says which of the processes it is of."""
    return rank_prefix() + message


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    sys.exit(exit_code_of(partial(main, Path(sys.argv[1])), said=of_this_rank))
