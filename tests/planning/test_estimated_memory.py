import json
from pathlib import Path
from typing import Any

import pytest

from resenc_plans import PlanningError, estimate_cost
from resenc_plans.planning.planner import PlanningResult, plan_dataset
from resenc_plans.planning.settings import PlanningSettings


def fitted(shared: Path, dataset: str, memory: float, **options: Any) -> PlanningResult:
    folder = shared / "oracle" / "planning"
    fingerprint = json.loads((folder / f"{dataset}__fingerprint.json").read_text())
    described = json.loads((folder / f"{dataset}__dataset.json").read_text())
    settings = PlanningSettings(fit_gb=memory, **options)
    return plan_dataset(fingerprint, described, settings, provenance=True)


@pytest.mark.parametrize("dataset", ["ACDC", "KiTS"])
@pytest.mark.parametrize("memory", [6, 24, 80])
def test_the_upper_bound_stays_under_the_memory_and_one_more_sample_would_not(
    shared: Path, dataset: str, memory: float
) -> None:
    result = fitted(shared, dataset, memory)
    for name, fit in result.fits.items():
        config = result.plans.resolve(name)
        cost = estimate_cost(config, 1, 4)
        assert cost.gpu_memory_gb.high <= memory
        more = config.model_copy(update={"batch_size": config.batch_size + 1})
        if fit.batch_limit == "memory":
            assert estimate_cost(more, 1, 4).gpu_memory_gb.high > memory


def test_fitted_plans_say_how_they_were_made_and_have_a_name_of_their_own(shared: Path) -> None:
    plans = fitted(shared, "ACDC", 24).plans
    assert plans.name == "nnUNetResEncUNetPlans_fit24G"
    provenance = plans.to_dict()["resenc_plans"]
    assert "experimental" in provenance["fit"]
    assert provenance["gpu_memory_gb"] == 24


def test_a_preset_s_name_is_not_for_fitted_plans(shared: Path) -> None:
    with pytest.raises(PlanningError, match="as nnU-Net plans it"):
        fitted(shared, "ACDC", 24, name="nnUNetResEncUNetLPlans")


def test_a_memory_that_nothing_fits_is_refused(shared: Path) -> None:
    with pytest.raises(PlanningError, match="too small"):
        fitted(shared, "ACDC", 2)
