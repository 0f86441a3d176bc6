"""study.json: what is read of it, and what is refused in words."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from resenc_plans.errors import FileError, StudyError
from resenc_plans.study.unattended.study_file import StudyFile, study_schema
from tests.study.unattended.made_study import study_document

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"fods": [1]}, r"fods is unknown \(did you mean folds\?\)"),
    "no source": ({"methods": {"a": {}, "b": {"preset": "M"}}}, "methods.a .*it has none"),
    "two sources": (
        {"methods": {"a": {"preset": "M", "plans": "x.json"}, "b": {"preset": "M"}}},
        "it has preset and plans",
    ),
    "a setting": (
        {"methods": {"a": {"preset": "M", "settings": {"epoch": 3}}, "b": {"preset": "L"}}},
        r"methods\.a\.settings\.epoch is unknown \(did you mean epochs\?\)",
    ),
    "a folder": ({"methods": {"a/b": {"preset": "M"}, "b": {"preset": "M"}}}, "has a slash"),
    "two underscores": ({"methods": {"a__b": {"preset": "M"}, "b": {"preset": "M"}}}, "one _ at"),
    "case": ({"methods": {"a": {"preset": "M"}, "A": {"preset": "M"}}}, "case of letters"),
    "one method": ({"methods": {"a": {"preset": "M"}}}, "methods"),
    "a setting of all": ({"training": {"epoch": 3}}, r"training\.epoch .*mean epochs\?"),
    "a key of a setting": (
        {"training": {"optimizer": {"name": "SGD", "momentun": 0.9}}},
        r"training\.optimizer\.momentun is unknown \(did you mean momentum\?\)",
    ),
    "a name in a union": (
        {"training": {"optimizer": {"name": "AdaW"}}},
        r"training\.optimizer must .*'SGD', 'Adam', .* not 'AdaW' \(did you mean AdamW\?\)",
    ),
    "no object in a union": (
        {"training": {"optimizer": "SGD"}},
        "optimizer must be an object with a name that is one of 'SGD', 'Adam', .* not 'SGD'",
    ),
    "a value": ({"missing": "omitt"}, r"missing must be 'omit' or .*\(did you mean omit\?\)"),
    "a metric": (
        {"metrics": ["Dice", "HD59"]},
        r"metrics\[1\] must be 'Dice', .*, not 'HD59' \(did you mean HD95\?\)",
    ),
    "primary": (
        {"metrics": ["Dice", "HD95"], "primary": "hd95"},
        r"primary 'hd95' is none of metrics \(did you mean HD95\?\)",
    ),
    "a key of a method": (
        {"methods": {"a": {"preset": "M", "change": {}}, "b": {"preset": "L"}}},
        r"methods\.a\.change is unknown \(did you mean changes\?\)",
    ),
    "a key of a change": (
        {"methods": {"a": {"preset": "M", "changes": {"batchsize": 2}}, "b": {"preset": "L"}}},
        r"methods\.a\.changes\.batchsize is unknown \(did you mean batch_size\?\)",
    ),
    "a preset": (
        {"methods": {"a": {"preset": "XXL"}, "b": {"preset": "L"}}},
        r"methods\.a\.preset must be .*, not 'XXL' \(did you mean XL\?\)",
    ),
    "a key of a dataset": (
        {"datasets": [{"dataset": "x", "split": "y"}]},
        r"datasets\[0\]\.split is unknown \(did you mean splits\?\)",
    ),
    "a key of the budget": (
        {"budget": {"gpu_hour": 1}},
        r"budget\.gpu_hour is unknown \(did you mean gpu_hours\?\)",
    ),
    "seed": ({"training": {"seed": 3}}, "the seeds are those of `seeds`"),
    "twice": ({"folds": [0, 0]}, "folds .*named twice"),
    "predictions": (
        {"methods": {"a": {"predictions": "p", "changes": {}}, "b": {"preset": "M"}}},
        "take no other key",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_impossible_is_refused_in_words(fault: str, tmp_path: Path) -> None:
    parts, message = FAULTS[fault]
    path = tmp_path / "study.json"
    path.write_text(json.dumps(study_document(**parts)))
    with pytest.raises(StudyError, match=message) as caught:
        StudyFile.load(path)
    assert str(path) in str(caught.value)


def test_a_study_is_read_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"$schema": "x", **study_document(metrics=["iou", "Dice"])}))
    study = StudyFile.load(path)
    assert study.ordered_metrics == ("IoU", "Dice")
    assert study.measured_metrics == ()
    assert study.settings_of("original", 7).seed == 7
    assert study.settings_of("original", 7).epochs == 1
    assert study.bootstrap.level == 0.95


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"save_checkpoints": False}, "save_checkpoints false leaves"),
        ({"noise": True}, "noise true leaves"),
        ({"trainer": "nnUNetTrainerBenchmark_5epochs"}, "Benchmark_5epochs. leaves no model"),
    ],
)
def test_settings_that_leave_no_model_are_refused(settings: dict[str, Any], key: str) -> None:
    study = StudyFile.model_validate(study_document(training=settings))
    with pytest.raises(StudyError, match=f"methods.original: .*{key}"):
        study.settings_of("original", 0)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text("{")
    with pytest.raises(FileError, match="not valid JSON"):
        StudyFile.load(path)


def test_the_schema_takes_what_is_read() -> None:
    validator = Draft202012Validator(study_schema())
    assert not list(validator.iter_errors(study_document()))
    assert list(validator.iter_errors({**study_document(), "fods": []}))
