"""Archives of models: what is refused, and what a refusal leaves (nothing)."""

import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from resenc_plans.errors import FileError, LockedError, ModelError
from resenc_plans.runs.archive import ExportRequest, export_model, import_model
from resenc_plans.runs.model_folder import ModelFolder

MODEL = "Dataset009_Small/nnUNetTrainer__nnUNetPlans__2d"
CHECKPOINT = {
    "network_weights": {"a": torch.zeros(2)},
    "optimizer_state": None,
    "grad_scaler_state": None,
    "logging": {},
    "_best_ema": None,
    "current_epoch": 1,
    "init_args": {},
    "trainer_name": "nnUNetTrainer",
    "inference_allowed_mirroring_axes": (0, 1),
}
DATASET_JSON = (
    '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}'
)


class Call:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("1",)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "made" / MODEL
    (folder / "fold_0" / "validation").mkdir(parents=True)
    torch.save(CHECKPOINT, folder / "fold_0" / "checkpoint_final.pth")
    (folder / "fold_0" / "progress.png").write_bytes(b"picture")
    (folder / "fold_0" / "validation" / "summary.json").write_text("{}")
    (folder / "plans.json").write_text('{"configurations": {}}')
    (folder / "dataset.json").write_text(DATASET_JSON)
    return folder


@pytest.fixture
def archive(model: Path, tmp_path: Path) -> Path:
    export_model([model], tmp_path / "model.zip", ExportRequest(("0",)))
    return tmp_path / "model.zip"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def test_what_is_exported_is_installed(archive: Path, model: Path, results: Path) -> None:
    assert import_model(archive, results) == (results / MODEL,)
    for path in model.rglob("*"):
        if path.is_file():
            twin = results / MODEL / path.relative_to(model)
            assert twin.read_bytes() == path.read_bytes()


def test_an_archive_is_replaced_only_on_demand_and_holds_the_trained_folds(
    model: Path, archive: Path
) -> None:
    with pytest.raises(FileError, match="already exists"):
        export_model([model], archive)
    names = export_model([model], archive, overwrite=True)
    assert f"{MODEL}/fold_0/checkpoint_final.pth" in names


def test_ensembles_of_exported_models_come_along(model: Path, tmp_path: Path) -> None:
    ensembles = model.parent / "ensembles"
    for other in (model.name, "nnUNetTrainer__nnUNetPlans__3d_fullres"):
        folder = ensembles / f"ensemble___{model.name}___{other}___0"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text("{}")
    (model.parent / "inference_information.json").write_text("{}")
    names = export_model([model], tmp_path / "m.zip", ExportRequest(("0",)))
    assert sum("ensemble___" in name for name in names) == 1
    assert "Dataset009_Small/inference_information.json" in names


def test_an_installed_model_is_replaced_only_on_demand_and_loses_no_other_file(
    archive: Path, results: Path
) -> None:
    import_model(archive, results)
    summary = results / MODEL / "fold_0" / "validation" / "summary.json"
    prediction = summary.with_name("case.nii.gz")
    prediction.write_bytes(b"labels")
    summary.write_text("mine")
    with pytest.raises(ModelError, match=r"already exists\. Nothing was installed"):
        import_model(archive, results)
    assert summary.read_text() == "mine"
    import_model(archive, results, overwrite=True)
    assert summary.read_text() == "{}"
    assert prediction.read_bytes() == b"labels"
    assert [path.name for path in (results / MODEL).parent.iterdir()] == [Path(MODEL).name]


def test_a_second_model_of_a_dataset_leaves_the_choice_that_was_made(
    archive: Path, model: Path, results: Path, tmp_path: Path
) -> None:
    import_model(archive, results)
    choice = results / MODEL / ".." / "inference_information.json"
    choice.write_text("mine")
    other = model.rename(model.with_name("nnUNetTrainer__nnUNetPlans__3d_fullres"))
    (other.parent / choice.name).write_text("{}")
    export_model([other], tmp_path / "other.zip", ExportRequest(("0",)))
    [installed] = import_model(tmp_path / "other.zip", results)
    assert (installed / "fold_0" / "checkpoint_final.pth").is_file()
    assert choice.read_text() == "mine"


def test_a_model_that_cannot_be_put_in_its_place_leaves_the_old_one(
    archive: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_model(archive, results)
    (results / MODEL / "plans.json").write_text("mine")
    replace = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if target == results / MODEL:
            raise OSError("the disk is gone")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(FileError, match=r"not installed.*the disk is gone"):
        import_model(archive, results, overwrite=True)
    assert (results / MODEL / "plans.json").read_text() == "mine"
    assert [path.name for path in (results / MODEL).parent.iterdir()] == [Path(MODEL).name]


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("../escaped.txt", "leads out of its folder"),
        (f"{MODEL}/../../../escaped.txt", "leads out of its folder"),
        (f"{MODEL}/./x", "leads out of its folder"),
        ("/tmp/escaped.txt", "is an absolute path"),
        ("C:/escaped.txt", "is an absolute path"),
        ("Dataset009_Small\\..\\escaped.txt", "a backslash"),
        (link(f"{MODEL}/fold_1"), "is a link"),
        ("elsewhere/file.txt", "does not begin with a dataset's folder"),
        ("Dataset009_Small", "a file where a dataset's folder"),
        (f"{MODEL}/.hidden", "is a hidden file"),
        (f"{MODEL}/fold_0/NUL.txt", "Windows keeps this name"),
        (f"{MODEL}/fold_0./x.txt", "ends with a blank or a dot"),
        (f"{MODEL}/{'x' * 201}", "201 bytes"),
        (f"{MODEL}/PLANS.json", "occurs twice"),
    ],
)
def test_entries_that_lead_astray_are_refused(
    entry: str | zipfile.ZipInfo, why: str, archive: Path, results: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr(entry, "/etc/passwd")
    with pytest.raises(ModelError, match=why):
        import_model(archive, results)
    assert list(results.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("fold_1/checkpoint_final.pth", b"nothing", "damaged, or not a checkpoint"),
        ("fold_0/validation/a.pkl", pickle.dumps(Call()), "asks to load builtins.eval"),
        ("postprocessing.pkl", pickle.dumps(Call()), "asks to load builtins.eval"),
        ("fold_0/debug.json", b"{", "not valid JSON"),
    ],
)
def test_contents_that_are_not_plain_data_are_refused(
    name: str, content: bytes, why: str, archive: Path, results: Path
) -> None:
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr(f"{MODEL}/{name}", content)
    with pytest.raises(ModelError, match=f"refused.*{why}"):
        import_model(archive, results)
    assert list(results.iterdir()) == []


def test_a_checkpoint_that_would_call_something_is_refused(
    archive: Path, results: Path, tmp_path: Path
) -> None:
    torch.save({"network_weights": Call()}, tmp_path / "bad.pth")
    with zipfile.ZipFile(archive, "a") as target:
        target.write(tmp_path / "bad.pth", f"{MODEL}/fold_1/checkpoint_final.pth")
    with pytest.raises(ModelError, match=r"would call builtins\.eval"):
        import_model(archive, results)


def test_an_archive_larger_than_the_limit_is_refused(archive: Path, results: Path) -> None:
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as target:
        target.writestr(f"{MODEL}/zeros.bin", bytes(5_000_000))
    with pytest.raises(ModelError, match="unpacks to"):
        import_model(archive, results, max_bytes=4_000_000)
    import_model(archive, results)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, spoil, Path.unlink])
def test_a_damaged_archive_is_named(
    damage: Callable[[Path], None], archive: Path, results: Path
) -> None:
    damage(archive)
    with pytest.raises(ModelError, match=r"model\.zip: (damaged|refused|no such file)"):
        import_model(archive, results)
    assert list(results.iterdir()) == []


def test_an_archive_without_a_model_is_refused(results: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as target:
        target.writestr("Dataset009_Small/readme.txt", "hello")
        target.writestr("__MACOSX/x", "litter")
    with pytest.raises(ModelError, match="there is no model in it"):
        import_model(tmp_path / "other.zip", results)


def test_what_is_missing_from_a_model_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"fold 3 does not exist \(trained: 0\)"):
        export_model([model], tmp_path / "m.zip", ExportRequest(("3",)))
    with pytest.raises(ModelError, match=r"checkpoint_best\.pth: no such file"):
        export_model([model], tmp_path / "m.zip", ExportRequest(("0",), ("checkpoint_best.pth",)))
    (model / "plans.json").unlink()
    with pytest.raises(ModelError, match="so this is not a trained model"):
        export_model([model], tmp_path / "m.zip", ExportRequest(("0",)))
    assert not (tmp_path / "m.zip").exists()


def test_ensembles_are_not_installed_behind_a_link(
    archive: Path, model: Path, results: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    dataset = results / Path(MODEL).parent
    dataset.mkdir()
    (dataset / "ensembles").symlink_to(tmp_path / "mine")
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr(f"{Path(MODEL).parent}/ensembles/ensemble___a___b___0/summary.json", "{}")
    with pytest.raises(FileError, match="symbolic link"):
        import_model(archive, results)
    assert list((tmp_path / "mine").iterdir()) == []
    assert [path.name for path in dataset.iterdir()] == ["ensembles"]


def test_old_files_are_exported(model: Path, tmp_path: Path) -> None:
    os.utime(model / "plans.json", (0, 0))
    assert export_model([model], tmp_path / "m.zip", ExportRequest(("0",)))


def test_a_model_that_is_being_trained_is_not_replaced(archive: Path, results: Path) -> None:
    import_model(archive, results)
    run = ModelFolder(results / MODEL).run("0")
    with run.locked(), pytest.raises(LockedError, match="fold_0"):
        import_model(archive, results, overwrite=True)
    import_model(archive, results, overwrite=True)
    assert not run.lock_file.exists()


def test_a_fold_that_is_a_link_stays_one(archive: Path, results: Path, tmp_path: Path) -> None:
    import_model(archive, results)
    (tmp_path / "scratch").mkdir()
    link = results / MODEL / "fold_1"
    link.symlink_to(tmp_path / "scratch")
    import_model(archive, results, overwrite=True)
    assert link.readlink() == tmp_path / "scratch"
    (results / MODEL / "fold_0").rename(tmp_path / "fold_0")
    (results / MODEL / "fold_0").symlink_to(tmp_path / "fold_0")
    with pytest.raises(ModelError, match="fold_0: is a link"):
        import_model(archive, results, overwrite=True)
    assert (results / MODEL / "fold_0" / "checkpoint_final.pth").is_file()
