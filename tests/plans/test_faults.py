"""What does not fit the schema is said in words, with its place."""

import json

import pytest

from resenc_plans.plans.faults import schema_faults
from tests.plans.documents import document as plans_document


@pytest.mark.parametrize(
    ("path", "value", "key", "message"),
    [
        (("patch_size",), [1, "a", 3], "patch_size[1]", "must be an integer, not 'a'."),
        (("spacing",), {"a": 2}, "spacing", "must be a list, not {'a': 2}."),
        (("batch_dice",), "yes", "batch_dice", "must be true or false, not 'yes'."),
        (
            ("architecture", "arch_kwargs", "strides"),
            [[1, 1], [2, "2"]],
            "architecture.arch_kwargs.strides[1][1]",
            "must be an integer, not '2'.",
        ),
        (
            ("architecture", "arch_kwargs", "n_stages"),
            0,
            "architecture.arch_kwargs.n_stages",
            "must be at least 1, not 0.",
        ),
        (("next_stage",), 3, "next_stage", "must be a text or a list, not 3."),
        (("training",), {"epoch": 3}, "training.epoch", "is unknown. Did you mean epochs?"),
        (
            ("training",),
            {"optimizer": {"name": "SGD", "momentun": 0.9}},
            "training.optimizer.momentun",
            "is unknown. Did you mean momentum?",
        ),
        (
            ("training",),
            {"optimizer": {"name": "Adamw"}},
            "training.optimizer.name",
            "must be one of SGD, Adam, AdamW, Adan, not 'Adamw'.",
        ),
        (
            ("training",),
            {"oversampled_foreground": 2},
            "training.oversampled_foreground",
            "must be at most 1, not 2.",
        ),
        (
            ("training",),
            {"foreground_samples": "lats"},
            "training.foreground_samples",
            "must be one of last, random, random_as_last, not 'lats'.",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_what_it_must_be(
    path: tuple[str, ...],
    value: dict[str, int] | int | list[int | str] | list[list[int | str] | list[int]] | str,
    key: str,
    message: str,
) -> None:
    document = json.loads(json.dumps(plans_document()))
    parent = document["configurations"]["3d_fullres"]
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    [finding] = schema_faults(document)
    assert (finding.configuration, finding.key, finding.message) == ("3d_fullres", key, message)


def test_faults_of_several_kinds_in_one_place_are_named_together() -> None:
    document = plans_document() | {"foreground_intensity_properties_per_channel": {"0": 3, "1": {}}}
    (fault,) = schema_faults(document)
    assert fault.message == "must be an object, not 3."


def test_what_is_missing_is_named() -> None:
    [finding] = schema_faults({"plans_name": "x"})
    assert (finding.configuration, finding.key, finding.message) == (
        None,
        "configurations",
        "is missing.",
    )


def test_a_part_of_an_architecture_is_told_that_it_inherits_nothing() -> None:
    child = {"inherits_from": "3d_fullres", "architecture": {"arch_kwargs": {"n_stages": 3}}}
    [finding] = schema_faults(plans_document(x=child))
    assert (finding.configuration, finding.key) == ("x", "architecture.network_class_name")
    assert finding.message == "is missing. An architecture is inherited whole or not at all."


def test_plans_without_fault_fit() -> None:
    assert not schema_faults(plans_document())
