"""Check a JSON file of nnU-Net or of this package, whichever kind it is."""

from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import ValidationError

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.document_kind import (
    DATASET,
    FINGERPRINT,
    PLANS,
    PLANS_OF_NNUNET_1,
    SPLITS,
    STUDY,
    SUMMARY,
    kind_of,
)
from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import FileError, ResencPlansError
from resenc_plans.files import read_json
from resenc_plans.plans.checks.context import CheckNetwork
from resenc_plans.plans.checks.plans_file import FOREIGN_RULE, UNREADABLE_RULE, check_plans_file
from resenc_plans.plans.faults import SCHEMA_RULE, model_faults
from resenc_plans.plans.training_settings import (
    TrainingSettings,
    resembles_settings,
    setting_faults,
)


def check_file(
    file: Path, dataset: Dataset | None = None, *, check_network: CheckNetwork | None = None
) -> tuple[Finding, ...]:
    """The findings about a file, which is recognised by its keys.

    Known are plans (see `check_plans_file`, which `dataset` and `check_network` are for),
    dataset.json, fingerprints, splits_final.json, summary.json and settings of a training. Any
    other file, a study too, is a finding of `FOREIGN_RULE`, one that cannot be read of
    `UNREADABLE_RULE`.
    """
    try:
        document = read_json(file)
    except FileError as error:
        return (Finding(UNREADABLE_RULE, "error", _without(file, error)),)
    kind = kind_of(document)
    if kind == PLANS:
        return check_plans_file(file, dataset, check_network=check_network)
    if kind in _CHECKS:
        return tuple(_CHECKS[kind](document, file))
    if isinstance(document, dict) and resembles_settings(document):
        return tuple(_settings(document))
    message = (
        "is not one of the files that are checked: plans, dataset.json, fingerprints, "
        "splits_final.json, summary.json, settings of a training."
    )
    return (Finding(FOREIGN_RULE, "warning", message),)


def _old_plans(document: Any, file: Path) -> Iterator[Finding]:
    del document, file
    message = "is a plans file of nnU-Net 1. Plan the dataset again."
    yield Finding(SCHEMA_RULE, "error", message)


def _study(document: Any, file: Path) -> Iterator[Finding]:
    del document
    command = f"resenc-plans study check {quote(str(file))}"
    message = f"is a study, which has a check of its own: {command}"
    yield Finding(FOREIGN_RULE, "note", message)


def _dataset_json(document: Any, file: Path) -> Iterator[Finding]:
    try:
        DatasetJson.model_validate(document)
    except ValidationError as error:
        yield from model_faults(error)
        return
    yield from _refusal(lambda: Labels.from_dataset(DatasetJson.load(file)), file, "labels")


def _fingerprint(document: Any, file: Path) -> Iterator[Finding]:
    try:
        Fingerprint.model_validate(document)
    except ValidationError as error:
        yield from model_faults(error)
        return
    yield from _refusal(lambda: Fingerprint.load(file), file)


def _splits(document: Any, file: Path) -> Iterator[Finding]:
    from resenc_plans.datasets.splits import load_splits

    del document
    return _refusal(lambda: load_splits(file), file)


def _summary(document: Any, file: Path) -> Iterator[Finding]:
    from resenc_plans.evaluation.summary import Summary

    del document
    return _refusal(lambda: Summary.load(file), file)


def _settings(document: Any) -> Iterator[Finding]:
    try:
        TrainingSettings.model_validate(document)
    except ValidationError as error:
        for key, what in setting_faults(error):
            yield Finding(SCHEMA_RULE, "error", f"{what}.", key=key)


def _refusal(load: Callable[[], object], file: Path, key: str = "") -> Iterator[Finding]:
    """What a reader has against a file."""
    try:
        load()
    except ResencPlansError as error:
        yield Finding(SCHEMA_RULE, "error", _without(file, error), key=key)


def _without(file: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{file}: ").removeprefix(f"{file}, ")


_CHECKS: dict[str | None, Callable[[Any, Path], Iterator[Finding]]] = {
    PLANS_OF_NNUNET_1: _old_plans,
    DATASET: _dataset_json,
    FINGERPRINT: _fingerprint,
    SPLITS: _splits,
    SUMMARY: _summary,
    STUDY: _study,
}
