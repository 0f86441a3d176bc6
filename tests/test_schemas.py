"""The committed JSON Schemas: up to date, valid, and true of real files."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from resenc_plans.plans.schema import schemas
from resenc_plans.study.document import results_schema
from resenc_plans.study.unattended.study_file import study_schema
from tests.plans.documents import CONFIGURATION, document, plans_files
from tests.study.report.made_comparison import made_comparison

SCHEMAS = {**schemas(), "results": results_schema(), "study": study_schema()}
FOLDER = Path(__file__).parent.parent / "schemas"


@pytest.mark.parametrize("name", SCHEMAS)
def test_committed_schemas_are_those_of_the_models(name: str) -> None:
    committed = json.loads((FOLDER / f"{name}.schema.json").read_text())
    assert committed == SCHEMAS[name], "run `make schemas`"


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_valid_and_describe_themselves(name: str) -> None:
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    undescribed = [
        key
        for key, value in schema["properties"].items()
        if not value.get("description") and "$ref" not in value
    ]
    assert undescribed == []


def test_every_plans_file_that_loads_fits_the_schema(shared: Path) -> None:
    validator = Draft202012Validator(schemas()["plans"])
    for path in plans_files(shared):
        errors = list(validator.iter_errors(json.loads(path.read_text(encoding="utf-8-sig"))))
        assert errors == [], path


def test_fingerprints_and_datasets_fit_theirs(shared: Path) -> None:
    for name, pattern in (("fingerprint", "*__fingerprint"), ("dataset", "*__dataset")):
        validator = Draft202012Validator(SCHEMAS[name])
        for path in shared.glob(f"oracle/planning/{pattern}.json"):
            assert list(validator.iter_errors(json.loads(path.read_text()))) == [], path


@pytest.mark.parametrize("class_name", ["ResidualEncoderUNet", "PlainConvUNet"])
def test_the_class_name_decides_what_an_architecture_needs(class_name: str) -> None:
    validator = Draft202012Validator(schemas()["plans"])
    architecture = {**CONFIGURATION["architecture"], "network_class_name": class_name}
    content = document(x={"architecture": architecture})
    fits = not list(validator.iter_errors(content))
    assert fits is (class_name == "ResidualEncoderUNet")
    architecture["network_class_name"] = f"mylab.{class_name}"
    assert not list(validator.iter_errors(document(x={"architecture": architecture})))


def test_wrong_types_do_not_fit() -> None:
    validator = Draft202012Validator(schemas()["plans"])
    for values in ({"batch_size": "2"}, {"patch_size": [1.5]}, {"inherits_from": 1}):
        assert list(validator.iter_errors(document(x=values))), values


def test_the_document_of_a_comparison_fits_its_schema(tmp_path: Path) -> None:
    validator = Draft202012Validator(results_schema())
    options: tuple[dict[str, Any], ...] = (
        {},
        {"margin": 0.01, "patients": r"\d$", "budgets": {"a|b": "3h"}},
    )
    for number, option in enumerate(options):
        document = made_comparison(tmp_path / str(number), **option).to_dict()
        assert list(validator.iter_errors(document)) == []
