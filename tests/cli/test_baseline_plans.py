"""`create --baseline`: what it writes, and what it refuses."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done, document


@pytest.fixture
def without_monai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai", None)


@pytest.mark.slow
def test_a_baseline_is_planned_as_easily_as_a_preset(
    run: Callable[..., Done], dataset: Path
) -> None:
    done = run("create", "--baseline", "mednext-s-k3")
    assert done.code == 0
    assert "mostly padding" in done.err
    assert "--patch-size" in done.err
    written = document(dataset / "nnUNetMedNeXtSk3Plans.json")
    assert written["resenc_plans"]["baseline"] == "mednext-s-k3"
    assert list(written["configurations"]) == ["3d_fullres"]
    assert written["configurations"]["3d_fullres"]["training"]["learning_rate"] == 1e-3
    assert run("validate").code == 0
    assert "baseline mednext-s-k3" in run("show").out
    before = (dataset / "nnUNetMedNeXtSk3Plans.json").read_bytes()
    assert run("create", "--baseline", "mednext-s-k3").code == 0
    assert (dataset / "nnUNetMedNeXtSk3Plans.json").read_bytes() == before


@pytest.mark.slow
def test_sizes_are_options_and_a_file_of_other_sizes_is_kept(
    run: Callable[..., Done], dataset: Path
) -> None:
    line = ("create", "--baseline", "stu-net-s", "--spacing", "3,1,1")
    assert run(*line, "--patch-size", "16,64,64", "--batch-size", "4").code == 0
    config = document(dataset / "nnUNetSTUNetSPlans.json")["configurations"]["3d_fullres"]
    assert (config["patch_size"], config["batch_size"]) == ([16, 64, 64], 4)
    assert config["data_identifier"] == "nnUNetPlans_3d_fullres_3x1x1mm"
    done = run(*line)
    assert done.code == 2
    assert "batch_size: 4 -> 2" in done.err
    assert run(*line, "--overwrite").code == 0


@pytest.mark.usefixtures("without_monai")
def test_all_baselines_are_planned_that_can_be(run: Callable[..., Done], dataset: Path) -> None:
    done = run("create", "--baseline", "all")
    assert done.code == 0
    assert "pip install 'resenc-plans[monai]'" in done.err
    names = {path.stem for path in dataset.glob("*Plans.json")}
    assert {"nnUNetPlans", "nnUNetResEncUNetMPlans", "nnUNetSTUNetLPlans"} <= names
    assert not any("Swin" in name for name in names)
    rows = {line.split("\t")[0]: line.split("\t") for line in done.out.splitlines()}
    assert rows["mednext-b-k5"][1:4] == ["3d_fullres", "1x1x1", "128x128x128"]
    refused = run("create", "--baseline", "all", "--patch-size", "24,24,24", "-o", dataset / "all")
    assert refused.code == 1
    assert "is not a multiple of [16, 16, 16]" in refused.out
    assert document(dataset / "all" / "nnUNetSTUNetLPlans.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baseline", "mednext-l"], "Did you mean mednext-l-k3 or mednext-l-k5"),
        (["--baseline", "mednext-s-k3", "--patch-size", "100,100,100"], "takes: [96, 96, 96]"),
        (["--baseline", "mednext-s-k3", "--patch-size", "64,64"], "three whole numbers"),
        (["--baseline", "mednext-s-k3", "--patch-size", "1.5,2,2"], "whole numbers of voxels"),
        (["--baseline", "mednext-s-k3", "--batch-size", "0"], "whole number of samples"),
        (["--baseline", "mednext-s-k3", "--preset", "L"], "--baseline and --preset contradict"),
        (["--baseline", "mednext-s-k3", "--gpu-memory", "8"], "--gpu-memory contradict"),
        (["--baseline", "mednext-s-k3", "--no-transpose"], "--no-transpose contradict"),
        (["--baseline", "nnu-net", "--batch-size", "4"], "name of their own (--name)"),
        (["--baseline", "all", "--name", "Mine"], "omit --name"),
        (["--baseline", "swin-unetr"], "pip install 'resenc-plans[monai]'"),
        (["--patch-size", "64,64,64"], "--patch-size is for --baseline"),
        (["--batch-size", "1"], "--batch-size is for --baseline"),
        (["--batch-size", "4"], "--batch-size is for --baseline"),
    ],
)
@pytest.mark.usefixtures("without_monai")
def test_impossible_requests_are_refused_and_write_nothing(
    run: Callable[..., Done], dataset: Path, arguments: list[str], message: str
) -> None:
    done = run("create", *arguments)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert sorted(p.name for p in dataset.iterdir()) == ["dataset.json", "dataset_fingerprint.json"]


def test_slices_are_for_systems_with_two_dimensions(
    run: Callable[..., Done], dataset: Path
) -> None:
    path = dataset / "dataset_fingerprint.json"
    fingerprint = document(path)
    fingerprint["shapes_after_crop"] = [[1, 256, 256]] * len(fingerprint["spacings"])
    path.write_text(json.dumps(fingerprint))
    done = run("create", "--baseline", "stu-net-b")
    assert done.code == 2
    assert "three-dimensional, but the images have one slice" in done.err
    done = run("create", "--baseline", "resenc-m")
    assert done.code == 0
    assert list(document(dataset / "nnUNetResEncUNetMPlans.json")["configurations"]) == ["2d"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin-unetr", "stu-net-s"])
def test_a_dry_run_of_its_training_builds_the_network(
    run: Callable[..., Done], dataset: Path, phantom: Path, name: str
) -> None:
    if name != "stu-net-s":
        pytest.importorskip("monai", reason="needs the extra monai")
        pytest.importorskip("einops", reason="needs the extra monai")
    for folder in ("imagesTr", "labelsTr"):
        (dataset / folder).symlink_to(phantom / folder)
    line = ("create", "--baseline", name, "--name", "Mine", "--patch-size", "32,64,64")
    assert run(*line, "--spacing", "3,2,2", "--preprocess").code == 0
    done = run("train", ".", "3d_fullres", "all", "--dry-run")
    assert done.code == 0
    assert "Built without memory: 2 input channels, 4 output heads" in done.out
    traced = json.loads(run("cost", "--format", "json").out)["3d_fullres"]
    assert f"Cost: {traced['expected_gpu_memory_gb']:.1f} GB of GPU memory" in done.out
