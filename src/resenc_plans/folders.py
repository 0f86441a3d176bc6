"""nnU-Net's folder conventions: where raw data, preprocessed data and results are."""

import os
import re
from pathlib import Path

from resenc_plans.errors import DatasetError
from resenc_plans.files import fault_of_part, inside, part_of_path, user_path
from resenc_plans.reprs import listed
from resenc_plans.words import suggestion

RAW = "nnUNet_raw"
PREPROCESSED = "nnUNet_preprocessed"
RESULTS = "nnUNet_results"

TRAINER_NAME = "nnUNetTrainer"
"""What our models call their trainer, so that nnU-Net reads them."""

DATASET_JSON = "dataset.json"
FINGERPRINT_JSON = "dataset_fingerprint.json"
SPLITS_JSON = "splits_final.json"
GROUND_TRUTH = "gt_segmentations"
"""The folder of reference segmentations in a preprocessed dataset."""

PLANS_JSON = "plans.json"
"""The plans in a model's folder; elsewhere the file is named after the plans."""
LATEST_CHECKPOINT, BEST_CHECKPOINT, FINAL_CHECKPOINT = (
    "checkpoint_latest.pth",
    "checkpoint_best.pth",
    "checkpoint_final.pth",
)
VALIDATION = "validation"
"""The folder of predictions of held-out cases, in a fold's folder."""
NEXT_STAGE = "predicted_next_stage"
"""The folder of the input of a cascade's next stage, in a model's folder."""
REPLACED = "replaced"
"""The folder of what newer trainings have replaced, in a dataset's folder of results."""
ENSEMBLES = "ensembles"
SUMMARY_JSON = "summary.json"
POSTPROCESSING_JSON, POSTPROCESSING_PKL = "postprocessing.json", "postprocessing.pkl"
INFERENCE_INFORMATION = "inference_information.json"
INFERENCE_INSTRUCTIONS = "inference_instructions.txt"

_DATASET_NAME = re.compile(r"Dataset(\d{3,})_.+")


def environment_folder(variable: str) -> Path | None:
    """The folder that an environment variable of nnU-Net names, None where it is not set.

    Raises
    ------
    DatasetError
        The variable is set, but names no folder.
    """
    value = os.environ.get(variable, "").strip().strip("'\"")
    if not value:
        return None
    folder = user_path(value)
    if not folder.is_dir():
        raise DatasetError(
            f"The environment variable {variable} is set to {value}, which is not a folder. "
            "Create the folder or correct the variable."
        )
    return folder


def dataset_id(name: str) -> int | None:
    """The number in a name such as Dataset004_Hippocampus, None where the name has none.

    >>> dataset_id("Dataset004_Hippocampus")
    4
    """
    match = _DATASET_NAME.fullmatch(name)
    return int(match[1]) if match else None


def datasets_of(text: str) -> tuple[str, ...]:
    """The datasets of a list of ids or names; none where the text is no such list.

    >>> datasets_of("4,501"), datasets_of("Dataset004_Hippocampus"), datasets_of("a, b")
    (('4', '501'), (), ())
    """
    parts = text.replace(",", " ").replace(";", " ").split()
    is_list = all(part.isdecimal() or dataset_id(part) is not None for part in parts)
    return tuple(parts) if is_list and len(parts) > 1 else ()


def find_dataset_folder(dataset: str, variable: str = RAW) -> Path:
    """The folder of a dataset by path, name (Dataset004_Hippocampus) or id (4).

    A path takes precedence if it holds a dataset.json; ids and names are looked up in the folder
    that the environment variable names.

    Raises
    ------
    DatasetError
        Nothing fits, or several folders have the same id.
    """
    path = user_path(dataset)
    if (path / DATASET_JSON).is_file():
        return path
    if path.is_dir() and len(path.parts) > 1:
        raise DatasetError(f"{path}: has no {DATASET_JSON}, so it is not a dataset.")
    if several := datasets_of(dataset):
        raise DatasetError(
            f"Dataset {dataset!r}: these are {len(several)}, and one at a time is taken. Give "
            f"{listed(several)} one after the other."
        )
    root = environment_folder(variable)
    if root is None:
        raise DatasetError(
            f"Dataset {dataset!r}: there is no such folder with a {DATASET_JSON}, and {variable} "
            f"is not set. Give the path of the dataset, or set {variable}."
        )
    if dataset.isdigit():
        number = int(dataset)
        folders = sorted(p for p in root.iterdir() if p.is_dir() and dataset_id(p.name) == number)
    else:
        is_name = fault_of_part(dataset) is None
        folders = [root / dataset] if is_name and (root / dataset).is_dir() else []
    if not folders:
        names = sorted(p.name for p in root.iterdir() if dataset_id(p.name))
        known = ", ".join(names[:10])
        raise DatasetError(
            f"Dataset {dataset!r}: not found in {root} ({variable}). "
            f"There is: {known or 'none'}.{suggestion(dataset, names)}"
        )
    if len(folders) > 1:
        raise DatasetError(
            f"Dataset {dataset}: several folders have this id: "
            f"{', '.join(p.name for p in folders)}. Rename all but one, or give the name."
        )
    return folders[0]


def find_preprocessed_folder(dataset: str) -> Path:
    """The folder that a dataset's plans lie in, of a dataset as `find_dataset_folder` takes it.

    It is in `nnUNet_preprocessed`, or the dataset's own folder where that variable is not set.

    Raises
    ------
    DatasetError
        There is no such dataset.
    """
    root = environment_folder(PREPROCESSED)
    folder = find_any_dataset_folder(dataset).resolve()
    return folder if root is None else root.resolve() / part_of_path(folder.name, "dataset")


def find_any_dataset_folder(dataset: str) -> Path:
    """The raw folder of a dataset, or its preprocessed one where there are no raw data.

    Raises
    ------
    DatasetError
        There is neither.
    """
    try:
        return find_dataset_folder(dataset, RAW)
    except DatasetError:
        if environment_folder(PREPROCESSED) is None:
            raise
        try:
            return find_dataset_folder(dataset, PREPROCESSED)
        except DatasetError:
            pass
        raise


def results_folder(
    results: str | os.PathLike[str] | None = None, *, preprocessed: Path | None = None
) -> Path:
    """The folder of all results: `results`, else `nnUNet_results`, else one beside the plans.

    Raises
    ------
    DatasetError
        None of the three is known.
    FileError
        The one beside the plans is a symbolic link that leads away from them.
    """
    if results is not None:
        return user_path(results)
    folder = environment_folder(RESULTS)
    if folder is None and preprocessed is not None:
        return inside(preprocessed, preprocessed / RESULTS)
    if folder is None:
        raise DatasetError(f"Set {RESULTS}, or name the results folder.")
    return folder
