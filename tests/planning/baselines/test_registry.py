from dataclasses import replace

import pytest

from resenc_plans import Baseline, find_baseline, register_baseline
from resenc_plans.errors import PlanningError, UsageError
from resenc_plans.planning.baselines import registry
from resenc_plans.planning.baselines.networks import architecture
from resenc_plans.planning.baselines.sizes import SizesRecipe
from resenc_plans.plans.training_settings import TrainingSettings
from tests.planning.requests import DATASET, fingerprint

OWN = Baseline(
    name="ours",
    plans_name="OursPlans",
    title="STU-Net B, trained for longer",
    citation="none yet",
    code="mylab.org",
    licence="MIT",
    sizes=SizesRecipe(patch=(32, 64, 64), batch=4),
    network=lambda _: architecture("STUNet", variant="B"),
    nearness="not in the study",
    training=TrainingSettings(epochs=2000),
)


@pytest.fixture(autouse=True)
def registered_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BASELINES", dict(registry._BASELINES))


@pytest.mark.parametrize("name", ["mednext-l-k3", "MedNeXt_L_k3", "nnUNetMedNeXtLk3Plans"])
def test_a_baseline_is_found_by_its_name_and_its_plans(name: str) -> None:
    assert find_baseline(name).title == "MedNeXt L, kernels of 3"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(PlanningError, match="Did you mean mednext-l-k3 or mednext-l-k5"):
        find_baseline("mednext-l")
    with pytest.raises(PlanningError, match="Known baselines: nnu-net, resenc-m"):
        find_baseline("xyz")
    with pytest.raises(UsageError, match="such as 'mednext-l-k3'"):
        find_baseline(3)  # type: ignore[arg-type]


def test_one_s_own_baseline_makes_plans() -> None:
    register_baseline(OWN)
    plans = find_baseline("ours").create_plans(fingerprint(), DATASET)
    config = plans.resolve("3d_fullres")
    assert plans.name == "OursPlans"
    assert (config.patch_size, config.batch_size) == ((32, 64, 64), 4)
    assert config.training == TrainingSettings(epochs=2000)
    assert registry.baselines()[-1] is OWN


def test_taken_names_are_refused() -> None:
    for taken in (replace(OWN, name="cotr"), replace(OWN, plans_name="nnUNetPlans")):
        with pytest.raises(PlanningError, match="already"):
            register_baseline(taken)
