from dataclasses import replace

import pytest

from resenc_plans import create_plans
from resenc_plans.errors import PlanningError
from resenc_plans.planning import presets as table
from resenc_plans.planning.presets import find_preset, register_preset
from tests.planning.requests import DATASET, fingerprint


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
