"""Every baseline whose network is there makes plans without errors, for every fingerprint."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from resenc_plans import create_plans
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import PlanningError, UsageError
from resenc_plans.planning.baselines.baseline import Baseline, BaselineSettings
from resenc_plans.planning.baselines.registry import baselines, find_baseline
from resenc_plans.plans.plans import Plans
from tests.planning.requests import DATASET, fingerprint

PLANNED = [baseline for baseline in baselines() if baseline.network is not None]

ISOTROPIC = fingerprint((35, 50, 35), (1.0, 1.0, 1.0))
COARSE_LAST = fingerprint((300, 300, 40), (0.7, 0.7, 5.0), channels=2)
TWO_CHANNELS = DATASET | {"channel_names": {"0": "T1", "1": "T2"}}


@pytest.fixture
def without_monai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai", None)


@pytest.fixture(autouse=True)
def with_monai(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are the same with and without MONAI, which is only asked for."""
    if "without_monai" not in request.fixturenames:
        monkeypatch.setattr("resenc_plans.planning.baselines.baseline.EXTRAS", {})


def check(plans: Plans, baseline: Baseline, dataset: Any) -> None:
    assert set(plans.configurations) <= set(baseline.configurations)
    assert "3d_fullres" in plans.configurations
    written = Plans.from_dict(json.loads(json.dumps(plans.to_dict())))
    findings = written.validate_rules(DatasetJson.from_dict(dataset))
    assert not [finding for finding in findings if finding.severity == "error"]


@pytest.mark.parametrize("baseline", PLANNED, ids=lambda baseline: baseline.name)
def test_a_recipe_makes_plans_without_errors(baseline: Baseline) -> None:
    for data, dataset in (
        (fingerprint(), DATASET),
        (ISOTROPIC, DATASET),
        (COARSE_LAST, TWO_CHANNELS),
    ):
        plans = baseline.create_plans(data, dataset)
        assert plans.name == baseline.plans_name
        check(plans, baseline, dataset)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ACDC", "AMOS", "BTCV", "BraTS", "KiTS", "LiTS"])
def test_recipes_make_plans_for_the_study_s_datasets(name: str, shared: Path) -> None:
    folder = shared / "oracle" / "planning"
    data = json.loads((folder / f"{name}__fingerprint.json").read_text())
    dataset = json.loads((folder / f"{name}__dataset.json").read_text())
    for baseline in PLANNED:
        if baseline.nearness != "exact":
            check(baseline.create_plans(data, dataset), baseline, dataset)


@pytest.mark.parametrize(
    ("name", "preset"),
    [("nnu-net", "default"), ("resenc-m", "M"), ("resenc-l", "L"), ("resenc-xl", "XL")],
)
def test_the_study_s_own_systems_are_the_presets(name: str, preset: str) -> None:
    for data in (fingerprint(), fingerprint((400, 512, 512))):
        planned = find_baseline(name).create_plans(data, DATASET)
        assert planned.to_dict() == create_plans(data, DATASET, preset=preset).to_dict()


def test_mednext_is_planned_as_its_authors_trained_it() -> None:
    config = (
        find_baseline("mednext-l-k5").create_plans(fingerprint(), DATASET).resolve("3d_fullres")
    )
    assert config.spacing == (1, 1, 1)
    assert config.patch_size == (128, 128, 128)
    assert config.architecture.arch_kwargs["kernel_size"] == 5  # type: ignore[index]
    training = config.training
    assert training is not None
    assert training.learning_rate == 1e-3
    assert training.optimizer.model_dump()["eps"] == 1e-4
    assert training.activation_checkpointing


def test_data_are_shared_where_the_spacing_is() -> None:
    def data(name: str, source: Any = COARSE_LAST, **settings: Any) -> str:
        planned = find_baseline(name).create_plans(source, TWO_CHANNELS, **settings)
        return planned.resolve("3d_fullres").data_identifier

    assert data("nnu-net") == data("stu-net-s") == data("resenc-l") == "nnUNetPlans_3d_fullres"
    assert data("mednext-l-k3") == data("swin-unetr") == "nnUNetPlans_3d_fullres_1x1x1mm"
    assert data("stu-net-s", spacing=(1, 1, 1)) == data("swin-unetr")
    assert data("swin-unetr", fingerprint(spacing=(1, 1, 1), channels=2)) == data("nnu-net")
    assert data("stu-net-s", own_data=True) == "nnUNetSTUNetSPlans_3d_fullres"
    finer, coarser = (
        data("stu-net-s", spacing=(0.7, 0.7, 5.1)),
        data("stu-net-s", spacing=(5.1, 0.7, 0.7)),
    )
    assert finer != coarser, "the same spacing in the plans' order of axes, of other images"


def test_sizes_can_be_chosen() -> None:
    settings = BaselineSettings(
        patch_size=(64, 96, 96), batch_size=3, spacing=(2, 1, 1), name="Mine"
    )
    planned = find_baseline("swin-unetr").plan(fingerprint(), DATASET, settings, provenance=True)
    config = planned.plans.resolve("3d_fullres")
    assert (config.patch_size, config.batch_size) == ((64, 96, 96), 3)
    assert config.spacing == (2, 1, 1)
    document = planned.plans.to_dict()
    assert document["plans_name"] == "Mine"
    assert document["resenc_plans"]["baseline"] == "swin-unetr"
    assert document["resenc_plans"]["patch_size"] == [64, 96, 96]


def test_a_network_that_follows_its_patch_gets_it_rounded_up() -> None:
    settings = BaselineSettings(patch_size=(30, 100, 100), name="Mine")
    for name in ("stu-net-b", "resenc-m"):
        planned = find_baseline(name).plan(fingerprint(), DATASET, settings)
        patch = planned.plans.resolve("3d_fullres").patch_size
        assert patch == (32, 112, 112)
        assert "rounded up to 32x112x112" in planned.remarks[0]


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("swin-unetr", {"patch_size": (48, 64, 64)}, r"The nearest that it takes: \[64, 64, 64\]"),
        ("swin-unetr", {"patch_size": (32, 32, 32)}, r"one voxel.*\[32, 32, 64\]"),
        ("mednext-s-k3", {"patch_size": (24, 32, 32)}, "not a multiple of"),
        ("swin-unetr", {"patch_size": (64, 64)}, "three whole numbers"),
        ("swin-unetr", {"patch_size": 64}, "three whole numbers"),
        ("swin-unetr", {"patch_size": (64, 64, 0)}, "three whole numbers"),
        ("swin-unetr", {"patch_size": (64, 64, 10**400)}, "three whole numbers"),
        ("swin-unetr", {"batch_size": 0}, "whole number of samples"),
        ("swin-unetr", {"spacing": (1, 1)}, "three positive numbers"),
        ("swin-unetr", {"name": "a__b"}, "cannot name plans"),
        ("swin-unetr", {"name": "nnUNetPlans"}, "stands for preset default"),
        ("u-mamba-bot", {"patch_size": (3, 3, 3)}, "too small for a U-Net.* takes: 3x3x12"),
        ("stu-net-s", {"patch_size": (7, 7, 3)}, "too small for a U-Net.* takes: 7x12x3"),
        ("nnu-net", {"patch_size": (7, 7, 7), "name": "A"}, "too small.* takes: 7x8x8"),
        ("nnu-net", {"batch_size": 4}, "a name of their own"),
        ("resenc-l", {"patch_size": (64, 64, 64)}, "a name of their own"),
    ],
)
def test_impossible_requests_say_what_to_do(
    name: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(PlanningError, match=words):
        find_baseline(name).create_plans(fingerprint(), DATASET, **settings)


@pytest.mark.usefixtures("without_monai")
def test_an_extra_that_is_missing_is_named_with_the_line_that_installs_it() -> None:
    for name in ("swin-unetr", "auto3dseg-dints"):
        with pytest.raises(PlanningError, match=r"pip install 'resenc-plans\[monai\]'"):
            find_baseline(name).create_plans(fingerprint(), DATASET)
    find_baseline("stu-net-s").create_plans(fingerprint(), DATASET)


def test_the_nearest_patch_of_a_u_net_is_one_that_it_takes() -> None:
    for name in ("u-mamba-enc-v2", "stu-net-s"):
        plans = find_baseline(name).create_plans(fingerprint(), DATASET, patch_size=(3, 3, 12))
        assert plans.resolve("3d_fullres").patch_size == (3, 3, 12)


def test_slices_are_for_systems_with_two_dimensions() -> None:
    slices = fingerprint((1, 512, 512), (999.0, 1.0, 1.0))
    assert list(find_baseline("resenc-m").create_plans(slices, DATASET).configurations) == ["2d"]
    for name in ("stu-net-s", "swin-unetr"):
        with pytest.raises(PlanningError, match=r"three-dimensional.*nnu-net"):
            find_baseline(name).create_plans(slices, DATASET)
    with pytest.raises(PlanningError, match="one slice"):
        find_baseline("resenc-m").create_plans(slices, DATASET, batch_size=4, name="Mine")


def test_what_one_should_know_is_remarked() -> None:
    dataset = DATASET | {"channel_names": {str(channel): "T1" for channel in range(6)}}
    data = fingerprint((35, 50, 35), (1.0, 1.0, 1.0), channels=6)
    remarks = find_baseline("mednext-l-k3").plan(data, dataset).remarks
    assert "6 channels; it was published for at most 4" in remarks[0]
    assert "mostly padding" in remarks[1]
    assert find_baseline("mednext-l-k3").plan(fingerprint((99, 160, 160)), DATASET).remarks == ()


def test_images_of_one_slice_at_the_recipe_s_spacing_are_refused() -> None:
    thin = fingerprint((2, 64, 64), (0.3, 1.0, 1.0))
    with pytest.raises(PlanningError, match="have one slice"):
        find_baseline("mednext-l-k3").create_plans(thin, DATASET)


def test_what_is_no_fingerprint_is_named() -> None:
    with pytest.raises(UsageError, match="fingerprint="):
        find_baseline("stu-net-s").create_plans("file.json", DATASET)  # type: ignore[arg-type]
