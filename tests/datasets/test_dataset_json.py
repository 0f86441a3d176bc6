import csv
import json
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import DatasetError, FileError, UsageError
from tests.datasets.made import document

OF_THE_DECATHLON = {"metadata__dataset_2.json", "Task05_Prostate__dataset@4e41b357.json"}


def _files(shared: Path) -> list[Path]:
    with (shared / "corpus" / "INDEX.tsv").open(encoding="utf-8") as index:
        rows = list(csv.DictReader(index, delimiter="\t"))
    corpus = [shared / "corpus" / row["file"] for row in rows if row["kind"] == "dataset"]
    return corpus + sorted((shared / "oracle").rglob("*dataset.json"))


def test_every_real_file_is_read_and_kept_as_it_is(shared: Path) -> None:
    files = [path for path in _files(shared) if path.name not in OF_THE_DECATHLON]
    assert len(files) > 30
    for path in files:
        as_read = json.loads(path.read_text(encoding="utf-8-sig"))
        kept = DatasetJson.load(path).to_dict()
        assert json.dumps(kept) == json.dumps(as_read), path


def test_the_form_of_the_decathlon_is_named_with_what_to_do(shared: Path) -> None:
    files = [path for path in _files(shared) if path.name in OF_THE_DECATHLON]
    assert len(files) == 2
    for path in files:
        with pytest.raises(DatasetError, match=r"Medical Segmentation Decathlon.*file_ending"):
            DatasetJson.load(path)


def test_modality_is_the_old_name_of_channel_names() -> None:
    old = document(channel_names=None, modality={"0": "CT"})
    assert DatasetJson.from_dict(old).channels == ("CT",)


def test_label_values_may_be_written_as_strings_or_whole_floats() -> None:
    labels = {"background": "0", "organ": "1", "both": ["1", 2.0]}
    dataset_json = DatasetJson.from_dict(document(labels=labels))
    assert dict(dataset_json.labels) == {"background": 0, "organ": 1, "both": (1, 2)}
    assert dataset_json.to_dict()["labels"] == labels


def test_tabs_crlf_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    text = json.dumps(document(), indent="\t").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert DatasetJson.load(path).channels == ("T1", "T2")


def test_unknown_keys_are_kept() -> None:
    dataset_json = DatasetJson.from_dict(document(licence="CC0", tensorImageSize="4D"))
    assert dataset_json.to_dict()["licence"] == "CC0"


def test_changing_what_to_dict_gave_changes_nothing_here() -> None:
    dataset_json = DatasetJson.from_dict(document())
    dataset_json.to_dict()["labels"]["more"] = 3
    assert "more" not in dataset_json.to_dict()["labels"]


def test_it_cannot_be_changed() -> None:
    dataset_json = DatasetJson.from_dict(document())
    with pytest.raises(UsageError, match=r"DatasetJson\.file_ending cannot be changed\. Make"):
        dataset_json.file_ending = ".mha"  # type: ignore[misc]
    with pytest.raises(UsageError, match=r"DatasetJson\.labels cannot be changed"):
        dataset_json.model_copy(update={"labels": {}})
    with pytest.raises(UsageError, match=r"DatasetJson\.labels cannot be changed"):
        del dataset_json.labels
    assert dataset_json.model_copy().to_dict() == document()


def test_the_constructor_refuses_in_our_words_and_keeps_what_it_is_given() -> None:
    with pytest.raises(DatasetError) as caught:
        DatasetJson(labels={"background": []}, file_ending=3)
    assert str(caught.value) == (
        "DatasetJson: channel_names is missing; labels.background is not accepted: a region needs "
        "at least one label value (it is []); file_ending must be a text, not 3."
    )
    assert DatasetJson(**document()).to_dict() == document()


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        ({"channel_names": None}, "channel_names", "missing"),
        ({"channel_names": {}}, "channel_names", "1 or more"),
        ({"channel_names": ["T1"]}, "channel_names", "an object"),
        ({"labels": None}, "labels", "missing"),
        ({"labels": {"background": 0, "organ": 1.5}}, "labels.organ", "integer"),
        ({"labels": {"background": 0, "organ": "one"}}, "labels.organ", "integer"),
        ({"labels": {"background": 0, "organ": True}}, "labels.organ", "integer"),
        ({"labels": {"background": 0, "organ": []}}, "labels.organ", "at least one"),
        ({"file_ending": None}, "file_ending", "missing"),
        ({"file_ending": ""}, "file_ending", "must not be empty"),
        ({"numTraining": "many"}, "numTraining", "integer"),
        ({"regions_class_order": 3}, "regions_class_order", "a list"),
        ({"dataset": {"a": {"images": [], "label": "a"}}}, "dataset.a.images", "1 or more"),
    ],
)
def test_a_fault_names_file_key_and_reason(
    changes: dict[str, object], key: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(document(**changes)))
    with pytest.raises(DatasetError) as caught:
        DatasetJson.load(path)
    assert str(path) in str(caught.value)
    assert key in str(caught.value)
    assert reason in str(caught.value)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(DatasetError, match=r"channel_names.*file_ending"):
        DatasetJson.from_dict(document(channel_names=None, file_ending=None))


@pytest.mark.parametrize(
    ("other", "name"),
    [({"configurations": {}}, "plans file"), ({"shapes_after_crop": []}, "fingerprint")],
)
def test_json_of_another_kind_is_called_by_its_name(other: dict[str, object], name: str) -> None:
    with pytest.raises(DatasetError, match=name):
        DatasetJson.from_dict(other)


def test_a_list_is_not_a_dataset_json(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text("[]")
    with pytest.raises(DatasetError, match="JSON object"):
        DatasetJson.load(path)


def test_a_file_that_is_not_json_is_a_file_error(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text('{"labels": ')
    with pytest.raises(FileError, match="truncated"):
        DatasetJson.load(path)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"labels": {"background": 0, "a": 10**400}}, "labels"),
        ({"labels": {"background": 0, "a": "x" * 10**6}}, "labels"),
        ({"labels": {"background": 0, "a" * 10**6: "x"}}, "labels"),
        ({"numTraining": 10**400}, "numTraining"),
        ({"numTraining": -1}, "numTraining"),
    ],
)
def test_silly_values_are_refused_in_a_message_of_a_few_lines(
    changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(DatasetError, match=key) as error:
        DatasetJson.from_dict(document(**changes))
    assert len(str(error.value)) < 2500


def test_labels_may_be_called_as_types_are() -> None:
    with pytest.raises(DatasetError) as caught:
        DatasetJson.from_dict(
            {**document(), "labels": {"background": 0, "other": "x", "a[1]": "y"}}
        )
    assert "labels.other" in str(caught.value)
    assert "labels.a[1]" in str(caught.value)


def test_a_validated_document_keeps_itself() -> None:
    assert DatasetJson.model_validate(document()).to_dict() == document()
