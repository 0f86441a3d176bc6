"""Which of nnU-Net's image readers a dataset uses."""

from pathlib import Path

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.readers import READERS, READERS_BY_ENDING
from resenc_plans.errors import DatasetError


def reader_writer_name(dataset_json: DatasetJson, example_file: Path | None = None) -> str:
    """The reader that nnU-Net's `determine_reader_writer_from_dataset_json` picks.

    `overwrite_image_reader_writer` decides if nnU-Net has a reader of that name, or else the file
    ending. Of several readers of one ending, it is the first that can read `example_file`.

    Raises
    ------
    DatasetError
        No reader knows the file ending, or none can read the example.
    """
    named_reader = dataset_json.overwrite_image_reader_writer
    if named_reader in READERS:
        return named_reader
    candidates = READERS_BY_ENDING.get(dataset_json.file_ending.lower(), ())
    if not candidates:
        raise DatasetError(
            f"{dataset_json.source}, file_ending: there is no reader for "
            f"{dataset_json.file_ending!r}. Known endings: {', '.join(READERS_BY_ENDING)}."
        )
    if example_file is None or len(candidates) == 1:
        return candidates[0]
    from resenc_plans.datasets.images.images import can_read

    for name in candidates:
        if can_read(example_file, name):
            return name
    raise DatasetError(f"{example_file}: none of {', '.join(candidates)} can read this file.")
