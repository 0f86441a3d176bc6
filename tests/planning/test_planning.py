import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resenc_plans import create_plans
from resenc_plans.errors import DatasetError, FingerprintError, PlanningError
from resenc_plans.planning import presets as table
from resenc_plans.planning.presets import find_preset, presets, register_preset
from resenc_plans.planning.published import match_budget, published_results
from resenc_plans.planning.replanning import merge, save_plans
from resenc_plans.plans.checks.file import STANDARD_TARGETS

INTENSITIES = {
    "max": 300.0, "mean": 100.0, "median": 90.0, "min": 0.0,
    "percentile_00_5": 5.0, "percentile_99_5": 250.0, "std": 40.0,
}  # fmt: skip


def fingerprint(
    shape: tuple[int, ...] = (40, 160, 160),
    spacing: tuple[float, ...] = (3.0, 0.8, 0.8),
    cases: int = 20,
    channels: int = 1,
) -> dict[str, Any]:
    return {
        "foreground_intensity_properties_per_channel": {
            str(c): INTENSITIES for c in range(channels)
        },
        "median_relative_size_after_cropping": 1.0,
        "shapes_after_crop": [list(shape)] * cases,
        "spacings": [list(spacing)] * cases,
    }


DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "organ": 1},
    "numTraining": 20,
    "file_ending": ".nii.gz",
}


def test_without_preset_and_target_it_is_the_recommended_l() -> None:
    plan = create_plans(fingerprint(), DATASET)
    assert plan.name == "nnUNetResEncUNetLPlans"


def test_a_target_alone_is_m_scaled() -> None:
    plan = create_plans(fingerprint(), DATASET, gpu_memory_gb=80, name="Plans_80G")
    assert plan.document.experiment_planner_used == "nnUNetPlannerResEncM"
    patch = plan.resolve("3d_fullres").patch_size
    small = create_plans(fingerprint(), DATASET, preset="M").resolve("3d_fullres").patch_size
    assert math.prod(patch) >= math.prod(small)


def test_the_cap_limits_the_batch() -> None:
    capped = create_plans(fingerprint(), DATASET, preset="M", batch_cap=0.05)
    open_ = create_plans(fingerprint(), DATASET, preset="M")
    assert capped.resolve("2d").batch_size < open_.resolve("2d").batch_size


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"preset": "huge"}, PlanningError, "There is no preset"),
        ({"preset": "nnUNetPlannerResEncLL"}, PlanningError, "Did you mean L"),
        ({"gpu_memory_gb": 12}, PlanningError, "Plans_12G"),
        ({"gpu_memory_gb": -1, "name": "x"}, PlanningError, "positive number of GB"),
        ({"preset": "L", "name": "nnUNetResEncUNetXLPlans"}, PlanningError, "stands for 40 GB"),
        ({"preset": "M", "name": "nnUNetPlans"}, PlanningError, "stands for preset default"),
        ({"spacing": (1, 1)}, PlanningError, "three positive numbers"),
        ({"spacing": (1, 1, math.nan)}, PlanningError, "three positive numbers"),
        ({"spacing": (1, 1, 10**400)}, PlanningError, "three positive numbers"),
        ({"spacing": (1, 1, 1e-300)}, PlanningError, "three positive numbers"),
        ({"spacing": (1e6, 1, 1e6)}, PlanningError, "axis without a voxel"),
        ({"gpu_memory_gb": 10**400, "name": "x"}, PlanningError, "positive number of GB"),
        ({"batch_cap": 10**400}, PlanningError, "positive share"),
        ({"batch_cap": 0.0}, PlanningError, "positive share"),
        ({"fingerprint": fingerprint(channels=2)}, PlanningError, "has 2 channels"),
        ({"fingerprint": {}}, FingerprintError, "spacings"),
        ({"fingerprint": fingerprint(cases=0)}, FingerprintError, "spacings"),
        ({"dataset": {}}, DatasetError, "labels"),
    ],
)
def test_impossible_requests_say_what_to_do(
    arguments: dict[str, Any], error: type[BaseException], words: str
) -> None:
    request = {"fingerprint": fingerprint(), "dataset": DATASET} | arguments
    with pytest.raises(error, match=words):
        create_plans(request.pop("fingerprint"), request.pop("dataset"), **request)


def test_a_registered_preset_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_PRESETS", dict(table._PRESETS))
    mine = replace(
        find_preset("M"), key="mine", planner="MyPlanner", plans_name="MyPlans", gpu_memory_gb=16
    )
    register_preset(mine)
    plan = create_plans(fingerprint(), DATASET, preset="MINE")
    assert plan.name == "MyPlans"
    same = create_plans(fingerprint(), DATASET, preset="M", gpu_memory_gb=16, name="x")
    assert plan.resolve("3d_fullres").patch_size == same.resolve("3d_fullres").patch_size
    with pytest.raises(PlanningError, match="already"):
        register_preset(mine)


def test_names_and_targets_of_presets_agree_with_the_rules() -> None:
    assert {p.plans_name: p.gpu_memory_gb for p in presets()} == STANDARD_TARGETS


def test_planning_again_with_nothing_changed_is_harmless() -> None:
    plan = create_plans(fingerprint(), DATASET)
    again = merge(plan, create_plans(fingerprint(), DATASET), Path("plans.json"))
    assert again.harmless
    assert again.plans == plan


def test_a_kept_configuration_shows_what_it_would_inherit() -> None:
    old = create_plans(fingerprint(), DATASET, preset="M")
    old.derive("bs8", from_="3d_fullres", batch_size=8)
    new = create_plans(fingerprint(), DATASET, preset="M", spacing=(4, 2, 2))
    again = merge(old, new, Path("plans.json"))
    assert again.retained == ("bs8",)
    assert "spacing" in {change.key for change in again.inherited}
    assert {change.configuration for change in again.inherited} == {"bs8"}
    assert json.dumps(again.plans.to_dict()["configurations"]["bs8"]) == (
        '{"inherits_from": "3d_fullres", "batch_size": 8}'
    )


def test_saving_over_other_plans_keeps_them_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "plans.json"
    first = create_plans(fingerprint(), DATASET, preset="M")
    assert save_plans(first, path).retained == ()
    save_plans(create_plans(fingerprint(), DATASET, preset="M"), path)
    before = path.read_bytes()
    with pytest.raises(PlanningError, match=r"Nothing was written\. `overwrite=`"):
        save_plans(create_plans(fingerprint(), DATASET, preset="L"), path)
    assert path.read_bytes() == before
    assert save_plans(create_plans(fingerprint(), DATASET, preset="L"), path, overwrite=True).lost
    assert path.read_bytes() != before


def test_published_results_are_complete() -> None:
    results = published_results()
    assert len(results) == 19
    assert [r.system for r in results if r.preset == "L"] == ["nnU-Net ResEnc L"]
    assert all(len(r.dice) == 6 and r.vram_gb > 0 and r.hours > 0 for r in results)


@pytest.mark.parametrize(
    ("vram", "hours", "preset"),
    [(8, 10, "default"), (9, 13, "M"), (23, None, "L"), (None, 60, "XL"), (36, 66, "XL")],
)
def test_the_nearest_preset_is_found(vram: int | None, hours: int | None, preset: str) -> None:
    assert match_budget(vram, hours)[0].result.preset == preset


def test_a_budget_is_needed() -> None:
    with pytest.raises(PlanningError, match="`vram_gb=`"):
        match_budget(None, None)
