"""Runs over whole datasets: what is done, what is left, and what is told."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans import Dataset, Plans
from resenc_plans.errors import (
    ConfigurationError,
    DatasetError,
    FileError,
    LockedError,
    PreprocessingError,
)
from resenc_plans.preprocessing import PreprocessingProgress, Preprocessor
from resenc_plans.preprocessing.normalize import NORMALIZATIONS
from resenc_plans.preprocessing.preprocessor import PreprocessingReport
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.preprocessing.store.check import check_store
from resenc_plans.preprocessing.store.folder import open_for_writing
from tests.preprocessing.datasets import (
    die_always,
    die_once,
    files_of,
    halve,
    image_file,
    label_file,
    make_dataset,
    plan,
    volume,
    write_image,
)

SCHEMES: Any = NORMALIZATIONS

NAMES = ("case_0", "case_1", "case_2", "case_3")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "preprocessed" / "nnUNetPlans_3d_fullres"


@pytest.fixture(scope="module")
def threads() -> Iterator[Any]:
    """Workers without the start of a process."""
    with ThreadPoolExecutor(2) as executor:
        yield executor


def run(
    dataset: Dataset, store: Path, executor: Any, plans: Plans | None = None, **options: Any
) -> PreprocessingReport:
    plans = plans or plan()
    return Preprocessor(plans.resolve("3d_fullres"), plans).run(dataset, store, executor, **options)


def spoil(dataset: Dataset, index: int, change: Callable[..., Any]) -> None:
    """Change the voxels of a case's image."""
    image, _ = volume(10 * index)
    write_image(change(image), image_file(dataset.folder, index))


class TestWhatIsDone:
    def test_every_case_is_stored(self, dataset: Dataset, store: Path, threads: Any) -> None:
        report = run(dataset, store, threads)

        assert sorted(report.stored) == sorted(CaseStore(store)) == list(NAMES)
        assert not report.unchanged
        assert not report.problems

    def test_a_segmentation_of_another_spacing_is_told(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        for index in (0, 2):
            path = label_file(dataset.folder, index)
            write_image(volume(10 * index)[1], path, (3.0, 1.2, 0.9))

        report = run(dataset, store, threads)

        assert sorted(report.stored) == list(NAMES)
        assert {(f.case, f.rule) for f in report.findings} == {
            ("case_0", "spacing-mismatch"),
            ("case_2", "spacing-mismatch"),
        }
        assert run(dataset, store, threads).findings == ()

    def test_processes_store_the_same_as_threads(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)
        by_threads = files_of(store)

        run(dataset, store, None, workers=2, force=True)

        assert files_of(store) == by_threads

    def test_a_rerun_does_nothing(self, dataset: Dataset, store: Path, threads: Any) -> None:
        run(dataset, store, threads)

        report = run(dataset, store, threads)

        assert report.stored == ()
        assert report.unchanged == NAMES

    def test_force_does_all(self, dataset: Dataset, store: Path, threads: Any) -> None:
        run(dataset, store, threads)

        assert len(run(dataset, store, threads, force=True).stored) == 4

    def test_a_changed_image_is_done_again(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)
        spoil(dataset, 2, lambda image: image + 1)

        assert run(dataset, store, threads).stored == ("case_2",)

    def test_a_file_that_was_only_touched_is_not(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)
        os.utime(label_file(dataset.folder, 1), (1, 1))

        assert run(dataset, store, threads).stored == ()

    @pytest.mark.parametrize("name", ["case_1.b2nd", "case_1_seg.b2nd", "case_1.pkl"])
    def test_a_lost_file_is_made_again(
        self, dataset: Dataset, store: Path, threads: Any, name: str
    ) -> None:
        run(dataset, store, threads)
        whole = files_of(store)
        (store / name).unlink()

        assert run(dataset, store, threads).stored == ("case_1",)
        assert files_of(store) == whole

    @pytest.mark.parametrize(
        "changes",
        [
            {"spacing": [1.0, 1.0, 2.0]},
            {"normalization_schemes": ["CTNormalization"]},
            {"transpose": (2, 0, 1)},
        ],
    )
    def test_other_plans_do_all_again(
        self, dataset: Dataset, store: Path, threads: Any, changes: dict[str, Any]
    ) -> None:
        run(dataset, store, threads)

        assert len(run(dataset, store, threads, plan(**changes)).stored) == 4

    def test_what_preprocessing_does_not_read_changes_nothing(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)

        assert run(dataset, store, threads, plan(batch_size=7, patch_size=[8, 8, 8])).stored == ()

    def test_intensities_matter_to_ct_only(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        for scheme, again in (("ZScoreNormalization", 0), ("CTNormalization", 4)):
            plans = plan(normalization_schemes=[scheme])
            document = plans.to_dict()
            document["foreground_intensity_properties_per_channel"]["0"]["mean"] = 5.0
            run(dataset, store, threads, plans)

            report = run(dataset, store, threads, Plans.from_dict(document))

            assert len(report.stored) == again

    def test_a_new_version_of_the_results_does_all_again(
        self, dataset: Dataset, store: Path, threads: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(dataset, store, threads)
        monkeypatch.setattr("resenc_plans.preprocessing.store.manifest.RESULTS_VERSION", 99)

        assert len(run(dataset, store, threads).stored) == 4

    def test_cases_that_left_the_dataset_leave_the_store(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)
        image_file(dataset.folder, 3).unlink()

        run(Dataset.load(dataset.folder), store, threads)

        assert tuple(CaseStore(store)) == NAMES[:3]

    def test_a_damaged_manifest_is_no_obstacle(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)
        manifest = store / ".resenc-plans" / "manifest.jsonl"
        manifest.write_bytes(manifest.read_bytes()[:-100])

        report = run(dataset, store, threads)

        assert len(report.stored) == 1
        assert len(report.unchanged) == 3

    def test_a_manifest_that_names_files_elsewhere_removes_none_of_them(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)
        victim = store.parent.parent / "victim.pkl"
        victim.write_text("mine")
        manifest = store / ".resenc-plans" / "manifest.jsonl"
        line = manifest.read_text().splitlines()[-1]
        manifest.write_text(line.replace(json.loads(line)["case"], "../../victim"))

        run(dataset, store, threads)

        assert victim.read_text() == "mine"

    @pytest.mark.parametrize("link", ["", "staging", "manifest.jsonl"])
    def test_a_link_in_a_store_is_not_followed(
        self, dataset: Dataset, store: Path, tmp_path: Path, link: str
    ) -> None:
        mine = tmp_path / "mine"
        (mine / "staging").mkdir(parents=True)
        (mine / "staging" / "mine").write_text("mine")
        (mine / "manifest.jsonl").write_text("mine")
        (store / ".resenc-plans" / link).parent.mkdir(parents=True)
        (store / ".resenc-plans" / link).symlink_to(mine / link)

        with pytest.raises(FileError, match="symbolic link"):
            run(dataset, store, None)

        assert (mine / "staging" / "mine").read_text() == "mine"
        assert (mine / "manifest.jsonl").read_text() == "mine"

    def test_progress_counts_to_the_end(self, dataset: Dataset, store: Path, threads: Any) -> None:
        seen: list[PreprocessingProgress] = []

        run(dataset, store, threads, on_progress=seen.append)

        assert [progress.done for progress in seen] == [1, 2, 3, 4]
        assert {progress.case for progress in seen} == set(NAMES)
        assert seen[0].total == 4
        assert 0 < seen[0].seconds <= seen[-1].seconds

    def test_one_case_in_memory_is_the_stored_one(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)
        image, labels = volume(0)
        properties = dict(CaseStore(store)["case_0"].properties)
        plans = plan()

        ours = Preprocessor(plans.resolve("3d_fullres"), plans).preprocess_case(
            image[None], labels[None], {"spacing": properties["spacing"]}, dataset.labels
        )

        np.testing.assert_array_equal(ours.image, CaseStore(store)["case_0"].image[:])
        np.testing.assert_array_equal(ours.labels, CaseStore(store)["case_0"].labels[:])
        np.testing.assert_equal(ours.properties["class_locations"], properties["class_locations"])

    def test_a_scheme_of_the_user_reaches_the_workers(
        self, dataset: Dataset, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(SCHEMES, "Halve", halve)

        run(dataset, store, None, plan(normalization_schemes=["Halve"]), workers=1)

        assert 0.4 < CaseStore(store)["case_0"].image[:].max() / 100 < 1.1


class TestTrouble:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda image: np.where(image == 7, np.nan, image), "has voxels that are nan"),
            (lambda image: np.full_like(image, 5), "has the value 5 everywhere"),
            (lambda image: image[:, 1:], "segmentation has the shape"),
        ],
        ids=["nan", "constant", "another shape"],
    )
    def test_a_bad_image_is_told_and_stops_no_other(
        self, dataset: Dataset, store: Path, threads: Any, change: Callable[..., Any], reason: str
    ) -> None:
        spoil(dataset, 1, change)

        report = run(dataset, store, threads)

        (problem,) = report.problems
        assert problem.case == "case_1"
        assert reason in str(problem)
        assert "imagesTr" in str(problem)
        assert tuple(CaseStore(store)) == ("case_0", "case_2", "case_3")

    def test_unknown_labels_are_told(self, dataset: Dataset, store: Path, threads: Any) -> None:
        _, labels = volume(20)
        write_image(labels + 7, label_file(dataset.folder, 2))

        (problem,) = run(dataset, store, threads).problems

        assert "labels 7, 8, 9, which dataset.json does not name; it names 0, 1, 2" in str(problem)

    def test_a_truncated_file_is_told_with_its_path(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        path = image_file(dataset.folder, 3)
        path.write_bytes(path.read_bytes()[:500])

        (problem,) = run(dataset, store, threads).problems

        assert str(path) in str(problem)

    def test_a_missing_label_is_told_with_its_path(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        label_file(dataset.folder, 0).unlink()

        (problem,) = run(dataset, store, threads).problems

        assert f"{label_file(dataset.folder, 0)}: no such file" in str(problem)

    def test_channels_that_differ_in_shape_are_told(
        self, tmp_path: Path, store: Path, threads: Any
    ) -> None:
        dataset = make_dataset(tmp_path, channels=2)
        write_image(volume(5)[0][1:], image_file(dataset.folder, 1, channel=1))

        report = run(dataset, store, threads, plan(channels=2))

        (problem,) = report.problems
        assert str(image_file(dataset.folder, 1, channel=1)) in str(problem)
        assert len(report.stored) == 3

    def test_a_missing_channel_is_told(self, tmp_path: Path, store: Path, threads: Any) -> None:
        dataset = make_dataset(tmp_path, channels=2)
        image_file(dataset.folder, 1, channel=1).unlink()

        (problem,) = run(Dataset.load(dataset.folder), store, threads, plan(channels=2)).problems

        assert "has 1 channel in 1 file, but the plans are for 2" in str(problem)

    def test_a_case_that_was_repaired_is_done(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        spoil(dataset, 1, lambda image: image * np.nan)
        run(dataset, store, threads)
        spoil(dataset, 1, lambda image: image)

        assert run(dataset, store, threads).stored == ("case_1",)

    def test_a_case_that_broke_leaves_no_old_files(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)
        spoil(dataset, 1, lambda image: image * np.nan)

        run(dataset, store, threads)

        assert not list(store.glob("case_1*"))

    def test_plans_for_other_channels_are_refused_at_once(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        with pytest.raises(ConfigurationError, match=r"for 2 channels, but .* names 1"):
            run(dataset, store, threads, plan(channels=2))

        assert not store.exists()

    def test_unknown_names_in_the_plans_are_refused_at_once(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        for changes, reason in (
            ({"normalization_schemes": ["Mine"]}, "register_normalization"),
            ({"normalization_schemes": ["Mine"]}, "json: 3d_fullres: normalization_schemes"),
            ({"preprocessor_name": "Mine"}, "json: 3d_fullres: preprocessor_name is 'Mine'"),
            ({"resampling_fn_data": "mine"}, "json: 3d_fullres: resampling_fn_data is 'mine'"),
            ({"resampling_fn_seg_kwargs": {"odd": 3}}, "resampling_fn_seg_kwargs.odd is no"),
            ({"resampling_fn_seg_kwargs": {"order": 1}}, "is_seg is missing"),
        ):
            with pytest.raises(ConfigurationError, match=reason):
                run(dataset, store, threads, plan(**changes))

    def test_a_slip_in_the_reader_is_named_and_stored_cases_stay(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)
        stored = sorted(store.iterdir())
        for key, slip, nearest in (
            ("image_reader_writer", "SimpelITKIO", "SimpleITKIO"),
            ("label_manager", "LabelManger", "LabelManager"),
        ):
            slipped = Plans.from_dict(plan().to_dict() | {key: slip})
            reason = f"plans: {key} is '{slip}' .did you mean {nearest}"
            with pytest.raises(ConfigurationError, match=reason):
                run(dataset, store, threads, slipped)
        assert sorted(store.iterdir()) == stored

    def test_a_dataset_without_cases_is_refused(
        self, tmp_path: Path, store: Path, threads: Any
    ) -> None:
        with pytest.raises(DatasetError, match="no training cases"):
            run(make_dataset(tmp_path, cases=0), store, threads)

    def test_a_file_in_the_place_of_the_folder_is_told(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        store.parent.mkdir()
        store.touch()

        with pytest.raises(FileError, match="a part of this path is a file"):
            run(dataset, store, threads)

    def test_two_runs_do_not_mix(self, dataset: Dataset, store: Path, threads: Any) -> None:
        with open_for_writing(store), pytest.raises(LockedError, match=f"process {os.getpid()}"):
            run(dataset, store, threads)

    @pytest.mark.slow
    def test_a_killed_worker_is_named_and_its_case_tried_again(
        self, dataset: Dataset, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(SCHEMES, "Die", die_once)
        monkeypatch.setenv("RESENC_PLANS_TEST_FLAG", str(tmp_path / "died"))
        spoil(dataset, 1, lambda image: image + 1000)
        notes = []

        report = run(
            dataset,
            store,
            None,
            plan(normalization_schemes=["Die"]),
            workers=2,
            on_progress=lambda progress: notes.append(progress.note),
        )

        (note,) = filter(None, notes)
        assert note.startswith("case_1: ")
        assert "killed (SIGKILL" in note
        assert note.endswith("it will be tried again alone")
        assert len(report.stored) == 4
        assert report.problems == ()

    @pytest.mark.slow
    def test_a_case_that_kills_twice_is_given_up(
        self, dataset: Dataset, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(SCHEMES, "Die", die_always)
        spoil(dataset, 1, lambda image: image + 1000)

        report = run(dataset, store, None, plan(normalization_schemes=["Die"]), workers=2)

        (problem,) = report.problems
        assert problem.case == "case_1"
        assert "killed" in problem.reason
        assert len(report.stored) == 3


class TestCheck:
    def test_a_good_store_has_no_problems(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)

        check = check_store(store)

        assert check.cases == NAMES
        assert check.problems == ()

    def test_one_flipped_bit_is_found(self, dataset: Dataset, store: Path, threads: Any) -> None:
        run(dataset, store, threads)
        content = bytearray((store / "case_2.b2nd").read_bytes())
        content[-100] ^= 1
        (store / "case_2.b2nd").write_bytes(content)

        (problem,) = check_store(store).problems

        assert problem.case == "case_2"
        assert "digest" in problem.reason

    @pytest.mark.parametrize("name", ["case_2.b2nd", "case_2_seg.b2nd", "case_2.pkl"])
    def test_a_lost_file_is_found(
        self, dataset: Dataset, store: Path, threads: Any, name: str
    ) -> None:
        run(dataset, store, threads)
        (store / name).unlink()

        (problem,) = check_store(store).problems

        assert name in problem.reason

    def test_cases_without_a_manifest_are_opened(
        self, dataset: Dataset, store: Path, threads: Any
    ) -> None:
        run(dataset, store, threads)
        (store / ".resenc-plans" / "manifest.jsonl").unlink()
        (store / "case_0_seg.b2nd").write_bytes((store / "case_1.b2nd").read_bytes())
        (store / "case_3.pkl").write_bytes(b"")

        problems = check_store(store).problems

        assert [problem.case for problem in problems] == ["case_3"]


def test_plans_that_contradict_the_configuration_are_refused() -> None:
    config = plan().resolve("3d_fullres")
    assert Preprocessor(config) == Preprocessor(config, None)
    assert Preprocessor(config, plan()).config == config
    with pytest.raises(PreprocessingError, match="is not the configuration of that name"):
        Preprocessor(config, plan(spacing=[9.0, 1.0, 1.0]))
