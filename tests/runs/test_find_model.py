"""Models are found by dataset, configuration, plans and trainer."""

from pathlib import Path

import pytest

from resenc_plans.errors import ModelError
from resenc_plans.runs.find_model import common_folds, find_dataset_results, find_model
from resenc_plans.runs.model_folder import ModelFolder

MODELS = ("nnUNetTrainer__P__2d", "nnUNetTrainer__P__3d_fullres", "Other__P__2d")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    for model in MODELS:
        folder = tmp_path / "results" / "Dataset007_Made" / model
        (folder / "fold_0").mkdir(parents=True)
        (folder / "plans.json").write_text("{}")
    (tmp_path / "results" / "Dataset007_Made" / "ensembles").mkdir()
    return tmp_path / "results"


def test_a_model_is_found_by_id_name_or_path(results: Path) -> None:
    expected = ModelFolder(results / "Dataset007_Made" / MODELS[1])
    for dataset in ("7", "007", "Dataset007_Made", str(results / "Dataset007_Made")):
        assert find_model(dataset, "3d_fullres", results=results) == expected


def test_the_environment_names_the_results_too(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_results", str(results))
    assert find_model("7", "3d_fullres").identifier == MODELS[1]


def test_nnunets_trainer_goes_before_others(results: Path) -> None:
    assert find_model("7", "2d", results=results).trainer == "nnUNetTrainer"
    assert find_model("7", "2d", trainer="Other", results=results).trainer == "Other"


def test_what_does_not_fit_is_listed(results: Path) -> None:
    with pytest.raises(ModelError, match=r"several models fit .*__2d, nnUNetTrainer__P__3d"):
        find_model("7", results=results)
    with pytest.raises(ModelError, match=r"no model fits .*Other__P__2d"):
        find_model("7", "3d_lowres", results=results)
    with pytest.raises(ModelError, match=r"Dataset '8': no results .*Dataset007_Made"):
        find_dataset_results("8", results)
    with pytest.raises(ModelError, match="nnUNet_results is not set"):
        find_dataset_results("7")


def test_a_model_folder_is_a_path(results: Path) -> None:
    model = find_model("7", "2d", results=results)
    assert Path(model) == results / "Dataset007_Made" / MODELS[0]
    assert model.run(0).path == Path(model) / "fold_0"


def test_folds_that_all_models_have_are_common(results: Path) -> None:
    first, second = (ModelFolder(results / "Dataset007_Made" / name) for name in MODELS[:2])
    for name in ("fold_1", "fold_10", "fold_all"):
        (first.folder / name).mkdir()
    (second.folder / "fold_all").mkdir()
    assert first.folds() == ("0", "1", "10", "all")
    assert common_folds((first, second)) == ("0",)
