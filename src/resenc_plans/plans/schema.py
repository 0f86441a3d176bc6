"""JSON Schemas (2020-12) of the files that this package reads, generated from the models."""

from typing import Any

from pydantic import BaseModel

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.plans.configuration import PlansDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_UNET = r"^(dynamic_network_architectures\.architectures\.(unet|residual_unet)\.)?{}$"


def schemas() -> dict[str, dict[str, Any]]:
    """The schemas by the name of the file that they describe: plans, dataset, fingerprint."""
    return {
        "plans": _with_typed_architectures(_schema(PlansDocument, "validation")),
        "dataset": _schema(DatasetJson, "validation"),
        "fingerprint": _schema(Fingerprint, "validation"),
    }


def _schema(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    return {"$schema": DIALECT, **model.model_json_schema(mode=mode, by_alias=True)}


def _with_typed_architectures(schema: dict[str, Any]) -> dict[str, Any]:
    """Let the class name decide which form an architecture must have.

    Pydantic writes "one of three forms", but the open form fits every network.
    """
    forms = schema["$defs"]
    configuration = forms["Configuration"]["properties"]["architecture"]
    configuration["anyOf"] = [{"$ref": "#/$defs/Architecture"}, {"type": "null"}]
    forms["Architecture"] = {
        "title": "Architecture",
        "if": _named("ResidualEncoderUNet"),
        "then": {"$ref": "#/$defs/ResidualEncoderUNetArchitecture"},
        "else": {
            "if": _named("PlainConvUNet"),
            "then": {"$ref": "#/$defs/PlainConvUNetArchitecture"},
            "else": {"$ref": "#/$defs/OtherArchitecture"},
        },
    }
    return schema


def _named(class_name: str) -> dict[str, Any]:
    return {
        "required": ["network_class_name"],
        "properties": {"network_class_name": {"pattern": _UNET.format(class_name)}},
    }
