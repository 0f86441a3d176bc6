"""What the names of files in a folder of images say about a wrong file_ending or channel number."""

from collections import Counter
from pathlib import Path

from resenc_plans.datasets.dataset import IMAGES, Dataset, file_names
from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.images.readers import READERS_BY_ENDING
from resenc_plans.folders import DATASET_JSON
from resenc_plans.reprs import listed
from resenc_plans.words import counted


def naming_fault(dataset: Dataset) -> Finding | None:
    """Why a dataset has no cases, or which files in imagesTr belong to none."""
    if dataset.cases and dataset.json.dataset is not None:
        return None
    ending = dataset.json.file_ending
    if not dataset.cases:
        others = other_endings(dataset.folder / IMAGES, ending)
        message = f"There are no training cases: no files {IMAGES}/CASE_0000{ending}."
        if others:
            message = (
                f"There are no training cases: file_ending is {ending}, but {IMAGES} holds "
                f"{others}. Correct file_ending in {DATASET_JSON}."
            )
        return Finding("no-cases", "error", message, path=dataset.folder)
    files = file_names(dataset.folder / IMAGES, ending)
    numbered = {path.name for case in dataset.cases for path in case.images}
    unnumbered = [file for file in files if file not in numbered]
    if not unnumbered:
        return None
    message = (
        f"{len(unnumbered)} of {counted(len(files), 'file')} in {IMAGES} have no channel number "
        f"({listed(unnumbered, 3)}). Rename them so that they end like case_0000{ending}."
    )
    return Finding("file-name", "error", message, path=dataset.folder / IMAGES)


def other_endings(folder: Path, ending: str) -> str:
    """How many images of other endings a folder holds, such as `20 .nii files`; empty if none."""
    counts = Counter(_image_ending(file) for file in file_names(folder, ""))
    counts.pop("", None)
    counts.pop(ending, None)
    return " and ".join(
        f"{count} {other} file{'s' * (count > 1)}" for other, count in counts.most_common()
    )


def _image_ending(file: str) -> str:
    """The ending of a file that a reader knows; empty for other files."""
    known = (ending for ending in READERS_BY_ENDING if file.lower().endswith(ending))
    return max(known, key=len, default="")
