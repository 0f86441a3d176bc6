import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK

from resenc_plans import FileError, Plans
from resenc_plans.datasets.demo import write_phantom
from tests.cli.conftest import Done, document


def test_the_line_of_the_readme_writes_plans_and_says_the_target_is_not_standard(
    run: Callable[..., Done], dataset: Path
) -> None:
    done = run("create", "--gpu-memory", "80", "--name", "Plans_80G")
    assert done.code == 0
    assert "Non-standard GPU memory target: 80 GB" in done.err
    written = document(dataset / "Plans_80G.json")
    assert written["plans_name"] == "Plans_80G"
    assert written["experiment_planner_used"] == "nnUNetPlannerResEncM"
    provenance = written["resenc_plans"]
    assert list(written)[-1] == "resenc_plans"
    assert (provenance["preset"], provenance["gpu_memory_gb"]) == ("M", 80)
    assert "3d_fullres" in done.out


def test_without_provenance_the_file_is_nnunet_s(run: Callable[..., Done], dataset: Path) -> None:
    assert run("create", "--preset", "L", "--no-provenance").code == 0
    assert "resenc_plans" not in document(dataset / "nnUNetResEncUNetLPlans.json")


def test_nnunet_s_spellings_are_understood(run: Callable[..., Done], dataset: Path) -> None:
    done = run(
        "create", "-pl", "nnUNetPlannerResEncXL", "-gpu_memory_target", "60",
        "-overwrite_plans_name", "Mine",
    )  # fmt: skip
    assert done.code == 0
    assert document(dataset / "Mine.json")["resenc_plans"]["gpu_memory_gb"] == 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu-memory", "80"], "Give the plans a name of their own"),
        (["--gpu-memory", "80", "--name", "nnUNetResEncUNetMPlans"], "stands for 8 GB"),
        (["--gpu-memory", "0", "--name", "x"], "positive number of GB"),
        (["--gpu-memory", "nan", "--name", "x"], "positive number of GB"),
        (["--gpu-memory", "80MB", "--name", "x"], "positive number of GB"),
        (["--fit", "all"], "positive number of GB"),
        (["--gpu-memory", "0.001", "--name", "x"], "too small"),
        (["--preset", "XXL"], "Did you mean XL"),
        (["--spacing", "1,1"], "three positive numbers"),
        (["--spacing", "1,-1,1"], "positive numbers in mm"),
        (["--batch-cap", "0"], "positive share"),
        (["--name", "a__b"], "cannot name plans"),
        (["-gpu-memory-target", "80"], "No such option"),
        (["--gpu-memroy", "80"], "--gpu-memory"),
    ],
)
def test_impossible_requests_are_refused_and_write_nothing(
    run: Callable[..., Done], dataset: Path, arguments: list[str], message: str
) -> None:
    done = run("create", *arguments)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert sorted(p.name for p in dataset.iterdir()) == ["dataset.json", "dataset_fingerprint.json"]


def test_plans_that_could_not_be_trained_are_not_written(
    run: Callable[..., Done], dataset: Path
) -> None:
    path = dataset / "dataset_fingerprint.json"
    fingerprint = document(path)
    fingerprint["shapes_after_crop"] = [[5, 6, 7]] * len(fingerprint["spacings"])
    path.write_text(json.dumps(fingerprint))
    done = run("create")
    assert done.code == 2
    assert "3d_fullres architecture.arch_kwargs.n_stages: is 1" in done.err
    assert not list(dataset.glob("*Plans*"))


@pytest.mark.slow
def test_a_dry_run_writes_nothing(
    run: Callable[..., Done], phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Dataset901_Copy"
    folder.mkdir()
    (folder / "dataset.json").write_bytes((phantom / "dataset.json").read_bytes())
    for name in ("imagesTr", "labelsTr"):
        (folder / name).symlink_to(phantom / name)
    monkeypatch.chdir(folder)
    assert run("create", "--dry-run").code == 0
    assert not (folder / "dataset_fingerprint.json").exists()
    assert not list(folder.glob("*Plans*"))


def test_planning_again_without_a_change_is_silent(run: Callable[..., Done], dataset: Path) -> None:
    assert run("create").code == 0
    before = (dataset / "nnUNetResEncUNetLPlans.json").read_bytes()
    assert run("create").code == 0
    assert (dataset / "nnUNetResEncUNetLPlans.json").read_bytes() == before


def test_a_preset_s_file_is_not_replaced_by_another_target(
    run: Callable[..., Done], dataset: Path
) -> None:
    assert run("create", "--preset", "M", "--name", "Mine").code == 0
    before = (dataset / "Mine.json").read_bytes()
    done = run("create", "--preset", "M", "--gpu-memory", "80", "--name", "Mine")
    assert done.code == 2
    assert "resenc_plans.gpu_memory_gb: 8 -> 80" in done.err
    assert (dataset / "Mine.json").read_bytes() == before
    assert (
        run("create", "--preset", "M", "--gpu-memory", "80", "--name", "Mine", "--overwrite").code
        == 0
    )


def test_another_planner_needs_overwrite(run: Callable[..., Done], dataset: Path) -> None:
    assert run("create", "--preset", "default", "--name", "Mine").code == 0
    done = run("create", "--preset", "M", "--name", "Mine")
    assert done.code == 2
    assert "ExperimentPlanner -> nnUNetPlannerResEncM" in done.err


def test_a_hand_edit_is_not_lost_silently(run: Callable[..., Done], dataset: Path) -> None:
    assert run("create", "--preset", "M").code == 0
    path = dataset / "nnUNetResEncUNetMPlans.json"
    content = document(path)
    content["configurations"]["3d_fullres"]["batch_size"] = 5
    path.write_text(json.dumps(content))
    done = run("create", "--preset", "M")
    assert done.code == 2
    assert "3d_fullres: batch_size: 5 ->" in done.err
    assert document(path) == content


def test_leaving_out_provenance_is_a_loss_to_ask_about(
    run: Callable[..., Done], dataset: Path
) -> None:
    assert run("create", "--preset", "M").code == 0
    done = run("create", "--preset", "M", "--no-provenance")
    assert done.code == 2
    assert "resenc_plans" in done.err


def test_a_fingerprint_of_another_number_of_cases_is_noticed(
    run: Callable[..., Done], dataset: Path, phantom: Path
) -> None:
    for name in ("imagesTr", "labelsTr"):
        (dataset / name).mkdir()
        for path in sorted((phantom / name).iterdir()):
            if "phantom_002" not in path.name:
                (dataset / name / path.name).symlink_to(path)
    done = run("create", "--preset", "M", "--dry-run")
    assert "is of 3 cases, the dataset has 2" in done.err


def test_a_child_whose_parent_would_change_is_listed_and_survives(
    run: Callable[..., Done], dataset: Path
) -> None:
    assert run("create", "--preset", "M", "--name", "Mine").code == 0
    assert run("derive", "--batch-size", "16").code == 0
    done = run("create", "--preset", "M", "--spacing", "2,2,2", "--name", "Mine")
    assert done.code == 2
    assert "3d_fullres_bs16: spacing" in done.err
    done = run("create", "--preset", "M", "--spacing", "2,2,2", "--name", "Mine", "--overwrite")
    assert done.code == 0
    plan = Plans.load(dataset / "Mine.json")
    assert plan.resolve("3d_fullres_bs16").batch_size == 16
    assert plan.resolve("3d_fullres_bs16").spacing == (2.0, 2.0, 2.0)
    assert plan.to_dict()["resenc_plans"]["derived"] == {"3d_fullres_bs16": "3d_fullres"}


def test_what_lies_in_the_way_and_is_no_plans_file_is_kept(
    run: Callable[..., Done], dataset: Path
) -> None:
    (dataset / "Mine.json").write_text('{"labels": {}}')
    done = run("create", "--preset", "M", "--name", "Mine", "--overwrite")
    assert done.code == 2
    assert "not a plans file" in done.err
    assert (dataset / "Mine.json").read_text() == '{"labels": {}}'


def test_plans_go_where_nnunet_looks_for_them(
    run: Callable[..., Done], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocessed = tmp_path / "preprocessed"
    (preprocessed / dataset.name).mkdir(parents=True)
    fingerprint = (dataset / "dataset_fingerprint.json").read_bytes()
    (preprocessed / dataset.name / "dataset_fingerprint.json").write_bytes(fingerprint)
    monkeypatch.setenv("nnUNet_preprocessed", str(preprocessed))
    assert run("create", "--preset", "M").code == 0
    assert sorted(p.name for p in (preprocessed / dataset.name).iterdir()) == [
        "dataset.json", "dataset_fingerprint.json", "nnUNetResEncUNetMPlans.json",
    ]  # fmt: skip
    assert run("derive", "--batch-size", "6").code == 0
    monkeypatch.setenv("nnUNet_raw", str(dataset.parent))
    monkeypatch.chdir(tmp_path)
    assert "3d_fullres_bs6" in run("show", "-d", "900").out


@pytest.mark.parametrize("name", ["dataset.json", "dataset_fingerprint.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"labels": 3}'])
def test_damaged_inputs_are_named(
    run: Callable[..., Done], dataset: Path, name: str, content: str
) -> None:
    (dataset / name).write_text(content)
    done = run("create", "--preset", "M")
    assert done.code == 2
    assert name in done.err
    assert not list(dataset.glob("*Plans*"))


def test_a_dataset_without_cases_is_refused(run: Callable[..., Done], dataset: Path) -> None:
    (dataset / "dataset_fingerprint.json").unlink()
    done = run("create", "--preset", "M")
    assert done.code == 2
    assert "no cases" in done.err.lower() or "imagesTr" in done.err


def test_no_dataset_here_says_what_to_do(
    run: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("create")
    assert done.code == 2
    assert "-d" in done.err


def test_the_directory_of_output_may_be_chosen(
    run: Callable[..., Done], dataset: Path, tmp_path: Path
) -> None:
    assert run("create", "--preset", "M", "-o", tmp_path / "elsewhere").code == 0
    assert (tmp_path / "elsewhere" / "nnUNetResEncUNetMPlans.json").is_file()
    assert run("create", "--preset", "M", "-o", tmp_path / "my.json").code == 0
    assert Plans.load(tmp_path / "my.json").name == "nnUNetResEncUNetMPlans"


def test_plans_are_the_same_from_the_command_line_and_from_python(
    run: Callable[..., Done], dataset: Path
) -> None:
    from resenc_plans import Dataset, Fingerprint, create_plans

    assert run("create", "--preset", "L", "--no-provenance").code == 0
    fingerprint = Fingerprint.load(dataset / "dataset_fingerprint.json")
    plan = create_plans(fingerprint, Dataset.load(str(dataset)), preset="L")
    assert Plans.load(dataset / "nnUNetResEncUNetLPlans.json") == plan


@pytest.mark.parametrize("memory", ["80GB", "80 gb", "80GiB", "80G"])
def test_a_memory_may_have_its_unit(run: Callable[..., Done], dataset: Path, memory: str) -> None:
    assert run("create", "--gpu-memory", memory, "--name", "Mine").code == 0
    assert document(dataset / "Mine.json")["resenc_plans"]["gpu_memory_gb"] == 80


def test_a_fingerprint_beside_dataset_json_is_enough(
    run: Callable[..., Done], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "preprocessed").mkdir()
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    assert run("create", "-d", dataset).code == 0
    written = tmp_path / "preprocessed" / dataset.name
    assert sorted(path.name for path in written.iterdir()) == [
        "dataset.json", "dataset_fingerprint.json", "nnUNetResEncUNetLPlans.json",
    ]  # fmt: skip
    fingerprint = "dataset_fingerprint.json"
    assert document(written / fingerprint) == document(dataset / fingerprint)


def test_plans_with_data_of_their_own_share_no_folder(
    run: Callable[..., Done], dataset: Path
) -> None:
    coarse = ("create", "--preset", "M", "--spacing", "2,2,2", "--name")
    done = run(*coarse, "Shared")
    assert "--own-data gives them folders of their own" in " ".join(done.err.split())
    done = run(*coarse, "Apart", "--own-data")
    assert "share" not in done.err
    assert Plans.load(dataset / "Apart.json").resolve("2d").data_identifier == "Apart_2d"
    assert Plans.load(dataset / "Apart.json").resolve("3d_fullres").data_identifier == (
        "Apart_3d_fullres"
    )


def test_a_configuration_that_equals_that_of_other_plans_is_named(
    run: Callable[..., Done], dataset: Path
) -> None:
    assert "equal" not in run("create", "--preset", "M").out
    done = run("create", "--preset", "M", "--name", "Again", "--own-data")
    assert "2d, 3d_fullres equal those of nnUNetResEncUNetMPlans" in done.out
    assert "equal" not in run("create", "--preset", "M", "--name", "Again", "--own-data").err
    (dataset / "Again.json").unlink()
    assert "equal" not in run("create", "--preset", "default").out


def test_plans_are_written_before_anything_is_printed(
    run: Callable[..., Done], dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise FileError("closed")

    monkeypatch.setattr("resenc_plans.cli.commands.create.print_configurations", closed)
    done = run("create")
    assert done.code == 1
    assert "closed" in done.err
    assert (dataset / "nnUNetResEncUNetLPlans.json").is_file()


@pytest.mark.slow
def test_create_may_preprocess_too(
    run: Callable[..., Done], phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))
    done = run("create", "-d", phantom, "--preset", "M", "--preprocess")
    assert done.code == 0
    folder = tmp_path / phantom.name
    assert len(list((folder / "nnUNetPlans_3d_fullres").glob("*.pkl"))) == 3
    assert len(list((folder / "nnUNetPlans_2d").glob("*.pkl"))) == 3
    assert (folder / "gt_segmentations").is_dir()


def test_a_fingerprint_of_other_cases_comes_with_the_command_that_makes_it_anew(
    run: Callable[..., Done], phantom: Path, tmp_path: Path
) -> None:
    folder = tmp_path / phantom.name
    shutil.copytree(phantom, folder)
    path = folder / "dataset_fingerprint.json"
    content = json.loads(path.read_text())
    for key in ("spacings", "shapes_after_crop"):
        content[key] = content[key][:1]
    path.write_text(json.dumps(content))
    done = run("create", "-d", folder)
    line = next(line for line in done.err.splitlines() if line.startswith("resenc-plans"))
    assert line == f"resenc-plans fingerprint -d {folder} --overwrite"


def test_faults_of_the_images_are_told_once_and_stop_nothing_that_can_be_planned(
    run: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resenc_plans.datasets.extraction.SAMPLES_PER_DATASET", 1e5)
    folder = write_phantom(tmp_path / "Dataset900_Phantom", cases=5)
    for path in sorted((folder / "labelsTr").iterdir())[1:]:
        label = SimpleITK.ReadImage(str(path))
        label.SetSpacing((2.0, 2.0, 2.0))
        SimpleITK.WriteImage(label, str(path))
    done = run("create", "-d", folder, "--preset", "M")
    assert done.code == 0
    [line] = [line for line in done.err.splitlines() if "spacing-mismatch" in line]
    assert line.startswith(
        "error: 4 of 5 cases (phantom_001, phantom_002, phantom_003 and 1 more): CASE.nii.gz has "
        "the spacing (2, 2, 2) mm, but CASE_0000.nii.gz has (3, 0.9, 0.9) mm."
    )
    assert f"\nresenc-plans verify -d {folder}\n" in done.err
    assert (folder / "nnUNetResEncUNetMPlans.json").is_file()
    again = run("create", "-d", folder, "--preset", "L")
    assert "spacing-mismatch" not in again.err  # the images are not read again
