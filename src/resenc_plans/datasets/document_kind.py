"""What kind of file a JSON document seems to be, by its keys."""

from typing import Any

PLANS, FINGERPRINT, SUMMARY, DATASET, SPLITS, PLANS_OF_NNUNET_1, STUDY = (
    "plans file",
    "dataset fingerprint",
    "summary.json",
    "dataset.json",
    "splits_final.json",
    "plans file of nnU-Net 1",
    "study.json",
)

_KEYS = {
    PLANS_OF_NNUNET_1: {"plans_per_stage"},
    PLANS: {"configurations", "plans_name"},
    FINGERPRINT: {"shapes_after_crop", "median_relative_size_after_cropping"},
    SUMMARY: {"metric_per_case", "foreground_mean"},
    DATASET: {"labels", "channel_names", "modality", "file_ending"},
    STUDY: {"methods"},
}
"""Keys of which one tells the kind; the first kind counts."""


def kind_of(document: Any) -> str | None:
    """The kind of a document, None where its keys tell none.

    >>> kind_of({"configurations": {}}), kind_of([{"train": []}]), kind_of({"answer": 42})
    ('plans file', 'splits_final.json', None)
    """
    if isinstance(document, dict):
        return next((kind for kind, keys in _KEYS.items() if keys & document.keys()), None)
    is_split = isinstance(document, list) and document and isinstance(document[0], dict)
    return SPLITS if is_split and document[0].keys() & {"train", "val"} else None
