"""Final validation: predict the cases that a fold held out, and score them."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from resenc_plans.datasets.dataset import Case
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import DatasetError
from resenc_plans.evaluation.folders import Evaluation, Question, evaluate_folder
from resenc_plans.folders import DATASET_JSON


class FolderPredictor(Protocol):
    """What predicts a folder of images, such as `resenc_plans.inference.Predictor`."""

    def predict_folder(self, source: Path, target: Path, /, *, probabilities: bool = False) -> Any:
        """Write a segmentation into `target` for every case in `source` (files CASE_0000, …)."""


def validate_fold(
    model_folder: str | os.PathLike[str],
    fold: int | str,
    cases: Sequence[Case],
    references: str | os.PathLike[str],
    predictor: FolderPredictor,
    *,
    probabilities: bool = False,
    workers: int | None = None,
    on_case: Callable[[str], object] = lambda _: None,
) -> Evaluation:
    """Predict held-out cases into `fold_X/validation`, and write summary.json there.

    This is nnU-Net's `perform_actual_validation`. `summary.json` holds the cases given here and no
    others that lie in the folder. A case whose images cannot be used is passed over by the
    predictor, and is among the result's problems.

    Parameters
    ----------
    model_folder
        `TRAINER__PLANS__CONFIGURATION`, with dataset.json.
    fold
        Its number, or "all".
    cases
        The held-out cases with their image files.
    references
        The folder of their segmentations, such as `gt_segmentations` of the preprocessed data.
    predictor
        It has loaded this fold's checkpoint.
    probabilities
        Whether probabilities are kept too, as ensembles need them.
    workers
        Threads that score.
    on_case
        Called with the file name of each case that is scored.

    Raises
    ------
    DatasetError
        There is no case, or nothing could be predicted.
    """
    if not cases:
        raise DatasetError(f"Fold {fold}: holds out no case, so there is nothing to validate on.")
    dataset_json = DatasetJson.load(Path(model_folder) / DATASET_JSON)
    ending = dataset_json.file_ending
    target = Path(model_folder) / f"fold_{fold}" / "validation"
    target.mkdir(parents=True, exist_ok=True)
    names = [case.name + ending for case in cases]
    for name in names:
        (target / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="resenc-plans-validation-") as folder:
        for case in cases:
            _offer(case, Path(folder), ending)
        predictor.predict_folder(Path(folder), target, probabilities=probabilities)
    question = Question.of_dataset(dataset_json, cases[0].images[0] if cases[0].images else None)
    found = evaluate_folder(
        target, references, question, names=names, workers=workers, on_case=on_case
    )
    if found.summary is not None:
        found.summary.save(target / "summary.json")
    return found


def _offer(case: Case, folder: Path, ending: str) -> None:
    """Put a case's files into a folder under the names that a predictor expects."""
    for channel, image in enumerate(case.images):
        _link(image, folder / f"{case.name}_{channel:04d}{ending}")
    for image in case.images[:1]:
        spacing = image.with_name(f"{case.name}.json")
        if spacing.is_file():
            _link(spacing, folder / spacing.name)


def _link(file: Path, name: Path) -> None:
    """A link where the system allows it, or else a copy; a file that is missing stays missing."""
    try:
        name.symlink_to(file.resolve())
    except OSError:
        with suppress(FileNotFoundError):
            shutil.copy(file, name)
