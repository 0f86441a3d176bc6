import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, document
from tests.loaded_modules import modules_after


@pytest.fixture
def planned(run: Callable[..., Done], dataset: Path) -> Path:
    assert run("create", "--preset", "M").code == 0
    return dataset / "nnUNetResEncUNetMPlans.json"


def test_a_table_names_its_calibration_and_gives_ranges(
    run: Callable[..., Done], planned: Path
) -> None:
    done = run("cost", "3d_fullres")
    assert done.code == 0
    title, header, row = done.out.splitlines()[:3]
    assert title == "# Training"
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert cells["configuration"] == "3d_fullres"
    expected, _, span = cells["memory (GB)"].partition(" ")
    low, high = span.strip("()").split("-")
    assert float(low) < float(expected) < float(high)
    assert "A100 40 GB" in done.out
    assert "will fit" not in done.out


def test_json_has_every_figure(run: Callable[..., Done], planned: Path) -> None:
    found = json.loads(run("cost", "--format", "json").out)
    assert set(found) == {"2d", "3d_fullres"}
    cost = found["3d_fullres"]
    assert {"low", "expected", "high"} == set(cost["gpu_memory_gb"])
    assert cost["calibration"]["source"]
    assert cost["inference"]["export_bytes"] > 0


def test_plans_alone_need_channels_and_heads(
    run: Callable[..., Done], planned: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone" / "P.json"
    alone.parent.mkdir()
    shutil.copy(planned, alone)
    assert "has no dataset.json beside it" in run("cost", "2d", "-p", alone).err
    assert run("cost", "2d", "-p", alone, "--input-channels", "1", "--heads", "3").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heads", "0"], "output_heads is 0"),
        (["--input-channels", "0"], "input_channels is 0"),
        (["--gpus", "1000"], "cannot be split over 1000 GPUs"),
    ],
)
def test_impossible_numbers_are_refused(
    run: Callable[..., Done], planned: Path, arguments: list[str], message: str
) -> None:
    done = run("cost", "3d_fullres", *arguments)
    assert done.code == 2
    assert message in done.err


def test_a_configuration_that_cannot_be_priced_leaves_the_others(
    run: Callable[..., Done], planned: Path
) -> None:
    plans = document(planned)
    plans["configurations"]["broken"] = {"inherits_from": "3d_fullres", "patch_size": [5, 5, 5]}
    planned.write_text(json.dumps(plans))
    done = run("cost")
    assert done.code == 0
    assert "broken: omitted." in done.err
    assert run("cost", "broken").code == 2
    done = run("cost", "broken", "3d_fullres")
    assert done.code == 1
    assert "broken: omitted." in done.err
    assert "\n3d_fullres\t" in done.out
    assert run("cost", "3d_fullres", "nothing").code == 2


@pytest.mark.slow
def test_another_network_is_traced_and_worded_as_a_floor(
    run: Callable[..., Done], planned: Path
) -> None:
    plans = document(planned)
    plans["configurations"]["stunet"] = {
        "inherits_from": "3d_fullres",
        "patch_size": [64, 64, 64],
        "architecture": {
            "network_class_name": "STUNet",
            "arch_kwargs": {"variant": "S"},
            "_kw_requires_import": [],
        },
    }
    planned.write_text(json.dumps(plans))
    done = run("cost", "stunet")
    assert done.code == 0, done.err
    header, row = done.out.splitlines()[1:3]
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    expected, _, least = cells["memory (GB)"].partition(" (at least ")
    assert float(expected) > float(least.rstrip(")"))
    assert cells["batch"] == "2"


def test_plans_of_a_published_system_are_priced_beside_its_published_figures(
    run: Callable[..., Done], planned: Path
) -> None:
    done = run("cost", "3d_fullres")
    assert "Published of nnU-Net ResEnc M: 9.1 GB and 12 hours" in done.out
    assert "Published" not in run("cost", "2d").out


def test_the_closed_form_loads_neither_torch_nor_numpy(planned: Path) -> None:
    loaded = modules_after("cost", "-p", str(planned))
    assert "resenc_plans.cost.estimate" in loaded
    assert not loaded & {"torch", "numpy", "scipy", "SimpleITK"}


def test_create_shows_the_memory_that_is_expected(run: Callable[..., Done], dataset: Path) -> None:
    done = run("create", "--preset", "M")
    header, row = done.out.splitlines()[:2]
    low, high = dict(zip(header.split("\t"), row.split("\t"), strict=True))["GB"].split("-")
    assert float(low) < float(high)
    assert "A100 40 GB" in done.out


def test_plans_are_fitted_to_a_memory_and_compared_with_the_preset_s(
    run: Callable[..., Done], dataset: Path
) -> None:
    done = run("create", "--fit", "24GB")
    assert done.code == 0
    assert "Experimental: fitted to 24 GB" in done.err
    assert "preset L:" in done.err
    assert "resenc_plans" in document(dataset / "nnUNetResEncUNetPlans_fit24G.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fit", "much"], "a positive number of GB"),
        (["--fit", "-3"], "a positive number of GB"),
        (["--fit", "24", "--gpu-memory", "24"], "not both"),
    ],
)
def test_impossible_fits_are_refused(
    run: Callable[..., Done], dataset: Path, arguments: list[str], message: str
) -> None:
    done = run("create", *arguments)
    assert done.code == 2
    assert message in done.err


def test_a_measurement_is_printed_beside_the_estimate_and_calibrates_what_follows(
    run: Callable[..., Done], planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resenc_plans.cli import measurement
    from resenc_plans.profiling import gpu_step
    from resenc_plans.profiling.gpu_step import StepMeasurement

    class Gpu:
        name = "Pretended GPU"

    def measured(config: Any, channels: int, heads: int, gpu: Any, *, regions: Any) -> Any:
        assert (channels, heads, regions) == (2, 4, False)
        return StepMeasurement(gpu.name, "2.13.0", 3 * 2**30, 4 * 2**30, 20 * 2**30, 0.25)

    monkeypatch.setattr(measurement, "find_gpu", Gpu)
    monkeypatch.setattr(gpu_step, "measure_configuration", measured)
    done = run("cost", "3d_fullres", "--measure")
    assert done.code == 0
    title, header, row = done.out.splitlines()[:3]
    assert title.startswith("# Measured on ")
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert (cells["allocated (GiB)"], cells["nvidia-smi (GiB)"]) == ("3.00", "20.00")
    assert cells["seconds per step"] == "0.250"
    assert "Calibrated to: A100 40 GB" in done.out
    after = run("cost", "3d_fullres")
    assert "Calibrated to: Pretended GPU (1 configuration measured on this machine" in after.out
    assert "20.0 (18.0-22.0)" in after.out


def test_measuring_needs_a_gpu_and_says_so(run: Callable[..., Done], planned: Path) -> None:
    done = run("cost", "3d_fullres", "--measure")
    assert done.code == 2
    assert "needs a CUDA GPU" in done.err
    assert "one GPU" in run("cost", "3d_fullres", "--measure", "--gpus", "2").err


def test_a_network_of_the_users_own_is_traced_once_its_module_is_allowed(
    run: Callable[..., Done], planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mylab_nets.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, input_channels, num_classes, deep_supervision=False):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Conv3d(input_channels, num_classes, 1)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = {"network_class_name": "mylab_nets.Net", "arch_kwargs": {}, "_kw_requires_import": []}
    plans = document(planned)
    plans["configurations"]["own"] = {
        "inherits_from": "3d_fullres",
        "batch_size": 4,
        "architecture": own,
    }
    planned.write_text(json.dumps(plans))
    refused = run("cost", "own")
    assert refused.code == 2
    assert "--allow-import" in refused.err
    omitted = run("cost", "own", "3d_fullres")
    assert "allow its module (--allow-import)" in omitted.err
    found = run("validate", planned)
    assert "allow its module (--allow-import)" in found.out
    done = run("cost", "own", "--allow-import", "mylab_nets")
    assert done.code == 0, done.err
    training, prediction = [line for line in done.out.splitlines() if line.startswith("own\t")]
    assert training.split("\t")[:4] == ["own", "0.0 M", "4", "2.3 (at least 0.05)"]
    assert prediction.split("\t")[2] == "-"
    assert prediction.split("\t")[3] != "-"
    whole, part = [
        json.loads(run(*arguments).out)["own"]["activation_bytes"]
        for arguments in (
            ["cost", "own", "--allow-import", "mylab_nets", "--format", "json"],
            ["cost", "own", "--allow-import", "mylab_nets", "--format", "json", "--gpus", "4"],
        )
    ]
    assert 3.9 * part < whole <= 4 * part


def test_the_memory_of_preprocessing_is_told_where_there_are_images(
    run: Callable[..., Done], planned: Path, phantom: Path
) -> None:
    assert "per worker" not in run("cost").out
    told = run("cost", "-d", phantom, "-p", planned)
    assert "Preprocessing takes at most 0.30 GiB per worker, by the headers of 3 cases." in told.out


def test_more_configurations_than_a_table_shows_are_priced_by_name_only(
    run: Callable[..., Done], planned: Path
) -> None:
    plans = document(planned)
    for number in range(500):
        plans["configurations"][f"child_{number}"] = {"inherits_from": "3d_fullres"}
    planned.write_text(json.dumps(plans))
    done = run("cost", "-p", planned)
    assert done.code == 2
    assert "Name at most 500 of them" in done.err
    assert run("cost", "child_7", "-p", planned).code == 0
