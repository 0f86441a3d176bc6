import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.splits import load_splits, make_splits
from resenc_plans.errors import DatasetError, FileError, PreprocessingError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.runs.folds import FoldCases, count_folds, fold_cases, is_random, stored_fold
from tests.networks.configurations import residual

DOCUMENT = {"channel_names": {"0": "CT"}, "labels": {"background": 0}, "file_ending": ".nii.gz"}
DATASET = Dataset(Path("nowhere"), DatasetJson.from_dict(DOCUMENT))


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    folder = tmp_path / "cases"
    folder.mkdir()
    for name in "abcdef":
        (folder / f"{name}.b2nd").touch()
    return CaseStore(folder)


@pytest.fixture
def config(tmp_path: Path) -> ResolvedConfiguration:
    """A configuration whose plans lie beside the store."""
    plans = residual(n_stages=2).plans
    return Plans.from_dict(plans.to_dict(), path=tmp_path / "plans.json").resolve("tested")


def references(config: ResolvedConfiguration, cases: Iterable[str]) -> None:
    """Put a reference of each case where preprocessing puts it."""
    folder = config.plans.folder / "gt_segmentations"
    folder.mkdir()
    for case in cases:
        (folder / f"{case}.nii.gz").touch()


def test_folds_are_made_once_and_then_honoured(tmp_path: Path, store: CaseStore) -> None:
    split = fold_cases(tmp_path, store, 0)
    assert sorted((*split.train, *split.val)) == list("abcdef")
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a"], "val": ["f"]}]))
    assert fold_cases(tmp_path, store, 0).to_dict() == {"train": ["a"], "val": ["f"]}


def test_a_fold_that_the_file_lacks_is_a_random_split(tmp_path: Path, store: CaseStore) -> None:
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["a"], "val": ["f"]}]))
    split = fold_cases(tmp_path, store, 7)
    assert (len(split.train), len(split.val)) == (4, 2)
    assert not {*split.train} & {*split.val}
    assert split == fold_cases(tmp_path, store, 7) != fold_cases(tmp_path, store, 8)


def test_a_fold_beyond_those_of_the_split_is_known_to_be_random(
    tmp_path: Path, store: CaseStore
) -> None:
    assert [is_random(tmp_path, fold) for fold in (0, 4, 5, "all")] == [False, False, True, False]
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["a"], "val": ["f"]}]))
    assert is_random(tmp_path, 1)
    assert count_folds(tmp_path) == 1


def test_for_fewer_cases_than_folds_the_message_says_what_to_do(
    tmp_path: Path, store: CaseStore
) -> None:
    for name in "ef":
        (store.folder / f"{name}.b2nd").unlink()
    with pytest.raises(DatasetError, match=r"4 cases are too few .* Train fold all, or write"):
        fold_cases(tmp_path, store, 0)
    assert fold_cases(tmp_path, store, "all").val == tuple("abcd")


def test_all_trains_and_validates_on_every_case(tmp_path: Path, store: CaseStore) -> None:
    assert fold_cases(tmp_path, store, "all").train == tuple("abcdef")
    assert not (tmp_path / "splits_final.json").exists()


def test_the_splits_are_of_the_datasets_cases_whatever_is_stored(
    config: ResolvedConfiguration, store: CaseStore
) -> None:
    references(config, "abcdefg")
    with pytest.raises(
        PreprocessingError, match=r"1 of 7 cases are not preprocessed: g\. .*`allow_missing_cases=`"
    ):
        stored_fold(config, DATASET, store, 0)
    assert not (config.plans.folder / "splits_final.json").exists()
    cases = [
        stored_fold(config, DATASET, store, fold, allow_missing_cases=True) for fold in range(5)
    ]
    splits = load_splits(config.plans.folder / "splits_final.json")
    assert splits == make_splits("abcdefg")
    for used, split in zip(cases, splits, strict=True):
        assert used.train == tuple(name for name in split.train if name != "g")
        assert used.val == tuple(name for name in split.val if name != "g")
        assert used.missing == ("g",)
        assert used.notes == (
            f"{store.folder}: 1 of 7 cases are not preprocessed: g. They take no part.",
        )


def test_an_existing_split_decides_which_cases_must_be_stored(
    config: ResolvedConfiguration, store: CaseStore
) -> None:
    path = config.plans.folder / "splits_final.json"
    path.write_text(
        json.dumps([{"train": ["a"], "val": ["f"]}, {"train": ["a", "z"], "val": ["f"]}])
    )
    references(config, "abcdefg")
    used = stored_fold(config, DATASET, store, 0)
    assert (used.train, used.val, used.missing) == (("a",), ("f",), ())
    [note] = used.notes
    assert "5 cases of the dataset are in no fold and take no part: b, c, d, e, g." in note
    with pytest.raises(PreprocessingError, match=r"1 of 3 cases are not preprocessed: z\."):
        stored_fold(config, DATASET, store, 1)


def test_many_missing_cases_are_named_to_ten(
    config: ResolvedConfiguration, store: CaseStore
) -> None:
    references(config, [f"x{number:02}" for number in range(12)])
    with pytest.raises(PreprocessingError, match=r"12 of 18 cases .*x00, .*x09 and 2 more\."):
        stored_fold(config, DATASET, store, "all")


def test_missing_cases_whose_names_are_unknown_are_counted(
    config: ResolvedConfiguration, store: CaseStore
) -> None:
    dataset = Dataset(Path("nowhere"), DatasetJson.from_dict({**DOCUMENT, "numTraining": 8}))
    with pytest.raises(
        PreprocessingError, match=r"2 of 8 cases .*\(2 of unknown names: numTraining"
    ):
        stored_fold(config, dataset, store, 0)
    used = stored_fold(config, dataset, store, 0, allow_missing_cases=True)
    assert (used.missing, used.unnamed, len(used.all)) == ((), 2, 6)


def test_stored_cases_that_the_dataset_does_not_have_take_no_part(
    config: ResolvedConfiguration, store: CaseStore, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    (raw / "imagesTr").mkdir(parents=True)
    for name in "abcde":
        (raw / "imagesTr" / f"{name}_0000.nii.gz").touch()
    used = stored_fold(config, Dataset(raw, DATASET.json), store, "all")
    assert used.train == tuple("abcde")
    assert "1 stored case is not in the dataset and takes no part: f." in used.notes[0]


def test_a_fold_of_which_nothing_is_stored_is_refused(
    config: ResolvedConfiguration, store: CaseStore
) -> None:
    path = config.plans.folder / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a"], "val": ["z"]}]))
    with pytest.raises(DatasetError, match="or none held out"):
        stored_fold(config, DATASET, store, 0, allow_missing_cases=True)


def test_the_cases_of_a_run_are_kept_in_its_folder(tmp_path: Path) -> None:
    cases = FoldCases(train=("a", "b"), val=("c",), missing=("d",), unnamed=2)
    assert FoldCases.load(tmp_path) is None
    cases.save(tmp_path)
    assert FoldCases.load(tmp_path) == cases
    (tmp_path / "cases.json").write_text('{"train": 1}')
    with pytest.raises(FileError, match=r"cases\.json: does not hold the cases"):
        FoldCases.load(tmp_path)


@pytest.mark.parametrize("fold", [-1, "any", 0.5])
def test_what_is_no_fold_is_refused(tmp_path: Path, store: CaseStore, fold: Any) -> None:
    with pytest.raises(DatasetError, match="a number from 0, or all"):
        fold_cases(tmp_path, store, fold)
