"""A study from its file to a report, in processes."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resenc_plans.errors import DeviceError, LockedError, StudyError
from resenc_plans.execution.locks import lock
from resenc_plans.study.unattended.study import Study
from tests.study.unattended.made_study import NAME, write_study
from tests.visualization.picture_titles import title_of

pytestmark = pytest.mark.slow


def test_a_study_is_run_from_its_file_to_a_report_though_it_is_killed(finished: Path) -> None:
    report = finished.parent / "report"
    before = json.loads((report / "results.json").read_text())
    method = finished.parent / "runs" / NAME / "original"
    for folder in (method, finished.parent / "state" / NAME / "original", report):
        shutil.rmtree(folder)
    command = [sys.executable, "-m", "resenc_plans", "study", "run", str(finished)]
    with subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(method.glob("seed_0/fold_0/run.json")):
            time.sleep(0.05)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    ran = Study.load(finished).run(device="cpu")
    assert ran.failed == {}
    assert {path.name for path in report.iterdir()} == {
        *(path.name for path in ran.report), "overlays",
    }  # fmt: skip
    [overlay] = (report / "overlays" / NAME).iterdir()
    title = title_of(overlay)
    assert re.fullmatch(f"{overlay.stem}: (resenc-m|original), seed 0, fold 0", title)
    assert f'href="overlays/{NAME}/{overlay.name}"' in (report / "report.html").read_text()
    assert {path.name for path in ran.report} == {
        "report.html", "report.md", "table.tex", "cases.csv", "results.json", "costs.json",
        "discrimination.json", "provenance.json",
    }  # fmt: skip
    after = json.loads((report / "results.json").read_text())
    for results in (before, after):
        [dataset] = results["datasets"]
        assert set(dataset.pop("budgets")) == {"resenc-m", "original"}
        dataset["findings"] = [one for one in dataset["findings"] if one["rule"] != "C105"]
    assert after == before
    assert [one["sources"] for one in after["datasets"][0]["methods"]] == [
        [f"runs/{NAME}/{name}/seed_0/fold_0/validation/summary.json"]
        for name in ("resenc-m", "original")
    ]


def test_jobs_do_not_follow_a_study_that_is_edited_while_it_runs(finished: Path) -> None:
    method = finished.parent / "runs" / NAME / "original"
    for folder in (method, finished.parent / "state" / NAME / "original" / "seed_0"):
        shutil.rmtree(folder)
    document = json.loads(finished.read_text())

    def edit(said: str) -> None:
        if said == "1 training and evaluation to be done.":
            document["methods"]["original"]["settings"] = {"learning_rate": 0.1}
            finished.write_text(json.dumps(document))

    ran = Study.load(finished).run(device="cpu", on_progress=edit)
    assert list(ran.failed) == [
        f"{kind} of {NAME}/original/seed_0/fold_0"
        for kind in ("training", "prediction", "evaluation")
    ]
    assert all("have changed since this run began" in reason for reason in ran.failed.values())
    assert not method.exists()


def test_a_report_that_cannot_be_written_and_a_job_that_cannot_begin_are_failures(
    finished: Path,
) -> None:
    (finished.parent / "report" / "notes.txt").write_text("somebody else's")
    study = Study.load(finished)
    ran = study.run(device="cpu")
    assert list(ran.failed) == ["report"]
    assert "notes.txt" in ran.failed["report"]
    assert ran.report == ()
    record = finished.parent / "state" / NAME / "original" / "seed_0" / "fold_0"
    (record / "evaluation.json").unlink()
    job = next(job for job in study.opened.graph.jobs if "original" in job.name)
    with lock(study.opened.places.job_lock(job), finished.parent):
        ran = study.run(device="cpu")
    assert ran.failed[f"evaluation of {NAME}/original/seed_0/fold_0"] == (
        f"its process did not begin it, see {study.opened.places.job_log(job)}"
    )


def test_two_runs_of_one_study_exclude_each_other(finished: Path) -> None:
    with (
        lock(finished.parent / ".study.lock", finished.parent),
        pytest.raises(LockedError, match="has been writing to this folder since"),
    ):
        Study.load(finished).run(device="cpu")


def test_an_edited_study_says_what_is_stale_and_what_stays(finished: Path) -> None:
    document = json.loads(finished.read_text())
    document["methods"]["original"]["settings"] = {"learning_rate": 0.1}
    finished.write_text(json.dumps(document))
    with pytest.raises(StudyError, match=r"1 training was done otherwise .*original") as caught:
        Study.load(finished).run(device="cpu")
    assert "1 stays as it is" in str(caught.value)
    assert "`redo=`" in str(caught.value)


def test_a_study_is_shown_with_what_it_consists_of(finished: Path) -> None:
    study = Study.load(finished.parent)
    assert "resenc-m, original" in repr(study)
    assert study.folder == finished.parent


def test_all_that_cannot_be_built_is_named_before_anything_runs(tmp_path: Path) -> None:
    methods = {
        "one": {"baseline": "no-such-system"},
        "two": {"preset": "M", "network": "nowhere.Net"},
        "three": {"plans": "absent.json"},
    }
    path = write_study(tmp_path, methods=methods, folds=[0, 9])
    with pytest.raises(StudyError, match="nothing was run") as caught:
        Study.load(path).run(device="cpu")
    text = str(caught.value)
    for part in ("one on Data", "two on Data", "asks for 9"):
        assert part in text
    assert not (path.parent / "runs").exists()


def test_a_device_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    with pytest.raises(DeviceError, match="cuda:99"):
        Study.load(path).run(device="cuda:99")
    assert not (tmp_path / "preprocessed").exists()
