"""A trained model with its weights, read from its folder."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resenc_plans.errors import FileError, ModelError
from resenc_plans.networks.build import build_network
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.runs.checkpoint import load_checkpoint, save_checkpoint
from resenc_plans.runs.trained_model import TrainedModel
from tests.inference.models import write_model
from tests.networks.configurations import configuration


def test_fold_all_is_taken_where_there_is_no_other(tmp_path: Path) -> None:
    alone = write_model(tmp_path / "alone", folds=("all",))
    assert [path.split("/")[-2] for path in TrainedModel.load(alone).weights] == ["fold_all"]
    beside = write_model(tmp_path / "beside", folds=("all", 1))
    assert [path.split("/")[-2] for path in TrainedModel.load(beside).weights] == ["fold_1"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        TrainedModel.load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"has no plans\.json"):
        TrainedModel.load(tmp_path)
    folder = write_model(tmp_path / "model")
    with pytest.raises(ModelError, match=r"fold_3.*There is: fold_0"):
        TrainedModel.load(folder, 3)
    with pytest.raises(ModelError, match=r"There is: fold_0/checkpoint_final\.pth"):
        TrainedModel.load(folder, checkpoint="checkpoint_best.pth")


def test_folds_and_checkpoints_are_in_the_models_folder(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    write_model(tmp_path / "other")
    with pytest.raises(FileError, match=r"fold .fold_/\.\./\.\./other"):
        TrainedModel.load(folder, ("/../../other/fold_0",))
    with pytest.raises(FileError, match=r"checkpoint .\.\./\.\./other"):
        TrainedModel.load(folder, checkpoint="../../other/fold_0/checkpoint_final.pth")


def test_a_network_has_the_heads_that_it_was_trained_with(tmp_path: Path) -> None:
    """MedNeXt has those of lower resolutions with deep supervision only."""
    name = "resenc_plans.networks.baselines.mednext.MedNeXt"

    def mednext(_: int) -> ResolvedConfiguration:
        return configuration(name, {"variant": "S"}, (32, 16, 16))

    model = TrainedModel.load(write_model(tmp_path / "model", kind=mednext))
    [(source, weights)] = model.weights.items()
    trained = build_network(model.config, 1, 3)
    trained.load_state_dict(weights)
    image = torch.randn(1, 1, 32, 16, 16)
    with torch.no_grad():
        assert torch.equal(model.network(source)(image), trained(image)[0])
    highest = build_network(model.config, 1, 3, deep_supervision=False)
    single = replace(model, weights={source: highest.state_dict()}).network(source)
    assert torch.is_tensor(single(image))


def test_a_model_of_an_external_trainer_has_the_network_of_its_plans(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    path = folder / "fold_0" / "checkpoint_final.pth"
    save_checkpoint(path, replace(load_checkpoint(path), trainer_name="MyTrainer"))
    model = TrainedModel.load(folder)
    [source] = model.weights
    loaded = model.network(source)
    planned = build_network(model.config, 1, 3, deep_supervision=False)
    assert list(loaded.state_dict()) == list(planned.state_dict())
