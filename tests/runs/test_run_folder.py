"""The files of a training lie in its model's folder."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from resenc_plans import Dataset, Plans
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import FileError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.runs.checkpoint import OWN_KEY, Checkpoint, save_checkpoint
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_folder import RunFolder
from tests.plans.documents import document

DATASET = Dataset(
    Path("Dataset009_Small"),
    DatasetJson.from_dict(
        {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, "a": 1},
            "file_ending": ".nii.gz",
        }
    ),
)


def resolved(**keys: str) -> ResolvedConfiguration:
    """A configuration of plans in a file, though nothing reads it."""
    return Plans.from_dict(document() | keys, path=Path("plans.json")).resolve("3d_fullres")


CONFIG = resolved()


@pytest.mark.parametrize("link", ["", "training_log.txt", "metrics.jsonl"])
def test_a_run_is_not_written_behind_a_link(tmp_path: Path, link: str) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "training_log.txt").write_text("mine")
    run = RunFolder(tmp_path / "model", 0)
    (run.path / link).parent.mkdir(parents=True)
    (run.path / link).symlink_to(mine / link)
    with pytest.raises(FileError, match="symbolic link"):
        run.prepare(CONFIG, DATASET)
    assert [path.name for path in mine.iterdir()] == ["training_log.txt"]
    assert not (run.model / "plans.json").exists()


def test_files_of_a_model_take_the_place_of_links(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model", "all")
    run.model.mkdir()
    (tmp_path / "mine").write_text("mine")
    for name in ("plans.json", "dataset.json"):
        (run.model / name).symlink_to(tmp_path / "mine")
    run.prepare(CONFIG, DATASET)
    assert (tmp_path / "mine").read_text() == "mine"
    assert Plans.load(run.model / "plans.json").name == CONFIG.plans.name


@pytest.mark.parametrize(
    "keys",
    [
        {"plans_name": "../../escape"},
        {"dataset_name": "/etc"},
        {"dataset_name": ".."},
    ],
)
def test_a_model_lies_in_its_datasets_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, str]
) -> None:
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    good = ModelFolder.of(CONFIG, DATASET, "3d_fullres").folder
    assert good.parent == tmp_path / "Dataset004_Hippocampus"
    config = resolved(**keys)
    with pytest.raises(FileError, match=next(iter(keys))):
        ModelFolder.of(config, DATASET, "3d_fullres")
    with pytest.raises(FileError, match="configuration"):
        ModelFolder.of(CONFIG, DATASET, "../x")
    for folds in (("/../../x",), ("0", "..\\x")):
        with pytest.raises(FileError, match="folds"):
            ModelFolder(good).cross_validation(folds)
    with pytest.raises(FileError, match="configuration"):
        ModelFolder(good).next_stage("../../x")


def test_results_beside_the_plans_are_not_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("nnUNet_results", raising=False)
    preprocessed = tmp_path / "Dataset009_Small"
    preprocessed.mkdir()
    (preprocessed / "nnUNet_results").symlink_to(tmp_path)
    plans = Plans.from_dict(document(), path=preprocessed / "plans.json")
    with pytest.raises(FileError, match="symbolic link"):
        ModelFolder.of(plans.resolve("3d_fullres"), DATASET, "3d_fullres")


def test_lines_of_metrics_that_are_damaged_or_too_late_are_dropped(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "model", 0)
    run.path.mkdir(parents=True)
    for epoch in range(3):
        run.record({"epoch": epoch})
    path = run.path / "metrics.jsonl"
    with path.open("ab") as stream:
        stream.write(b'\xff\xfe\n{"epoch": "one"}\n[]\n{"epoch": 1')
    run.keep_records(2)
    assert path.read_text() == '{"epoch": 0}\n{"epoch": 1}\n'


@dataclass(frozen=True)
class Written:
    """A checkpoint of a run that began at a time, and when the file was last changed."""

    begun: float
    epochs: int
    iteration: int
    changed: int

    def save(self, path: Path) -> None:
        starts = [self.begun + epoch for epoch in range(self.epochs)]
        logging, own = {"epoch_start_timestamps": starts}, {OWN_KEY: {"iteration": self.iteration}}
        save_checkpoint(
            path, Checkpoint({}, None, None, logging, None, self.epochs, {}, "T", None, own)
        )
        os.utime(path, (self.changed, self.changed))


@pytest.mark.parametrize(
    ("checkpoints", "name"),
    [
        ({"latest": Written(5, 2, 7, 1), "best": Written(5, 2, 0, 9)}, "latest"),
        ({"latest": Written(5, 2, 0, 9), "best": Written(5, 3, 0, 1)}, "best"),
        ({"final": Written(5, 3, 0, 1), "best": Written(5, 3, 0, 9)}, "final"),
        ({"latest": Written(5, 0, 7, 9), "best": Written(5, 1, 0, 1)}, "best"),
        ({"final": Written(5, 9, 0, 9), "latest": Written(20, 2, 0, 1)}, "latest"),
        ({"final": Written(5, 9, 0, 1), "latest": None}, "latest"),
    ],
    ids=["batches", "epochs", "equal", "first-epoch", "begun-again-in-place", "damaged"],
)
def test_a_run_is_resumed_where_it_is_furthest_whatever_the_times_of_the_files(
    tmp_path: Path, checkpoints: dict[str, Written | None], name: str
) -> None:
    run = RunFolder(tmp_path / "model", 0)
    run.path.mkdir(parents=True)
    for key, written in checkpoints.items():
        path = run.checkpoint(f"checkpoint_{key}.pth")
        if written is None:
            path.write_bytes(b"damaged")
        else:
            written.save(path)
    assert run.resumable() == run.checkpoint(f"checkpoint_{name}.pth")
