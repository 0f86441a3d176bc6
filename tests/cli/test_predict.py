"""The command predict."""

import inspect
import os
import shlex
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans.cli.commands.predict import predict
from resenc_plans.datasets.images.images import read_label
from resenc_plans.errors import WorkerError
from resenc_plans.evaluation.postprocessing.postprocess import Determination, Postprocessing
from resenc_plans.evaluation.selection import Candidate, Selection, instructions
from resenc_plans.evaluation.summary import Summary
from resenc_plans.evaluation.task import EvaluationTask
from resenc_plans.execution.processes import LocalWorkers
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.runs.model_folder import ModelFolder
from tests.cli.conftest import Done
from tests.inference.images import noise, write_image
from tests.inference.models import write_model


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, case in enumerate(("one", "two")):
        write_image(folder / f"{case}_0000.nii.gz", noise(seed))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two models of a dataset where nnU-Net puts them."""
    folder = tmp_path / "results"
    dataset = folder / "Dataset007_Made"
    write_model(dataset / "nnUNetTrainer__madePlans__tested", folds=(0, 1))
    write_model(dataset / "nnUNetTrainer__madePlans__2d", dim=2)
    return folder


def test_a_model_is_named_by_folder_or_as_nnunet_names_it(
    run: Callable[..., Done],
    images: Path,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = results / "Dataset007_Made" / "nnUNetTrainer__madePlans__tested"
    done = run(
        "predict", "-i", images, "-o", tmp_path / "a", "-m", model, "--precision", "fp32",
        "--probabilities", "--workers", "2", "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "2 cases written" in done.out
    assert (tmp_path / "a" / "one.npz").is_file()
    monkeypatch.setenv("nnUNet_results", str(results))
    habit = run(
        "predict", "-i", images, "-o", tmp_path / "b", "-d", "7", "-c", "tested", "-p", "madePlans",
        "-f", "0", "1", "--precision", "fp32", "-device", "cpu",
    )  # fmt: skip
    assert habit.code == 0, habit.err
    one, same = (read_label(tmp_path / out / "one.nii.gz").array for out in "ab")
    np.testing.assert_array_equal(one, same)


def test_a_lost_process_is_told_with_the_option_that_keeps_what_is_written(
    run: Callable[..., Done],
    images: Path,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = Future[Any]()
    lost.set_exception(WorkerError("its worker process was killed (SIGKILL)"))
    monkeypatch.setattr(LocalWorkers, "submit", lambda *_, **__: lost)
    model = results / "Dataset007_Made" / "nnUNetTrainer__madePlans__tested"
    output = ("-o", tmp_path / "out", "--gpus", "2", "--device", "cpu")
    done = run("predict", "-i", images, "-m", model, *output)
    assert done.code == 1
    said = " ".join(done.err.split())
    assert "was killed (SIGKILL)" in said
    assert "predict again and keep them (--continue)" in said


@pytest.mark.slow
def test_processes_with_a_device_each_share_the_cases(
    run: Callable[..., Done], images: Path, results: Path, tmp_path: Path
) -> None:
    model = results / "Dataset007_Made" / "nnUNetTrainer__madePlans__tested"
    options = ("-i", images, "-m", model, "-f", "0", "--precision", "fp32", "--device", "cpu")
    shared = run("predict", "-o", tmp_path / "shared", "--gpus", "2", *options)
    alone = run("predict", "-o", tmp_path / "alone", *options)
    assert (shared.code, alone.code) == (0, 0), shared.err
    assert "2 cases written" in shared.out
    for case in ("one", "two"):
        one, same = (read_label(tmp_path / o / f"{case}.nii.gz").array for o in ("shared", "alone"))
        np.testing.assert_array_equal(one, same)


def test_what_select_says_to_run_runs(
    run: Callable[..., Done],
    images: Path,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("nnUNet_results", str(results))
    model = ModelFolder(results / "Dataset007_Made" / "nnUNetTrainer__madePlans__tested")
    best = Candidate(model.identifier, (model,), model.folder, 0.5)
    unchanged = Summary((), ())
    nothing = Determination(
        task=EvaluationTask((1,)), postprocessing=Postprocessing(), trials=(),
        before=unchanged, after=unchanged, problems=(),
    )  # fmt: skip
    selection = Selection(
        candidates=(best,), best=best, folds=("0", "1"), ensembles=True,
        determination=nothing, notes=(),
    )  # fmt: skip
    [line] = [text for text in instructions(selection).splitlines() if "predict" in text]
    named = {"INPUT_FOLDER": images, "OUTPUT_FOLDER": tmp_path / "out"}
    program, *arguments = [named.get(word, word) for word in shlex.split(line)]
    assert program == "resenc-plans"
    assert run(*arguments).code == 0
    assert run(*arguments, "-f", "0,1", "--continue").code == 0
    assert (tmp_path / "out" / "two.nii.gz").is_file()


def test_pictures_that_cannot_be_drawn_cost_nothing_else(
    run: Callable[..., Done], images: Path, results: Path, tmp_path: Path
) -> None:
    model = results / "Dataset007_Made" / "nnUNetTrainer__madePlans__2d"
    options = ("-i", images, "-o", tmp_path / "out", "-m", model, "--no-mirroring")
    (tmp_path / "file").touch()
    done = run("predict", *options, "--overlay", tmp_path / "file")
    assert done.code == 2
    assert "--overlay names a folder" in done.err
    assert not (tmp_path / "out").exists()

    assert run("predict", *options).code == 0
    (images / "one_0000.nii.gz").write_bytes(b"nothing")
    done = run("predict", *options, "--continue", "--overlay", tmp_path / "pictures")
    assert "one: is not drawn." in done.err
    assert "2 already existed" in done.out
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["two.png"]


def test_failed_cases_are_listed_last_and_make_exit_code_1(
    run: Callable[..., Done], images: Path, results: Path, tmp_path: Path
) -> None:
    (images / "broken_0000.nii.gz").write_bytes(b"nothing")
    model = results / "Dataset007_Made" / "nnUNetTrainer__madePlans__2d"
    done = run("predict", "-i", images, "-o", tmp_path / "out", "-m", model, "--no-mirroring")
    assert done.code == 1
    assert "2 cases written" in done.out
    assert done.out.splitlines()[-1].startswith("broken\t")
    same = ("-m", model, "--no-mirroring")
    again = run("predict", "-i", images, "-o", tmp_path / "out", *same, "--continue")
    assert "0 cases written" in again.out
    assert "2 already existed" in again.out


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_a_compiler_that_fails_is_told_with_the_option_that_does_without_it(
    run: Callable[..., Done],
    images: Path,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoCompilerError(RuntimeError):
        __module__ = "torch._inductor.exc"

    def compiled(_: Any) -> Any:
        def forward(_: Any) -> Any:
            raise NoCompilerError("No working C++ compiler found.\nSet TORCHDYNAMO_VERBOSE=1")

        return forward

    monkeypatch.setattr("torch.compile", compiled)
    model = results / "Dataset007_Made" / "nnUNetTrainer__madePlans__2d"
    done = run("predict", "-i", images, "-o", tmp_path / "out", "-m", model, "--compile")
    assert done.code == 1
    expected = (
        "torch.compile failed: No working C++ compiler found. Predict without it (--compile)."
    )
    assert expected in done.out


def test_names_in_any_script_are_cases_and_those_in_no_encoding_are_named(
    run: Callable[..., Done], images: Path, results: Path, tmp_path: Path
) -> None:
    image = (images / "one_0000.nii.gz").rename(images / "患者 山田 太郎 [bold]_0000.nii.gz")
    no_text = Path(os.fsdecode(b"caf\xe9_0000.nii.gz"))
    (images / no_text).write_bytes(image.read_bytes())
    (images / "gone_0000.nii.gz").symlink_to(tmp_path / "nowhere")
    (images / "turn_0000.nii.gz").symlink_to(images / "turn_0000.nii.gz")
    model = results / "Dataset007_Made" / "nnUNetTrainer__madePlans__2d"
    done = run(
        "predict", "-i", images, "-o", tmp_path / "out", "-m", model, "--no-mirroring",
        "--probabilities", "--overlay", tmp_path / "pictures",
    )  # fmt: skip
    assert done.code == 1
    failed = dict(line.split("\t") for line in done.out.splitlines()[2:])
    assert list(failed) == [r"caf\udce9", "gone", "turn"]
    assert "not valid UTF-8" in failed[r"caf\udce9"]
    assert "no such file" in failed["gone"]
    assert "links lead in a circle" in failed["turn"]
    assert (tmp_path / "out" / "患者 山田 太郎 [bold].nii.gz").is_file()
    assert (tmp_path / "pictures" / "患者 山田 太郎 [bold].png").is_file()


def test_parts_split_a_folder(
    run: Callable[..., Done], images: Path, results: Path, tmp_path: Path
) -> None:
    model = results / "Dataset007_Made" / "nnUNetTrainer__madePlans__2d"
    done = run("predict", "-i", images, "-o", tmp_path / "out", "-m", model, "--part", "2/2")
    assert done.code == 0
    assert not (tmp_path / "out" / "one.nii.gz").exists()
    assert (tmp_path / "out" / "two.nii.gz").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "-m"),
        (("-d", "8"), "Dataset007_Made"),
        (("-d", "7", "-c", "3d_lowres"), "madePlans__tested"),
        (("-d", "7"), "several models fit"),
        (("-d", "7", "-c", "tested", "-f", "4"), "fold_4"),
        (("-d", "7", "-c", "tested", "-f", ","), "folds are numbers, such as 0,1,2, or all"),
        (("-d", "7", "-c", "tested", "--part", "one"), "--part"),
        (("-d", "7", "-c", "tested", "--part", "0/2"), "choose 1/2 to 2/2"),
        (("-d", "7", "-c", "tested", "--part", "1/0"), "at least one part"),
        (("-d", "7", "-c", "tested", "--device", "toaster"), "toaster"),
        (("-d", "7", "-c", "tested", "--step-size", "0"), "--step-size must be greater than 0"),
        (("-d", "7", "-c", "tested", "-m", "x"), "omit"),
        (("-d", "7", "-c", "tested", "--dask", "tcp://x:1", "--part", "1/2"), "omit --part"),
        (("-d", "7", "-c", "tested", "--gpus", "2", "--part", "1/2"), "--gpus shares"),
        (("-d", "7", "-c", "tested", "--gpus", "2", "--dask", "tcp://x:1"), "contradict"),
        (("-d", "7", "-c", "tested", "--gpus", "2", "--device", "cuda:3"), "--device cuda:3 contr"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    run: Callable[..., Done],
    images: Path,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[Any, ...],
    message: str,
) -> None:
    monkeypatch.setenv("nnUNet_results", str(results))
    done = run("predict", "-i", images, "-o", tmp_path / "out", *arguments)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_a_cascades_second_stage_asks_for_the_first_by_its_option(
    run: Callable[..., Done], images: Path, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "second", previous_stage="first")
    done = run("predict", "-i", images, "-o", tmp_path / "out", "-m", model)
    assert done.code == 2
    assert "name its output folder with --previous." in " ".join(done.err.split())


def test_what_the_command_takes_by_default_is_what_the_settings_are_by_default() -> None:
    defaults = {
        name: parameter.default for name, parameter in inspect.signature(predict).parameters.items()
    }
    settings = PredictionSettings()
    for name in ("checkpoint", "device", "precision", "step_size", "probabilities", "workers"):
        assert defaults[name] == getattr(settings, name)
    assert defaults["no_mirroring"] is not settings.mirroring
    assert defaults["skip_existing"] is settings.skip_existing
