import json
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import DatasetError
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.runs.folds import fold_cases, is_random


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    folder = tmp_path / "cases"
    folder.mkdir()
    for name in "abcdef":
        (folder / f"{name}.b2nd").touch()
    return CaseStore(folder)


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


def test_cases_that_are_not_stored_are_named(tmp_path: Path, store: CaseStore) -> None:
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["a", "z"], "val": ["f"]}]))
    with pytest.raises(DatasetError, match=r"lacks 1 cases .*\(z\)"):
        fold_cases(tmp_path, store, 0)


@pytest.mark.parametrize("fold", [-1, "any", 0.5])
def test_what_is_no_fold_is_refused(tmp_path: Path, store: CaseStore, fold: Any) -> None:
    with pytest.raises(DatasetError, match="a number from 0, or all"):
        fold_cases(tmp_path, store, fold)
