"""The rows are those of the study, and what they say agrees with what they build."""

from functools import partial
from typing import Any

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode

from resenc_plans.networks.build import build_network
from resenc_plans.networks.without_memory import without_memory
from resenc_plans.planning.baselines.baseline import Baseline
from resenc_plans.planning.baselines.table import BASELINES
from resenc_plans.planning.published import published_results
from resenc_plans.plans.training_settings import TrainingSettings
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


def adamw(weight_decay: float, eps: float = 1e-8) -> dict[str, Any]:
    return {"name": "AdamW", "betas": [0.9, 0.999], "eps": eps, "weight_decay": weight_decay}


def cosine(**changes: float) -> dict[str, Any]:
    return {"name": "cosine", "warmup_epochs": 0, "warmup_start": 0, "floor": 0} | changes


GROUP = {"optimizer": adamw(3e-5, eps=1e-4)}
"""The trainers of nnU-Net v1 that the study's group published with MedNeXt."""


SINGLE = {"deep_supervision": False}
AUTO3DSEG = {"schedule": cosine(warmup_epochs=3, warmup_start=0.1), "optimizer": adamw(1e-5)}
TRAININGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("mednext-l-k3", "mednext-l-k5", "mednext-m-k3", "mednext-m-k5"),
        GROUP | {"learning_rate": 1e-3, "activation_checkpointing": True},
    ),
    **dict.fromkeys(
        ("mednext-s-k3", "mednext-s-k5", "mednext-b-k3", "mednext-b-k5"),
        GROUP | {"learning_rate": 1e-3},
    ),
    **dict.fromkeys(("swin-unetr", "swin-unetr-v2"), GROUP | SINGLE | {"learning_rate": 1e-4}),
    "nnformer": GROUP | SINGLE | {"learning_rate": 5e-5},
    "cotr": GROUP | {"learning_rate": 5e-4},
    "nnformer-synapse": {"scale_weights": [4 / 7, 2 / 7, 1 / 7]},
    "swin-unetr-btcv": SINGLE
    | {
        "epochs": 5000,
        "learning_rate": 1e-4,
        "optimizer": adamw(1e-5),
        "schedule": cosine(warmup_epochs=50),
    },
    "swin-unetr-u-mamba": SINGLE
    | {
        "learning_rate": 8e-4,
        "optimizer": adamw(0.01, eps=1e-5),
        "schedule": cosine(floor=1e-6),
        "precision": "fp32",
    },
    "auto3dseg-segresnet": AUTO3DSEG
    | {
        "learning_rate": 2e-4,
        "gradient_clip": None,
        "loss": {"name": "dice_cross_entropy", "squared_denominator": True, "background": True},
    },
    "auto3dseg-swin-unetr": AUTO3DSEG | SINGLE | {"learning_rate": 4e-4, "gradient_clip": 0.5},
    "auto3dseg-dints": SINGLE
    | {
        "learning_rate": 0.2,
        "optimizer": {"name": "SGD", "momentum": 0.9, "nesterov": False, "weight_decay": 4e-5},
        "schedule": {"name": "polynomial", "exponent": 0.5},
        "gradient_clip": 0.5,
        "loss": {
            "name": "dice_focal",
            "gamma": 2,
            "squared_denominator": False,
            "background": False,
        },
    },
}
"""What is not nnU-Net's of each training, as its sources have it; the others are nnU-Net's."""


def test_every_row_is_trained_as_its_sources_say() -> None:
    for baseline in BASELINES:
        expected = TrainingSettings.model_validate(TRAININGS.get(baseline.name, {}))
        assert baseline.training.model_dump() == expected.model_dump(), baseline.name
    assert TRAININGS.keys() <= {baseline.name for baseline in BASELINES}


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
