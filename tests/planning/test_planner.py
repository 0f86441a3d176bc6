"""Plans equal nnU-Net 2.8.1's for every fingerprint that it has planned for us."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from resenc_plans import create_plans
from resenc_plans.errors import DatasetError, FingerprintError, PlanningError
from resenc_plans.files import to_json_text
from resenc_plans.planning.planner import plan_dataset
from resenc_plans.planning.presets import find_preset
from resenc_plans.planning.settings import PlanningSettings
from tests.planning.requests import DATASET, fingerprint

RARE_PLANNERS = Path(__file__).with_name("rare_planners.jsonl.gz")
SYNTHETIC = "Dataset999_Synthetic"


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
    ("preset", "resampling", "planner", "name"),
    [
        ("L", "torch", "nnUNetPlannerResEncL_torchres", "nnUNetResEncUNetLPlans_torchres"),
        (
            "L",
            "torch-separate-z",
            "nnUNetPlannerResEncL_torchres_sepz",
            "nnUNetResEncUNetLPlans_torchres_sepz",
        ),
        ("L", "none", "nnUNetPlannerResEncL_noResampling", "nnUNetResEncUNetLPlans_noResampling"),
        ("default", "torch", "nnUNetPlanner_torchres", "nnUNetPlans_torchres"),
    ],
)
def test_a_resampling_in_words_is_nnunets_planner(
    preset: str, resampling: Any, planner: str, name: str
) -> None:
    in_words = create_plans(fingerprint(), DATASET, preset=preset, resampling=resampling)
    by_class = create_plans(fingerprint(), DATASET, preset=planner)
    assert to_json_text(in_words.to_dict()) == to_json_text(by_class.to_dict())
    assert in_words.name == name
    assert in_words.resolve("3d_fullres").data_identifier == f"{name}_3d_fullres"


def test_a_resampling_that_nnunet_has_no_planner_for_is_a_warning() -> None:
    settings = PlanningSettings(preset="M", resampling="torch")
    result = plan_dataset(fingerprint(), DATASET, settings)
    assert result.plans.name == "nnUNetResEncUNetMPlans_torchres"
    assert "nnU-Net has no planner M-torch" in result.warnings[0]
    same = create_plans(fingerprint(), DATASET, preset="M")
    assert result.plans.resolve("2d").patch_size == same.resolve("2d").patch_size


def test_data_of_its_own_is_in_folders_of_its_own() -> None:
    plan = create_plans(fingerprint(), DATASET, preset="M", own_data=True)
    assert plan.resolve("3d_fullres").data_identifier == "nnUNetResEncUNetMPlans_3d_fullres"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"preset": "huge"}, PlanningError, "There is no preset"),
        ({"preset": "nnUNetPlannerResEncLL"}, PlanningError, "Did you mean L"),
        ({"preset": "nnUNetPlannerResEncL_torchress"}, PlanningError, "nnUNetPlannerResEncL_torch"),
        ({"resampling": "tourch"}, PlanningError, "Did you mean torch"),
        ({"preset": "L-torch", "resampling": "none"}, PlanningError, "only one of the two"),
        (
            {"preset": "M", "resampling": "torch", "name": "nnUNetResEncUNetMPlans"},
            PlanningError,
            "stands for preset M, not M-torch",
        ),
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


def planned(
    fingerprint: Any,
    dataset: Any,
    planner: str,
    gb: float | None,
    *,
    dataset_name: str,
    **settings: Any,
) -> str:
    """The text of our plans, under the planner's own name whatever the target is."""
    preset = find_preset(planner)
    standard = gb is None or gb == preset.gpu_memory_gb
    result = plan_dataset(
        fingerprint,
        dataset,
        PlanningSettings(
            preset=planner,
            gpu_memory_gb=gb,
            name=None if standard else "Renamed",
            **settings,
        ),
        dataset_name=dataset_name,
    )
    document = result.plans.to_dict()
    if not standard:
        document = json.loads(json.dumps(document).replace("Renamed", preset.plans_name))
    return to_json_text(document)


def as_written(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8-sig"))


def test_all_made_up_datasets_planners_and_targets(shared: Path) -> None:
    folder = shared / "oracle" / "planning"
    paths = sorted(folder.glob("*__*__*.json"))
    assert len(paths) >= 160
    for path in paths:
        dataset, planner, gb = path.stem.split("__")
        ours = planned(
            as_written(folder / f"{dataset}__fingerprint.json"),
            as_written(folder / f"{dataset}__dataset.json"),
            planner,
            float(gb),
            dataset_name=SYNTHETIC,
        )
        assert ours == to_json_text(as_written(path)), path.name


def test_random_datasets_with_nnunets_rarer_planners() -> None:
    """Recorded by `tests.interop.record_plans` in the peer's environment."""
    lines = gzip.decompress(RARE_PLANNERS.read_bytes()).splitlines()
    assert len(lines) == 25
    for line in lines:
        case = json.loads(line)
        assert len(case["plans"]) == 4
        for expected in case["plans"].values():
            ours = planned(
                case["fingerprint"],
                case["dataset"],
                expected["experiment_planner_used"],
                None,
                dataset_name=expected["dataset_name"],
            )
            assert ours == to_json_text(expected)


@pytest.mark.slow
def test_all_real_fingerprints_of_the_corpus(shared: Path) -> None:
    lines = (shared / "oracle" / "planning_corpus.jsonl").read_text().splitlines()
    assert len(lines) == 96
    for line in lines:
        case = json.loads(line)
        ours = planned(
            as_written(shared / "corpus" / case["source"]),
            as_written(shared / "corpus" / case["dataset"]),
            case["planner"],
            case["gpu"],
            spacing=case["spacing"],
            transpose=not case["suppress_transpose"],
            dataset_name=SYNTHETIC,
        )
        expected = case["plans"]
        if case["gpu"] is not None:
            renamed = find_preset(case["planner"]).plans_name
            expected = json.loads(json.dumps(expected).replace(expected["plans_name"], renamed))
        assert ours == to_json_text(expected), (case["source"], case["planner"], case["gpu"])


@pytest.mark.parametrize("name", ["Dataset004_Hippocampus", "Dataset501_BrainMR"])
@pytest.mark.parametrize(
    ("file", "preset", "gb"),
    [
        ("nnUNetPlans", "default", None),
        ("nnUNetResEncUNetPlans", "resenc", None),
        ("nnUNetResEncUNetMPlans", "M", None),
        ("nnUNetResEncUNetLPlans", "L", None),
        ("nnUNetResEncUNetXLPlans", "XL", None),
        ("nnUNetResEncUNetPlans_80G", None, 80),
    ],
)
def test_both_real_datasets_byte_for_byte(
    shared: Path, name: str, file: str, preset: str | None, gb: int | None
) -> None:
    folder = shared / "oracle" / name
    result = plan_dataset(
        as_written(folder / "dataset_fingerprint.json"),
        as_written(folder / "dataset.json"),
        PlanningSettings(preset=preset, gpu_memory_gb=gb, name=file),
        dataset_name=name,
    )
    assert to_json_text(result.plans.to_dict()) == (folder / f"{file}.json").read_text()


def test_a_fit_says_what_limited_it(shared: Path) -> None:
    folder = shared / "oracle" / "planning"
    result = plan_dataset(
        as_written(folder / "KiTS__fingerprint.json"),
        as_written(folder / "KiTS__dataset.json"),
        PlanningSettings(preset="resenc"),
    )
    fullres = result.fits["3d_fullres"]
    assert (fullres.patch_limit, fullres.batch_size) == ("memory", 2)
    assert math.isclose(
        fullres.dataset_share,
        2 * math.prod(fullres.patch_size) / (512 * 533 * 512 * 489),
    )
    assert set(result.fits) == {"2d", "3d_lowres", "3d_fullres"}


@pytest.mark.parametrize("gb", [0, -1, math.nan, math.inf])
def test_impossible_targets_are_refused(shared: Path, gb: float) -> None:
    folder = shared / "oracle" / "planning"
    with pytest.raises(PlanningError, match="positive number of GB"):
        plan_dataset(
            as_written(folder / "KiTS__fingerprint.json"),
            as_written(folder / "KiTS__dataset.json"),
            PlanningSettings(gpu_memory_gb=gb, name="x"),
        )
