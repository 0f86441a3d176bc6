import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans import Dataset
from resenc_plans.datasets.splits import load_splits, make_splits
from resenc_plans.errors import DatasetError


def test_folds_of_real_cases_are_nnunet_s(shared: Path) -> None:
    dataset = Dataset.load(shared / "data" / "Dataset004_Hippocampus")
    expected = shared / "oracle" / "Dataset004_Hippocampus" / "splits_final.json"
    splits = make_splits([case.name for case in dataset.cases])
    assert splits == load_splits(expected)
    assert [split.to_dict() for split in splits] == json.loads(expected.read_text())


def test_every_real_file_of_splits_is_read(shared: Path) -> None:
    with (shared / "corpus" / "INDEX.tsv").open(encoding="utf-8") as index:
        rows = [row for row in csv.DictReader(index, delimiter="\t") if row["kind"] == "splits"]
    assert rows
    for row in rows:
        path = shared / "corpus" / row["file"]
        assert [split.to_dict() for split in load_splits(path)] == json.loads(path.read_text())


@given(st.integers(2, 8).flatmap(lambda f: st.tuples(st.just(f), st.integers(f, 60))))
def test_each_case_is_held_out_once(folds_and_cases: tuple[int, int]) -> None:
    folds, cases = folds_and_cases
    names = [f"case_{i:03}" for i in range(cases)]
    splits = make_splits(names, folds)
    assert sorted(name for split in splits for name in split.val) == names
    for split in splits:
        assert sorted(split.train + split.val) == names


@pytest.mark.parametrize(("cases", "folds"), [(4, 5), (0, 5), (5, 1)])
def test_impossible_folds_are_an_error(cases: int, folds: int) -> None:
    with pytest.raises(DatasetError, match=f"{cases} cases.*{folds} folds?:"):
        make_splits([str(i) for i in range(cases)], folds)


@pytest.mark.parametrize(
    "document", [{}, [], [3], [{"train": ["a"]}], [{"train": ["a"], "val": [1]}]]
)
def test_a_file_of_another_form_is_named(document: object, tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=str(path)):
        load_splits(path)
