"""Check a plans file: that it can be read, its schema, and the rules beyond it."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.errors import FileError, PlansError, ResencPlansError
from resenc_plans.files import read_json
from resenc_plans.folders import DATASET_JSON, FINGERPRINT_JSON
from resenc_plans.plans.checks.context import CheckNetwork
from resenc_plans.plans.configuration import PlansDocument
from resenc_plans.plans.faults import SCHEMA_RULE, model_faults, schema_faults
from resenc_plans.plans.plans import Plans

UNREADABLE_RULE = "S000"
FOREIGN_RULE = "S002"


def check_plans_file(
    file: Path, dataset: Dataset | None = None, *, check_network: CheckNetwork | None = None
) -> tuple[Finding, ...]:
    """The findings about a plans file: of the JSON Schema first, then of the rules beyond it.

    The fingerprint beside the file is used, and without `dataset` the dataset.json beside it. A
    file that cannot be read is a finding of `UNREADABLE_RULE`. `check_network` is that of
    `Plans.validate_rules`.
    """
    try:
        document = read_json(file)
    except FileError as error:
        return (Finding(UNREADABLE_RULE, "error", _without(file, error)),)
    faults = list(schema_faults(document))
    if dataset is None and (file.parent / DATASET_JSON).is_file():
        try:
            dataset = Dataset.load(file.parent)
        except ResencPlansError as error:
            faults.append(Finding(UNREADABLE_RULE, "error", str(error), key=DATASET_JSON))
    if not isinstance(document, dict):
        return tuple(faults)
    try:
        plan = Plans.from_dict(document, path=file)
    except PlansError as error:
        return tuple(faults) or _unfit(document) or (_refusal(file, error),)
    fingerprint = None
    if (file.parent / FINGERPRINT_JSON).is_file():
        try:
            fingerprint = Fingerprint.load(file.parent / FINGERPRINT_JSON)
        except ResencPlansError as error:
            faults.append(Finding(UNREADABLE_RULE, "error", str(error), key=FINGERPRINT_JSON))
    findings = plan.validate_rules(dataset, fingerprint=fingerprint, check_network=check_network)
    return (*faults, *findings)


def _unfit(document: dict[str, Any]) -> tuple[Finding, ...]:
    """What only the types have against plans, such as 2.0, which a JSON Schema calls an integer."""
    try:
        PlansDocument.model_validate(document)
    except ValidationError as error:
        return model_faults(error, document.get("configurations", ()))
    return ()


def _refusal(file: Path, error: Exception) -> Finding:
    return Finding(SCHEMA_RULE, "error", _without(file, error))


def _without(file: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{file}: ")
