import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resenc_plans import Plans
from tests.cli.conftest import NAME, Done, document
from tests.loaded_modules import modules_after


def test_derive_writes_one_configuration_and_touches_nothing_else(
    run: Callable[..., Done], here: Path
) -> None:
    before = (here / f"{NAME}.json").read_text()
    assert run("derive", "--batch-size", "16").code == 0
    after = document(here / f"{NAME}.json")
    child = after["configurations"].pop("3d_fullres_bs16")
    assert child == {"inherits_from": "3d_fullres", "batch_size": 16}
    assert json.dumps(after, indent=4) == before


def test_gpus_multiply_the_parent_s_batch_size(run: Callable[..., Done], here: Path) -> None:
    assert run("derive", "--gpus", "8").code == 0
    assert Plans.load(f"{NAME}.json").resolve("3d_fullres_bs16").batch_size == 16


def test_a_patch_size_gets_its_topology_and_is_rounded_up(
    run: Callable[..., Done], here: Path
) -> None:
    done = run("derive", "--patch-size", "60x120x120", "--name", "large")
    assert done.code == 0
    assert "rounded up to 64x128x128" in done.err
    config = Plans.load(f"{NAME}.json").resolve("large")
    assert config.patch_size == (64, 128, 128)
    arguments = config.architecture.arch_kwargs
    assert arguments.n_stages == 6
    assert arguments.features_per_stage == (32, 64, 128, 256, 320, 320)
    assert arguments.n_blocks_per_stage == (1, 3, 4, 4, 4, 4)
    assert not [f for f in Plans.load(f"{NAME}.json").validate_rules() if f.severity == "error"]


def test_a_patch_size_that_keeps_the_topology_writes_the_patch_alone(
    run: Callable[..., Done], here: Path
) -> None:
    content = document(here / f"{NAME}.json")
    run("derive", "--patch-size", "64x128x128", "--name", "large")
    run("derive", "--from", "large", "--patch-size", "96x128x128", "--name", "larger")
    child = document(here / f"{NAME}.json")["configurations"]["larger"]
    assert child == {"inherits_from": "large", "patch_size": [96, 128, 128]}
    assert content["configurations"]["3d_fullres"]["patch_size"] == [32, 64, 64]


def test_a_spacing_gets_data_of_its_own(run: Callable[..., Done], here: Path) -> None:
    assert run("derive", "--spacing", "2,1,1").code == 0
    child = document(here / f"{NAME}.json")["configurations"]["3d_fullres_sp2x1x1"]
    assert child["spacing"] == [2.0, 1.0, 1.0]
    assert child["data_identifier"] == f"{NAME}_3d_fullres_sp2x1x1"


def test_set_takes_json_and_dotted_keys(run: Callable[..., Done], here: Path) -> None:
    done = run(
        "derive", "--name", "x", "--set", "batch_dice=true",
        "--set", "architecture.arch_kwargs.n_blocks_per_stage=[1, 2, 2]",
    )  # fmt: skip
    assert done.code == 0
    config = Plans.load(f"{NAME}.json").resolve("x")
    assert config.batch_dice is True
    assert config.architecture.arch_kwargs.n_blocks_per_stage == (1, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Nothing to change"),
        (["--batch-size", "0"], "batch_size must be at least 1"),
        (["--batch-size", "4", "--gpus", "2"], "give one of them"),
        (["--batch-size", "4", "--from", "3d_fulres"], "Did you mean 3d_fullres"),
        (["--set", "batch_dice"], "KEY=VALUE"),
        (["--set", "patch_size=[1,2", "--name", "x"], "not JSON"),
        (["--set", "batch_dice=true"], "give --name"),
        (["--set", "patch_size=[30,64,64]", "--name", "x"], "does not divide"),
        (["--set", "batchsize=4", "--name", "x", "--batch-size", "zero"], "integer"),
        (["--patch-size", "64x64"], "needs 3 numbers"),
        (["--patch-size", "axb"], "positive whole numbers"),
        (["--spacing", "1,0,1"], "positive numbers in mm"),
        (["--batch-size", "4", "--name", "a__b"], "cannot name a configuration"),
        (["--batch-size", "4", "--plans", "nothing"], "not found"),
    ],
)
def test_impossible_derivations_change_nothing(
    run: Callable[..., Done], here: Path, arguments: list[Any], message: str
) -> None:
    before = (here / f"{NAME}.json").read_bytes()
    done = run("derive", *arguments)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert (here / f"{NAME}.json").read_bytes() == before


def test_a_mistyped_key_is_a_warning_with_the_suggestion(
    run: Callable[..., Done], here: Path
) -> None:
    done = run("derive", "--name", "x", "--set", "batchsize=16")
    assert done.code == 0
    assert "Did you mean batch_size?" in done.err


OWN_NETWORK = (
    "from torch import nn\n"
    "class Own(nn.Conv3d):\n"
    "    def __init__(self, input_channels, num_classes, deep_supervision, width=1):\n"
    "        super().__init__(input_channels, num_classes, width)\n"
)


def test_a_network_of_one_s_own_takes_the_place_of_the_parent_s(
    run: Callable[..., Done], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "derived_nets.py").write_text(OWN_NETWORK)
    monkeypatch.syspath_prepend(here)
    own = ("derive", "--network", "derived_nets.Own")
    before = (here / f"{NAME}.json").read_bytes()
    refused = run(*own)
    assert refused.code == 2
    assert "allow its module" in refused.err
    refused = run(*own, "--allow-import", "derived_nets", "--set", "architecture.arch_kwargs.n=1")
    assert refused.code == 2
    assert "unexpected keyword argument 'n'" in refused.err
    refused = run(*own, "--allow-import", "derived_nets", "--set", "architecture={}")
    assert "another option sets this already" in refused.err
    assert (here / f"{NAME}.json").read_bytes() == before
    done = run(*own, "--allow-import", "derived_nets", "--set", "architecture.arch_kwargs.width=1")
    assert done.code == 0
    child = document(here / f"{NAME}.json")["configurations"]["3d_fullres_Own"]
    assert child["architecture"]["arch_kwargs"] == {"width": 1}
    assert run("validate").code == 1
    assert run("validate", "--allow-import", "derived_nets").code == 0
    sys.modules.pop("derived_nets", None)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("arguments", [("derive", "--batch-size", "16"), ("validate",)])
def test_for_u_nets_no_torch_is_loaded(arguments: tuple[str, ...]) -> None:
    assert "torch" not in modules_after(*arguments)


def test_derive_says_what_the_configuration_costs_beside_its_parent(
    run: Callable[..., Done], here: Path
) -> None:
    keys = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}}
    keys |= {"numTraining": 260, "file_ending": ".nii.gz"}
    (here / "dataset.json").write_text(json.dumps(keys))
    done = run("derive", "--batch-size", "16")
    parent, child = (
        next(line.split("\t") for line in done.out.splitlines() if line.startswith(f"{name}\t"))
        for name in ("3d_fullres", "3d_fullres_bs16")
    )
    assert (parent[5], child[5]) == ("2", "16")
    assert float(child[7].partition("-")[0]) > float(parent[7].partition("-")[0]) > 0


def test_a_dry_run_of_derive_prints_the_configuration_and_writes_nothing(
    run: Callable[..., Done], here: Path
) -> None:
    before = (here / f"{NAME}.json").read_bytes()
    done = run("derive", "--batch-size", "16", "--dry-run")
    assert done.code == 0
    assert "Would write 3d_fullres_bs16" in done.out
    assert "nothing" not in done.out
    assert (here / f"{NAME}.json").read_bytes() == before


def test_derive_into_another_file_leaves_the_first(run: Callable[..., Done], here: Path) -> None:
    before = (here / f"{NAME}.json").read_bytes()
    assert run("derive", "--batch-size", "16", "-o", here / "new.json").code == 0
    assert (here / f"{NAME}.json").read_bytes() == before
    assert "3d_fullres_bs16" in Plans.load(here / "new.json").configurations


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_keeps_the_file(
    run: Callable[..., Done], here: Path
) -> None:
    here.chmod(0o500)
    try:
        done = run("derive", "--batch-size", "16")
    finally:
        here.chmod(0o700)
    assert done.code == 2
    assert "no permission" in done.err


def test_a_full_disk_keeps_the_old_file_whole(here: Path) -> None:
    before = (here / f"{NAME}.json").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "resenc_plans", "derive", "--batch-size", "16"],
        capture_output=True, text=True, cwd=here,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)),
    )  # fmt: skip
    assert done.returncode == 2
    assert "not written" in done.stderr
    assert (here / f"{NAME}.json").read_bytes() == before
    assert [p.name for p in here.iterdir()] == [f"{NAME}.json"]


def test_an_output_that_exists_is_not_replaced_unasked(
    run: Callable[..., Done], here: Path
) -> None:
    (here / "other.json").write_text("keep")
    for command in (("derive", "--batch-size", "4"), ("upgrade",)):
        done = run(*command, "-p", NAME, "-o", "other.json")
        assert done.code == 2 or command == ("upgrade",)
        assert (here / "other.json").read_text() == "keep"
    done = run("derive", "--batch-size", "4", "-p", NAME, "-o", "other.json", "--overwrite")
    assert done.code == 0
    assert "3d_fullres_bs4" in Plans.load(here / "other.json").configurations


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch-size", "3", "--set", "batch_size=4"],
        ["--patch-size", "32x64x64", "--set", "patch_size=[32,32,32]"],
        ["--set", "inherits_from=2d", "--name", "x"],
        ["--set", "batch_size=3", "--set", "batch_size=4", "--name", "x"],
    ],
)
def test_options_that_contradict_each_other_are_refused(
    run: Callable[..., Done], here: Path, arguments: list[str]
) -> None:
    before = (here / f"{NAME}.json").read_bytes()
    done = run("derive", *arguments)
    assert done.code == 2
    assert "Give" in done.err
    assert (here / f"{NAME}.json").read_bytes() == before
