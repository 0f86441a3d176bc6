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
from tests.cli.conftest import Done, document
from tests.plans.documents import OLD_CONFIGURATION
from tests.plans.documents import document as plans_document

NAME = "nnUNetResEncUNetMPlans"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one plans file; one stands in it."""
    Plans.from_dict(plans_document()).save(tmp_path / f"{NAME}.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


def test_a_dry_run_of_derive_prints_the_difference_and_writes_nothing(
    run: Callable[..., Done], here: Path
) -> None:
    before = (here / f"{NAME}.json").read_bytes()
    done = run("derive", "--batch-size", "16", "--dry-run")
    assert done.code == 0
    assert "3d_fullres_bs16" in done.out
    assert (here / f"{NAME}.json").read_bytes() == before


def test_several_plans_files_are_listed_and_not_guessed_between(
    run: Callable[..., Done], here: Path
) -> None:
    Plans.from_dict(plans_document()).save(here / "other.json")
    done = run("derive", "--batch-size", "16")
    assert done.code == 2
    assert "other.json" in done.err
    assert "--plans" in done.err
    assert run("derive", "--batch-size", "16", "--plans", "other").code == 0


def test_derive_into_another_file_leaves_the_first(run: Callable[..., Done], here: Path) -> None:
    before = (here / f"{NAME}.json").read_bytes()
    assert run("derive", "--batch-size", "16", "-o", here / "new.json").code == 0
    assert (here / f"{NAME}.json").read_bytes() == before
    assert "3d_fullres_bs16" in Plans.load(here / "new.json").configurations


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


def test_resolve_prints_json_for_pipes(run: Callable[..., Done], here: Path) -> None:
    run("derive", "--batch-size", "16")
    resolved = json.loads(run("resolve", "3d_fullres_bs16").out)
    assert resolved["batch_size"] == 16
    assert resolved["patch_size"] == [32, 64, 64]


def test_diff_says_what_each_difference_costs(run: Callable[..., Done], here: Path) -> None:
    content = plans_document()
    content["configurations"]["3d_fullres"]["spacing"] = [2.0, 1.0, 1.0]
    Plans.from_dict(content).save(here / "after.json")
    done = run("diff", NAME, "after", "--format", "json")
    assert done.code == 1
    assert json.loads(done.out)["cost"] == "preprocess again"
    assert "preprocess again" in run("diff", NAME, "after.json", "--raw").out
    assert run("diff", NAME, NAME).code == 0


def test_upgrade_rewrites_and_then_has_nothing_to_do(run: Callable[..., Done], here: Path) -> None:
    Plans.from_dict(plans_document(old=OLD_CONFIGURATION)).save(here / f"{NAME}.json")
    assert "became architecture" in run("upgrade").out
    assert "UNet_class_name" not in document(here / f"{NAME}.json")["configurations"]["old"]
    assert "nothing to upgrade" in run("upgrade").out


def test_validate_of_good_plans_is_silent_and_exits_with_0(
    run: Callable[..., Done], here: Path
) -> None:
    done = run("validate")
    assert done.code == 0
    assert "no findings" in done.out


def test_validate_reports_several_files_at_once(run: Callable[..., Done], here: Path) -> None:
    content = plans_document()
    content["configurations"]["3d_fullres"]["patch_size"] = [30, 64, 64]
    Plans.from_dict(content).save(here / "bad.json")
    (here / "worse.json").write_text('{"configurations": {"2d": {"batch_size": "2"}}}')
    done = run("validate", "bad.json", "worse.json", f"{NAME}.json", "--format", "json")
    assert done.code == 1
    found = {(row["file"], row["rule"]) for row in json.loads(done.out)}
    assert {("bad.json", "P002"), ("worse.json", "S001")} <= found


def test_validate_of_an_unreadable_file_exits_with_2(run: Callable[..., Done], here: Path) -> None:
    (here / "broken.json").write_text('{"configurations": ')
    done = run("validate", "broken.json", f"{NAME}.json")
    assert done.code == 2
    assert "truncated" in done.out
    assert run("validate", "nothing.json").code == 2


def test_sarif_names_rule_file_and_line(run: Callable[..., Done], here: Path) -> None:
    content = plans_document(bs={"inherits_from": "3d_fullres", "batchsize": 16})
    Plans.from_dict(content).save(here / f"{NAME}.json")
    log = json.loads(run("validate", "--format", "sarif").out)
    assert log["version"] == "2.1.0"
    (result,) = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("P101", "warning")
    region = result["locations"][0]["physicalLocation"]["region"]
    line = (here / f"{NAME}.json").read_text().splitlines()[region["startLine"] - 1]
    assert "batchsize" in line


@pytest.mark.parametrize("name", ["plans", "dataset", "fingerprint"])
def test_schemas_are_printed(run: Callable[..., Done], name: str) -> None:
    assert json.loads(run("schema", name).out)["title"]


def test_a_schema_is_written_alone_where_it_is_named(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    run("schema", "plans", "-o", tmp_path / "one")
    run("schema", "-o", tmp_path / "all")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["plans.schema.json"]
    assert len(list((tmp_path / "all").iterdir())) == 3


def test_an_unknown_schema_lists_the_known(run: Callable[..., Done]) -> None:
    done = run("schema", "plan")
    assert done.code == 2
    assert "plans, dataset, fingerprint" in done.err


@pytest.mark.parametrize(
    "command",
    ["verify", "fingerprint", "demo", "create", "presets", "show", "resolve", "derive", "diff",
     "upgrade", "validate", "schema"],
)  # fmt: skip
def test_every_command_s_help_has_an_example(run: Callable[..., Done], command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert f"Example: resenc-plans {command}" in " ".join(done.out.split())


def test_version_and_module(run: Callable[..., Done]) -> None:
    from resenc_plans import __version__

    assert run("--version").out.strip() == f"resenc-plans {__version__}"
    done = subprocess.run(
        [sys.executable, "-m", "resenc_plans", "--version"], capture_output=True, text=True
    )
    assert done.stdout.strip() == f"resenc-plans {__version__}"


def test_shell_completion_offers_commands() -> None:
    environment = {**os.environ, "_RESENC_PLANS_COMPLETE": "complete_bash",
                   "COMP_WORDS": "resenc-plans de", "COMP_CWORD": "1"}  # fmt: skip
    done = subprocess.run(
        [Path(sys.executable).with_name("resenc-plans")],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert "derive" in done.stdout.split()


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


def test_the_network_is_shown_stage_by_stage_and_drawn(
    run: Callable[..., Done], here: Path
) -> None:
    dataset = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "tumor": 1},
        "file_ending": ".nii.gz",
        "numTraining": 3,
    }
    (here / "dataset.json").write_text(json.dumps(dataset))
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


def test_upgrading_into_a_file_that_exists_is_refused(run: Callable[..., Done], here: Path) -> None:
    Plans.from_dict(plans_document(old=OLD_CONFIGURATION)).save(here / f"{NAME}.json")
    (here / "other.json").write_text("keep")
    assert run("upgrade", "-o", "other.json").code == 2
    assert (here / "other.json").read_text() == "keep"


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


def test_plans_here_and_beside_the_preprocessed_data_are_not_guessed_between(
    run: Callable[..., Done],
    here: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = tmp_path_factory.mktemp("raw") / "Dataset001_X"
    dataset.mkdir()
    root = tmp_path_factory.mktemp("preprocessed")
    (root / dataset.name).mkdir()
    labels = {"background": 0, "tumor": 1}
    description = {"channel_names": {"0": "MRI"}, "labels": labels, "file_ending": ".nii.gz"}
    (dataset / "dataset.json").write_text(json.dumps(description))
    for folder in (dataset, root / dataset.name):
        Plans.from_dict(plans_document()).save(folder / f"{NAME}.json")
    monkeypatch.setenv("nnUNet_preprocessed", str(root))
    monkeypatch.chdir(dataset)
    assert "Several plans files" in run("derive", "--batch-size", "16").err


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_narrow_terminal_cuts_no_number(here: Path) -> None:
    import pty

    controller, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40", "TERM": "xterm", "NO_COLOR": "1"}
    done = subprocess.Popen(
        [sys.executable, "-m", "resenc_plans", "show"], stdout=terminal, cwd=here, env=environment
    )
    os.close(terminal)
    done.wait()
    output = os.read(controller, 65536).decode()
    os.close(controller)
    assert "32x64x64" in output
    assert "ResidualEncoderUNet" in output


def test_a_slip_in_the_name_of_plans_is_met_with_the_nearest(
    run: Callable[..., Done], dataset: Path
) -> None:
    assert run("create", "--preset", "M").code == 0
    assert "Did you mean nnUNetResEncUNetMPlans?" in run("show", "-p", "nnUNetResEncUNetPlan").err


def test_plans_of_a_dataset_are_compared_from_anywhere(
    run: Callable[..., Done], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("create", "--preset", "M").code == 0
    assert run("create", "--preset", "L").code == 0
    monkeypatch.chdir(tmp_path)
    done = run("diff", "nnUNetResEncUNetMPlans", "nnUNetResEncUNetLPlans", "-d", dataset)
    assert done.code == 1
    assert "plans_name" in done.out
