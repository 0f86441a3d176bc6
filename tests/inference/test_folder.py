"""Prediction of folders, against what nnU-Net 2.8.1 wrote with its own model."""

import json
import os
import shutil
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans.datasets.images.images import read_image, read_label
from resenc_plans.errors import (
    ConfigurationError,
    FileError,
    LockedError,
    PredictionError,
    WorkerError,
)
from resenc_plans.execution.dask import dask_executor, worker_count
from resenc_plans.execution.locks import lock
from resenc_plans.inference.folder import (
    PredictionJob,
    PredictionProgress,
    predict_folder,
    predict_on,
)
from resenc_plans.inference.predictor import Predictor
from resenc_plans.inference.settings import PredictionSettings
from tests.inference.images import noise, write_image
from tests.inference.models import CPU, CPU_IN_FP32, in_fp32, write_model
from tests.inference.oracle import images_of, oracle_of


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images of one channel."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, case in enumerate(("one", "two", "three words.1")):
        write_image(folder / f"{case}_0000.nii.gz", noise(seed))
    return folder


def test_a_folder_gives_nnunets_files(shared: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    shutil.copy(images_of(shared) / "hippocampus_193_0000.nii.gz", inputs)
    predictor = Predictor.from_folder(
        shared / "oracle" / "model",
        (0,),
        settings=PredictionSettings(
            device="cpu", precision="fp32", mirroring=False, probabilities=True
        ),
    )
    report = predict_folder(predictor, inputs, tmp_path / "out")
    assert report.written == ("hippocampus_193",)
    expected, probabilities = oracle_of(shared, "plain", "193")
    out = tmp_path / "out" / "hippocampus_193.nii.gz"
    np.testing.assert_array_equal(read_label(out).array[0], expected)
    ours = np.load(out.parent / "hippocampus_193.npz")["probabilities"]
    np.testing.assert_allclose(ours, probabilities, atol=1e-3)
    theirs = shared / "oracle" / "predictions" / "plain" / out.name
    assert read_label(out).properties == read_label(theirs).properties
    for name in ("plans.json", "dataset.json"):
        copied = json.loads((out.parent / name).read_text())
        assert copied == json.loads((theirs.parent / name).read_text())


def test_a_bad_case_stops_no_other(predictor: Predictor, images: Path, tmp_path: Path) -> None:
    (images / "broken_0000.nii.gz").write_bytes(b"nothing")
    write_image(images / "two_0001.nii.gz", noise())
    write_image(images / "unnumbered.nii.gz", noise())
    seen: list[Any] = []
    report = predict_folder(predictor, images, tmp_path / "out", on_progress=seen.append)
    assert report.written == ("one", "three words.1")
    reasons = {problem.case: problem.reason for problem in report.problems}
    assert list(reasons) == ["broken", "two", "unnumbered.nii.gz"]
    assert "unreadable" in reasons["broken"]
    assert "2 channels" in reasons["two"]
    assert "channel number" in reasons["unnumbered.nii.gz"]
    assert seen[-1].cases_done == seen[-1].cases == 5
    segmentations = {path.name for path in (tmp_path / "out").iterdir()} - {
        "plans.json", "dataset.json", "predict_from_raw_data_args.json"
    }  # fmt: skip
    assert segmentations == {"one.nii.gz", "three words.1.nii.gz"}


def test_voxels_that_nnunets_reader_makes_zeros_are_zeros_and_told(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    hollow = noise()
    hollow[0] = 0
    write_image(images / "one_0000.nii.gz", hollow)
    hollow[0] = np.nan
    write_image(images / "two_0000.nii.gz", hollow)
    report = predict_folder(predictor, images, tmp_path / "out")
    assert report.written == ("one", "three words.1", "two")
    [remark] = report.remarks
    assert "two_0000.nii.gz: has voxels that are nan; predicted with zeros" in remark
    zeros, nans = (read_label(tmp_path / "out" / f"{case}.nii.gz") for case in ("one", "two"))
    np.testing.assert_array_equal(zeros.array, nans.array)


@pytest.mark.parametrize(("ending", "reader"), [(".nii.gz", "NibabelIO"), (".mha", "SimpleITKIO")])
def test_voxels_that_spoil_nnunets_labels_are_a_reason(
    images: Path, tmp_path: Path, ending: str, reader: str
) -> None:
    folder = write_model(tmp_path / "model")
    for name, key, value in (
        ("plans.json", "image_reader_writer", reader),
        ("dataset.json", "file_ending", ending),
    ):
        document = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(document | {key: value}))
    bad = noise()
    write_image(images / f"good_0000{ending}", bad)
    bad[0] = np.inf
    write_image(images / f"bad_0000{ending}", bad)
    report = predict_folder(Predictor.from_folder(folder, settings=CPU), images, tmp_path / "out")
    assert "good" in report.written
    [problem] = report.problems
    assert problem.case == "bad"
    assert f"bad_0000{ending}: has voxels that are infinite. Replace" in problem.reason


def test_a_reader_that_nnunet_does_not_have_is_refused_before_anything_is_written(
    images: Path, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model")
    document = json.loads((folder / "plans.json").read_text())
    (folder / "plans.json").write_text(json.dumps(document | {"image_reader_writer": "NibabIO"}))
    predictor = Predictor.from_folder(folder, settings=CPU)
    with pytest.raises(ConfigurationError, match=r"'NibabIO' \(did you mean NibabelIO\?\)"):
        predict_folder(predictor, images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_hold_what_predict_returns_on_the_images_grid(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    two_workers = Predictor(predictor.model, in_fp32(workers=2))
    predict_folder(two_workers, images, tmp_path / "out")
    image = read_image([images / "three words.1_0000.nii.gz"])
    written = read_label(tmp_path / "out" / "three words.1.nii.gz")
    expected = predictor.predict(image.array, image.spacing)
    np.testing.assert_array_equal(written.array[0], expected)
    assert written.properties == image.properties


def test_a_missing_channel_is_named(tmp_path: Path, images: Path) -> None:
    folder = write_model(tmp_path / "model", channels=2)
    predictor = Predictor.from_folder(folder, settings=CPU)
    write_image(images / "one_0001.nii.gz", noise(5))
    report = predict_folder(predictor, images, tmp_path / "out")
    assert report.written == ("one",)
    assert "0001 (channel 1)" in report.problems[0].reason


def test_a_channel_that_is_there_under_another_number_is_missing(
    tmp_path: Path, images: Path
) -> None:
    folder = write_model(tmp_path / "model", channels=2)
    write_image(images / "one_0002.nii.gz", noise(5))
    report = predict_folder(Predictor.from_folder(folder, settings=CPU), images, tmp_path / "out")
    assert "one" not in report.written
    reasons = {problem.case: problem.reason for problem in report.problems}
    assert "no file for 0001 (channel 1)" in reasons["one"]


def test_parts_are_disjoint_and_whole_cases_are_kept(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = predict_folder(predictor, images, out, part=(1, 2))
    second = predict_folder(predictor, images, out, part=(2, 2))
    assert first.written == ("one", "two")
    assert second.written == ("three words.1",)
    whole = (out / "one.nii.gz").read_bytes()
    (out / "one.nii.gz").write_bytes(whole[: len(whole) // 2])
    again = predict_folder(
        Predictor(predictor.model, in_fp32(skip_existing=True)),
        images,
        out,
    )
    assert again.written == ("one",)
    assert again.skipped == ("three words.1", "two")
    assert (out / "one.nii.gz").read_bytes() == whole
    with pytest.raises(PredictionError, match="Part 3/2"):
        predict_folder(predictor, images, out, part=(3, 2))


def test_a_second_stage_takes_the_segmentations_of_the_first(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "second", previous_stage="first")
    second = Predictor.from_folder(folder, settings=CPU_IN_FP32)
    predict_folder(predictor, images, tmp_path / "first")
    (tmp_path / "first" / "one.nii.gz").unlink()
    report = predict_folder(second, images, tmp_path / "out", previous_stage=tmp_path / "first")
    assert report.written == ("three words.1", "two")
    assert "previous stage" in report.problems[0].reason
    image = read_image([images / "two_0000.nii.gz"])
    previous = read_label(tmp_path / "first" / "two.nii.gz").array[0]
    data, _ = second.preprocess(image.array, image.properties, previous)
    np.testing.assert_array_equal(data[1:], [previous == 1, previous == 2])
    with pytest.raises(PredictionError, match="previous stage, first"):
        second.predict(image.array, image.spacing)
    with pytest.raises(PredictionError, match="`previous_stage=`"):
        predict_folder(second, images, tmp_path / "out")


def test_the_folder_of_images_is_no_place_for_segmentations(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileError, match="Name another"):
        predict_folder(predictor, images, images)
    with pytest.raises(FileError, match="no such folder"):
        predict_folder(predictor, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="no files that end in"):
        predict_folder(predictor, tmp_path / "empty", tmp_path / "out")


@pytest.fixture
def other(predictor: Predictor) -> Predictor:
    """The same model, used otherwise."""
    return Predictor(predictor.model, in_fp32(step_size=1.0))


def keeping(predictor: Predictor) -> Predictor:
    settings = predictor.settings.model_copy(update={"skip_existing": True})
    return Predictor(predictor.model, settings)


def test_cases_that_were_predicted_otherwise_are_not_kept(
    predictor: Predictor, other: Predictor, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict_folder(predictor, images, out)
    with pytest.raises(PredictionError, match=r"step_size 0\.5.*`skip_existing=`.*another folder"):
        predict_folder(keeping(other), images, out)
    assert predict_folder(keeping(predictor), images, out).written == ()
    assert len(predict_folder(other, images, out).written) == 3
    assert predict_folder(keeping(other), images, out).written == ()


def test_cases_of_a_former_prediction_are_not_kept_until_all_are_replaced(
    predictor: Predictor, other: Predictor, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict_folder(predictor, images, out)
    whole = (images / "one_0000.nii.gz").read_bytes()
    (images / "one_0000.nii.gz").write_bytes(b"nothing")
    assert predict_folder(other, images, out).written == ("three words.1", "two")
    (images / "one_0000.nii.gz").write_bytes(whole)
    for either in (predictor, other):
        with pytest.raises(PredictionError, match="step_size"):
            predict_folder(keeping(either), images, out)
    assert len(predict_folder(other, images, out).written) == 3
    assert predict_folder(keeping(other), images, out).written == ()


def test_a_summary_of_segmentations_that_are_replaced_is_removed_and_that_is_told(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary = out / "summary.json"
    predict_folder(predictor, images, out)
    summary.write_text("{}")
    assert predict_folder(keeping(predictor), images, out).remarks == ()
    (out / "one.nii.gz").unlink()
    assert predict_folder(keeping(predictor), images, out).written == ("one",)
    assert summary.is_file()
    [remark] = predict_folder(predictor, images, out).remarks
    assert remark == f"{summary}: is removed, since its segmentations are replaced."
    assert not summary.exists()


def test_two_runs_do_not_predict_into_one_folder_at_once(
    predictor: Predictor, other: Predictor, images: Path, tmp_path: Path
) -> None:
    out, refused = tmp_path / "out", list[str]()

    def predict_too(_: PredictionProgress) -> None:
        try:
            predict_folder(other, images, out)
        except LockedError as error:
            refused.append(str(error))

    predict_folder(predictor, images, out, on_progress=predict_too)
    assert all(f"process {os.getpid()} on host" in text for text in refused)
    assert refused
    assert not list(out.glob(".*"))


def test_a_worker_writes_no_case_when_its_run_has_ended(
    predictor: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    job = PredictionJob(predictor.model.folder, images, out, settings=CPU_IN_FP32)
    predict = Predictor.predict_logits
    with ExitStack() as going_on:
        run = going_on.enter_context(lock(out / "lock", out))

        def end_run(*arguments: Any) -> Any:
            logits = predict(*arguments)
            going_on.close()
            return logits

        monkeypatch.setattr(Predictor, "predict_logits", end_run)
        report = job.run((1, 1), run)
    assert report.written == ()
    assert all("has ended" in problem.reason for problem in report.problems)
    assert not list(out.glob("*.nii.gz"))
    with pytest.raises(LockedError, match="has ended"):
        job.run((1, 1), run)


@pytest.mark.slow
def test_parts_on_an_executor_give_what_one_run_gives(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    predict_folder(predictor, images, tmp_path / "one")
    job = PredictionJob(tmp_path / "model", images, tmp_path / "parts", settings=CPU_IN_FP32)
    with ThreadPoolExecutor(2) as executor:
        report = predict_on(executor, job, 2)
    assert report.written == ("one", "three words.1", "two")
    assert report.problems == ()
    for case in report.written:
        one, parts = (
            read_label(tmp_path / folder / f"{case}.nii.gz").array for folder in ("one", "parts")
        )
        np.testing.assert_array_equal(one, parts)


def test_a_lost_worker_of_a_part_is_told_as_that(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code of a WorkerError says that something may have been done."""

    def lose(*_: object) -> None:
        raise BrokenExecutor("a process was terminated abruptly")

    monkeypatch.setattr(PredictionJob, "run", lose)
    job = PredictionJob(tmp_path / "model", images, tmp_path / "out")
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(WorkerError, match=r"out: a worker was lost.*skip_existing="),
    ):
        predict_on(threads, job, 2)
    assert not (tmp_path / "out").exists(), "nothing was written to it"


@pytest.mark.slow
def test_dask_workers_share_the_cases(shared: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    images = tmp_path / "images"
    images.mkdir()
    for case in ("064", "130", "193"):
        name = f"hippocampus_{case}_0000.nii.gz"
        (images / name).symlink_to(shared / "data/Dataset004_Hippocampus/imagesTr" / name)
    job = PredictionJob(
        shared / "oracle" / "model",
        images,
        tmp_path / "predicted",
        folds=(0,),
        settings=PredictionSettings(device="cpu", precision="fp32", mirroring=False),
    )
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        dask_executor(cluster.scheduler_address) as executor,
    ):
        assert worker_count(executor) == 2
        report = predict_on(executor, job, worker_count(executor))
    assert report.problems == ()
    assert len(report.written) == 3
    for case in report.written:
        ours, theirs = (
            read_label(folder / f"{case}.nii.gz").array
            for folder in (tmp_path / "predicted", shared / "oracle/predictions/plain")
        )
        assert np.count_nonzero(ours != theirs) == 0


def test_a_folder_of_segmentations_is_refused_in_one_sentence(
    predictor: Predictor, tmp_path: Path
) -> None:
    folder = tmp_path / "labelsTr"
    folder.mkdir()
    for number in range(60):
        (folder / f"case_{number:02}.nii.gz").touch()
    with pytest.raises(FileError, match="none of 60 files has a channel number") as caught:
        predict_folder(predictor, folder, tmp_path / "out")
    assert "case_00.nii.gz, case_01.nii.gz, case_02.nii.gz and 57 more" in str(caught.value)
    assert not (tmp_path / "out").exists()
