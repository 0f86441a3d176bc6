"""From a folder of images to a folder of segmentations."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.images.readers import READERS
from resenc_plans.datasets.images.segmentation_files import is_whole, npz_of, write_segmentation
from resenc_plans.errors import DatasetError, FileError
from resenc_plans.execution.pipeline import Pipeline
from resenc_plans.files import write_json
from resenc_plans.folders import DATASET_JSON
from resenc_plans.inference.export.case import export_case
from resenc_plans.inference.export.probabilities import write_probabilities
from resenc_plans.inference.input_cases import (
    InputCase,
    find_cases,
    part_of,
    read_case,
    read_previous,
)
from resenc_plans.inference.prediction_report import (
    PredictionProblem,
    PredictionProgress,
    PredictionReport,
)
from resenc_plans.inference.predictor import Predictor
from resenc_plans.runs.model_folder import PLANS_JSON

ARGUMENTS_JSON = "predict_from_raw_data_args.json"

Preprocessed = tuple[npt.NDArray[np.float32], dict[str, Any]]
Predicted = tuple[npt.NDArray[Any], dict[str, Any]]


def predict_folder(
    predictor: Predictor,
    inputs: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    part: tuple[int, int] = (1, 1),
    skip_existing: bool = False,
    probabilities: bool = False,
    previous_stage: str | os.PathLike[str] | None = None,
    workers: int = 1,
    on_progress: Callable[[PredictionProgress], None] | None = None,
) -> PredictionReport:
    """Segment all cases of a folder; a case that fails is reported, the others are done.

    Reading, the network and writing overlap; no more than three cases and one per worker are held.

    Parameters
    ----------
    predictor
        The model.
    inputs
        Holds CASE_0000.nii.gz and so on, one file per channel, with the dataset's file ending.
    output
        Gets CASE.nii.gz on the image's grid, and plans.json and dataset.json as nnU-Net puts
        them there for postprocessing and ensembles. Made if it is not there.
    part
        (k, n): only every n-th case from the k-th, k from 1.
    skip_existing
        Whether cases that `output` has, whole, are left as they are.
    probabilities
        Whether CASE.npz and CASE.pkl are written too.
    previous_stage
        In a cascade's second stage: the folder of the first stage's segmentations.
    workers
        Threads that read and preprocess, and as many that resample back and write.
    on_progress
        Called in this thread after each batch of tiles and each case.

    Raises
    ------
    FileError, DatasetError
        A folder is missing, empty or not writable, there is no such part, or `previous_stage` is
        missing or given for nothing.
    """
    model = predictor.model
    ending = model.dataset.file_ending
    source, target = Path(inputs), Path(output)
    previous = _previous_folder(predictor, previous_stage)
    chosen = part_of(find_cases(source, ending), part)
    if target.is_dir() and target.samefile(source):
        raise FileError(f"{target}: is the folder of the images. Name another output.")
    _write_run_files(predictor, source, target, part, skip_existing, probabilities, previous)
    reader = model.plan.document.image_reader_writer
    reader = reader if reader in READERS else None
    tell = on_progress or (lambda _: None)
    outcomes: dict[str, str | None] = {}
    finished: set[str] = set()
    remarks: list[str] = []

    def path_of(case: InputCase) -> Path:
        return target / f"{case.name}{ending}"

    def read(case: InputCase) -> Preprocessed:
        image = read_case(case, model.dataset.channels, reader, remarks.append)
        stage = None
        if previous is not None:
            stage = read_previous(previous, case.name, ending, reader).array[0]
        return predictor.preprocess(image.array, image.properties, stage)

    def predict(case: InputCase, read: Preprocessed) -> Predicted:
        def on_tile(done: int, tiles: int) -> None:
            tell(PredictionProgress(case.name, len(finished), len(todo), done, tiles))

        image, properties = read
        return predictor.predict_logits(image, on_tile).numpy(), properties

    def write(case: InputCase, predicted: Predicted) -> None:
        if probabilities:
            write_probabilities(npz_of(path_of(case)), *predicted, predictor.export_recipe)
        labels = export_case(*predicted, predictor.export_recipe)
        write_segmentation(labels, path_of(case), predicted[1])
        finished.add(case.name)

    done = {
        case
        for case in chosen
        if skip_existing and is_whole(path_of(case), probabilities=probabilities)
    }
    todo = [case for case in chosen if case not in done]
    for case, reason in Pipeline(read, predict, write, workers).run(todo):
        outcomes[case.name] = reason
        finished.add(case.name)
        tell(PredictionProgress(case.name, len(finished), len(todo), 0, 0))
    results = [(case.name, outcomes[case.name]) for case in todo]
    return PredictionReport(
        written=tuple(name for name, reason in results if reason is None),
        skipped=tuple(case.name for case in chosen if case in done),
        problems=tuple(PredictionProblem(name, why) for name, why in results if why is not None),
        remarks=tuple(sorted(remarks)),
    )


def _previous_folder(predictor: Predictor, folder: str | os.PathLike[str] | None) -> Path | None:
    config = predictor.model.config
    if config.previous_stage is None:
        if folder is not None:
            raise DatasetError(
                f"{config.name}: is no second stage of a cascade, so it takes no segmentations of "
                "a previous stage."
            )
        return None
    if folder is None:
        raise DatasetError(
            f"{config.name}: continues the segmentations of {config.previous_stage}. Predict with "
            "that first, then name its output folder (--previous)."
        )
    if not Path(folder).is_dir():
        raise FileError(f"{folder}: no such folder. Segmentations were expected there.")
    return Path(folder)


def _write_run_files(
    predictor: Predictor,
    source: Path,
    target: Path,
    part: tuple[int, int],
    skip_existing: bool,
    probabilities: bool,
    previous: Path | None,
) -> None:
    """Make the output folder, with the three files that nnU-Net puts there."""
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{target}: cannot be made: {error.strerror}.") from None
    write_json(target / PLANS_JSON, predictor.model.plan.to_dict())
    write_json(target / DATASET_JSON, predictor.model.dataset.to_dict())
    write_json(
        target / ARGUMENTS_JSON,
        {
            "list_of_lists_or_source_folder": str(source),
            "output_folder_or_list_of_truncated_output_files": str(target),
            "save_probabilities": probabilities,
            "overwrite": not skip_existing,
            "folder_with_segs_from_prev_stage": None if previous is None else str(previous),
            "num_parts": part[1],
            "part_id": part[0] - 1,
        },
    )
