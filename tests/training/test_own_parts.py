"""Names of models: those of nnU-Net's trainers go with their settings."""

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import UsageError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.checkpoint import load_checkpoint
from resenc_plans.runs.trained_model import TrainedModel
from resenc_plans.training.own_parts import model_name
from resenc_plans.training.trainer import Trainer


def test_a_model_has_the_name_of_its_trainer() -> None:
    settings = TrainingSettings(trainer="nnUNetTrainerDA5")
    assert model_name(None, settings) == "nnUNetTrainerDA5"
    assert model_name("Mine", settings) == "Mine"
    assert model_name(None, TrainingSettings()) == "nnUNetTrainer"


def test_the_name_of_a_trainer_needs_its_settings() -> None:
    with pytest.raises(UsageError, match="Choose the trainer instead"):
        model_name("nnUNetTrainerDA5", TrainingSettings())
    with pytest.raises(UsageError, match="a name of its own"):
        model_name("nnUNetTrainerDA5", TrainingSettings(trainer="nnUNetTrainerDA5"), ["loss"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "axes"),
    [
        ("nnUNetTrainerBN", (0, 1, 2)),
        ("nnUNetTrainer_onlyMirror01_DA5", (0, 1)),
        ("nnUNetTrainerNoDA", None),
        ("nnUNetTrainer_probabilisticOversampling", (0, 1, 2)),
    ],
)
def test_a_trainer_trains_resumes_and_predicts(
    config: ResolvedConfiguration, dataset: Dataset, trainer: str, axes: tuple[int, ...] | None
) -> None:
    def made(epochs: int) -> Trainer:
        settings = TrainingSettings(
            trainer=trainer, epochs=epochs, iterations=1, validation_iterations=1, workers=0
        )
        return Trainer(config, dataset, 0, settings)

    result = made(1).fit()
    assert result.checkpoint.parts[-3].startswith(f"{trainer}__")
    checkpoint = load_checkpoint(result.checkpoint)
    assert (checkpoint.trainer_name, checkpoint.inference_allowed_mirroring_axes) == (trainer, axes)
    again = made(2)
    again.resume()
    again.fit()
    model = TrainedModel.load(result.checkpoint.parent.parent)
    [source] = model.weights
    assert model.mirror_axes == (axes or ())
    model.network(source)
