"""The rows are those of the study, and what they say agrees with what they build."""

from functools import partial

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode

from resenc_plans.networks.build import build_network
from resenc_plans.networks.without_memory import without_memory
from resenc_plans.planning.baselines.baseline import Baseline
from resenc_plans.planning.baselines.table import BASELINES
from resenc_plans.planning.published import published_results
from tests.planning.requests import DATASET, fingerprint

pytestmark = pytest.mark.slow

STUDY = (
    "nnu-net", "resenc-m", "resenc-l", "resenc-xl", "mednext-l-k3", "mednext-l-k5", "stu-net-s",
    "stu-net-b", "stu-net-l", "swin-unetr", "swin-unetr-v2", "nnformer", "cotr", "no-mamba-base",
    "u-mamba-bot", "u-mamba-enc", "auto3dseg-segresnet", "auto3dseg-dints", "auto3dseg-swin-unetr",
)  # fmt: skip


def test_the_study_s_systems_come_first_in_its_order() -> None:
    study = [baseline for baseline in BASELINES if baseline.system is not None]
    assert tuple(baseline.name for baseline in study) == STUDY
    assert [baseline.published for baseline in study] == list(published_results())
    assert BASELINES[: len(STUDY)] == tuple(study)


def test_names_are_different_and_those_of_plans_end_as_nnunet_s() -> None:
    assert len({baseline.name for baseline in BASELINES}) == len(BASELINES)
    assert len({baseline.plans_name for baseline in BASELINES}) == len(BASELINES)
    assert all(baseline.plans_name.endswith("Plans") for baseline in BASELINES)


def test_every_row_says_how_near_it_is_and_where_its_facts_are_from() -> None:
    for baseline in BASELINES:
        assert baseline.sources
        assert (baseline.nearness == "not in the study") == (baseline.system is None)
        assert (baseline.nearness == "exact") == (not baseline.differences and not baseline.unknown)


COUNTED = [baseline for baseline in BASELINES if baseline.parameters]


@pytest.mark.parametrize("baseline", COUNTED, ids=lambda baseline: baseline.name)
def test_a_recipe_builds_the_network_of_the_published_size(baseline: Baseline) -> None:
    if baseline.extra is not None:
        pytest.importorskip("monai", reason="needs the extra monai")
        pytest.importorskip("einops", reason="needs the extra monai")
    data = fingerprint((200, 200, 200), (1.0, 1.0, 1.0))
    config = baseline.create_plans(data, DATASET).resolve("3d_fullres")
    network = without_memory(
        partial(build_network, config, 1, 14), FakeTensorMode(allow_non_fake_inputs=True)
    )
    assert sum(weights.numel() for weights in network.parameters()) == baseline.parameters
