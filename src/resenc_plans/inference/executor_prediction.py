"""Predicting a folder in parts, on any executor: processes here, or a Dask cluster."""

from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.inference.folder import predict_folder
from resenc_plans.inference.prediction_report import PredictionReport
from resenc_plans.inference.predictor import Predictor
from resenc_plans.runs.model_folder import FINAL_CHECKPOINT


@dataclass(frozen=True)
class PredictionJob:
    """A folder to predict; the fields are those of `Predictor.from_folder` and `predict_folder`.

    Paths must mean the same wherever the executor works.
    """

    model: Path
    inputs: Path
    output: Path
    folds: tuple[int | str, ...] | None = None
    checkpoint: str = FINAL_CHECKPOINT
    device: str | None = None
    precision: str | None = None
    mirroring: bool = True
    step_size: float = 0.5
    allow_import: tuple[str, ...] = ()
    probabilities: bool = False
    skip_existing: bool = False
    previous_stage: Path | None = None
    workers: int = 1

    def run(self, part: tuple[int, int]) -> PredictionReport:
        """Predict part k of n, k from 1."""
        predictor = Predictor.from_folder(
            self.model,
            self.folds,
            checkpoint=self.checkpoint,
            device=self.device,
            precision=self.precision,
            mirroring=self.mirroring,
            step_size=self.step_size,
            allow_import=self.allow_import,
        )
        return predict_folder(
            predictor,
            self.inputs,
            self.output,
            part=part,
            skip_existing=self.skip_existing,
            probabilities=self.probabilities,
            previous_stage=self.previous_stage,
            workers=self.workers,
        )


def predict_on(executor: Executor, job: PredictionJob, parts: int) -> PredictionReport:
    """Predict all cases in so many parts at a time; each part loads the model once.

    Raises
    ------
    ResencPlansError
        As `Predictor.from_folder` and `predict_folder`; the other parts are then not begun.
    """
    futures = [executor.submit(job.run, (number, parts)) for number in range(1, parts + 1)]
    try:
        reports = [future.result() for future in as_completed(futures)]
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return PredictionReport(
        tuple(sorted(case for report in reports for case in report.written)),
        tuple(sorted(case for report in reports for case in report.skipped)),
        tuple(problem for report in reports for problem in report.problems),
        tuple(sorted(remark for report in reports for remark in report.remarks)),
    )
