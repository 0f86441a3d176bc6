import json
from collections.abc import Callable
from pathlib import Path

from resenc_plans import Plans
from tests.cli.conftest import NAME, Done
from tests.plans.documents import document as plans_document

DATASET = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "tumor": 1},
    "file_ending": ".nii.gz",
    "numTraining": 3,
}


def test_show_names_where_each_value_comes_from(run: Callable[..., Done], here: Path) -> None:
    run("derive", "--batch-size", "16")
    lines = run("show", "3d_fullres_bs16").out.splitlines()
    assert "batch_size\t16\town" in lines
    assert "patch_size\t[32, 64, 64]\tinherited from 3d_fullres" in lines
    assert "3d_fullres_bs16\t3d_fullres" in run("show").out


def test_show_survives_a_configuration_that_does_not_resolve(
    run: Callable[..., Done], here: Path
) -> None:
    content = plans_document(broken={"inherits_from": "broken"})
    Plans.from_dict(content).save(here / f"{NAME}.json")
    done = run("show")
    assert done.code == 0
    assert "circle" in done.out


def test_the_network_is_shown_stage_by_stage_and_drawn(
    run: Callable[..., Done], here: Path
) -> None:
    (here / "dataset.json").write_text(json.dumps(DATASET))
    done = run("show", "3d_fullres", "--network", "--plot", "network.svg")
    assert done.code == 0
    assert "bottleneck\t2\t8x16x16\t128\t4" in done.out
    assert (here / "network.svg").read_text().lstrip().startswith("<?xml")
    assert run("show", "--network").code == 2
    assert run("show", "3d_fullres", "--plot", "network.pdf").code == 2


def test_the_network_of_plans_without_a_dataset_is_not_guessed(
    run: Callable[..., Done], here: Path
) -> None:
    done = run("show", "3d_fullres", "--network")
    assert done.code == 2
    assert "dataset.json" in done.err


def test_a_network_of_ones_own_is_shown_by_its_modules_and_not_drawn(
    run: Callable[..., Done], here: Path
) -> None:
    (here / "dataset.json").write_text(json.dumps(DATASET))
    path = here / f"{NAME}.json"
    content = json.loads(path.read_text())
    stunet = {"network_class_name": "STUNet", "arch_kwargs": {"variant": "S"}}
    content["configurations"]["own"] = {
        "inherits_from": "3d_fullres",
        "patch_size": [64, 64, 64],
        "architecture": stunet | {"_kw_requires_import": []},
    }
    path.write_text(json.dumps(content))
    done = run("show", "own", "--network", "--plot", "own.svg")
    assert done.code == 1
    assert "own.svg: not drawn." in done.err
    assert "Stages are not shown" in done.err
    rows = [line.split("\t") for line in done.out.splitlines() if line.count("\t") == 2]
    total = int(
        done.out.partition(" parameters with 1 input channel and")[0].split()[-1].replace(",", "")
    )
    assert sum(int(row[2].replace(",", "")) for row in rows[1:]) == total
    assert "Outputs in training: 64x64x64, 32x32x32" in done.out
    assert run("show", "own", "--plot", "own.svg").code == 2
