from typing import Any

import pytest

from resenc_plans import Plans, estimate_cost
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import ConfigurationError, ResencPlansError
from resenc_plans.plans.legacy import OLD_INTENSITIES
from tests.plans.documents import OLD_CONFIGURATION, document

DATASET = DatasetJson.from_dict(
    {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "organ": 1},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
)
ARGUMENTS = "architecture.arch_kwargs"
HUGE = 10**400


def silly(key: str, value: Any) -> dict[str, Any]:
    """A plans document with another value at a dotted key of 3d_fullres, or of the file."""
    plans = document()
    place = plans if key in plans else plans["configurations"]["3d_fullres"]
    *parents, last = key.split(".")
    for parent in parents:
        place = place[parent]
    place[last] = value
    return plans


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", HUGE),
        ("patch_size", [10**7, 64, 64]),
        ("median_image_size_in_voxels", [float("nan"), 50.0, 35.0]),
        ("median_image_size_in_voxels", [HUGE, 50.0, 35.0]),
        ("spacing", [1e-300, 1.0, 1.0]),
        ("spacing", [1e300, 1.0, 1.0]),
        ("original_median_shape_after_transp", [float("inf"), 1, 1]),
        ("original_median_shape_after_transp", [HUGE, 1, 1]),
        (f"{ARGUMENTS}.n_stages", 10**7),
        (f"{ARGUMENTS}.features_per_stage", [32, 64, HUGE]),
        (f"{ARGUMENTS}.n_blocks_per_stage", [1, 3, 10**7]),
        (f"{ARGUMENTS}.n_conv_per_stage_decoder", 10**7),
        (f"{ARGUMENTS}.kernel_sizes", [[3, 3, 3], [3, 3, 3], [3, 3, HUGE]]),
        (f"{ARGUMENTS}.strides", 10**7),
        (f"{ARGUMENTS}.stem_channels", HUGE),
        (f"{ARGUMENTS}.bottleneck_channels", [8, 8, HUGE]),
    ],
)
def test_plans_with_numbers_that_nobody_can_mean_load_but_do_not_resolve(
    key: str, value: Any
) -> None:
    plans = silly(key, value)
    plan = Plans.from_dict(plans)
    assert repr(plan.to_dict()) == repr(plans)
    with pytest.raises(ConfigurationError, match=key.replace(".", r"\.")) as error:
        plan.resolve("3d_fullres")
    assert "can be meant" in str(error.value)
    assert len(str(error.value)) < 400
    [finding] = [finding for finding in plan.validate_rules() if finding.rule == "P001"]
    assert key in f"{finding.key} {finding.message}"


def test_the_largest_network_that_resolves_is_priced() -> None:
    plans = silly(f"{ARGUMENTS}.n_blocks_per_stage", [128, 128, 128])
    cost = estimate_cost(Plans.from_dict(plans).resolve("3d_fullres"), 1, 65_536)
    assert cost.parameters > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"UNet_class_name": ["PlainConvUNet"]},
        {"UNet_base_num_features": "32"},
        {"unet_max_num_features": [320]},
        {"n_conv_per_stage_encoder": [2] * 100_000},
        {"n_conv_per_stage_encoder": []},
    ],
)
def test_old_plans_of_wrong_types_do_not_resolve(changes: dict[str, Any]) -> None:
    plan = Plans.from_dict(document(old=OLD_CONFIGURATION | changes))
    with pytest.raises(ConfigurationError, match="old: "):
        plan.resolve("old")
    plan.upgrade()


@pytest.mark.parametrize("provenance", [None, 1, "text", [1], {"gpu_memory_gb": HUGE}])
def test_a_provenance_of_another_kind_harms_no_check(provenance: Any) -> None:
    plan = Plans.from_dict(document() | {"resenc_plans": provenance, OLD_INTENSITIES: {}})
    assert all(len(finding.message) < 3000 for finding in plan.validate_rules())
    assert all(len(finding.message) < 3000 for finding in plan.validate_rules(DATASET))


@pytest.mark.parametrize("spacing", [[1e-300, 1, 1], [HUGE, 1, 1], [float("nan"), 1, 1]])
def test_no_configuration_is_derived_with_a_spacing_that_nobody_can_mean(spacing: Any) -> None:
    plan = Plans.from_dict(document())
    with pytest.raises(ResencPlansError, match="spacing"):
        plan.derive("child", spacing=spacing)
