import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans import Plans
from tests.cli.conftest import NAME, Done
from tests.plans.documents import document as plans_document


def test_several_plans_files_are_listed_and_not_guessed_between(
    run: Callable[..., Done], here: Path
) -> None:
    Plans.from_dict(plans_document()).save(here / "other.json")
    done = run("derive", "--batch-size", "16")
    assert done.code == 2
    assert "other.json" in done.err
    assert "--plans" in done.err
    assert run("derive", "--batch-size", "16", "--plans", "other").code == 0


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{0}/othr.json", "{0}/othr.json: no such file. Did you mean {0}/other.json?"),
        ("{0}/other.jso", "{0}/other.jso: no such file. Did you mean {0}/other.json?"),
        (f"nowhere/{NAME}", f"nowhere/{NAME}: no such file."),
        ("{0}/folder", "{0}/folder: is a folder, a plans file was expected."),
    ],
)
def test_a_path_of_plans_never_names_plans_elsewhere(
    path: str, message: str, run: Callable[..., Done], here: Path
) -> None:
    (here / "folder").mkdir()
    Plans.from_dict(plans_document()).save(here / "other.json")
    done = run("show", "--plans", path.format(here))
    assert done.code == 2
    assert message.format(here) in done.err.replace("\n", "")


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


def test_a_slip_in_the_name_of_plans_is_met_with_the_nearest(
    run: Callable[..., Done], dataset: Path
) -> None:
    assert run("create", "--preset", "M").code == 0
    assert "Did you mean nnUNetResEncUNetMPlans?" in run("show", "-p", "nnUNetResEncUNetPlan").err


@pytest.mark.parametrize("content", ["9" * 5000, "[" * 800 + "]" * 800, '{"configurations": {}'])
def test_a_bad_json_file_in_the_folder_does_not_harm_the_other_plans(
    run: Callable[..., Done], here: Path, content: str
) -> None:
    (here / "aaa.json").write_text(content)
    (here / "Other.json").write_text((here / f"{NAME}.json").read_text())
    assert run("show", "-p", "Other").code == 0
    assert run("diff", NAME, "Other").code == 0
    for command in (("show", "-p"), ("validate",), ("cost", "-p"), ("upgrade", "-p")):
        done = run(*command, "aaa.json")
        assert "aaa.json" in done.out + done.err
        assert done.code in (1, 2)


def test_plans_with_a_slip_in_their_json_are_told_and_not_passed_over(
    run: Callable[..., Done], here: Path
) -> None:
    file = here / f"{NAME}.json"
    good = file.read_text()
    file.write_text(good.replace('"batch_size"', 'batch_size"', 1))
    for arguments in (("show",), ("resolve", "3d_fullres"), ("show", "-p", NAME)):
        done = run(*arguments)
        assert done.code == 2
        assert f"{NAME}.json: not valid JSON at line " in done.err
    done = run("validate")
    assert done.code == 2
    assert "S000" in done.out
    (here / "other.json").write_text(good)
    assert "Several plans files" in run("show").err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_no_command_waits_for_a_fifo(run: Callable[..., Done], here: Path) -> None:
    os.mkfifo(here / "fifo.json")
    for arguments in (
        ("validate", "fifo.json"),
        ("import-model", "fifo.json", "--results", "."),
        ("postprocess", ".", "-o", "out", "--apply", "fifo.json"),
    ):
        done = run(*arguments)
        assert done.code in (1, 2), arguments
