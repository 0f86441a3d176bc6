"""A run that is stopped after three steps and resumed, beside one that nothing disturbs."""

import os
import signal
from pathlib import Path

import torch

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.checkpoint import load_checkpoint
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.history import Progress
from resenc_plans.training.trainer import Trainer


def assert_resumes_bit_for_bit(
    config: ResolvedConfiguration, dataset: Dataset, settings: TrainingSettings, folder: Path
) -> None:
    """Six steps, with weights and the optimizer's state compared; the stop is amid an epoch."""
    settings = settings.model_copy(
        update={"epochs": 3, "iterations": 2, "validation_iterations": 1, "checkpoint_epochs": 1}
    )
    undisturbed = Trainer(config, dataset, 0, settings, run_folder=RunFolder(folder / "a", 0))
    whole = load_checkpoint(undisturbed.fit().checkpoint)

    def stop_after_three_steps(progress: Progress) -> None:
        if progress.epoch == 1 and progress.is_training and progress.iteration == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    run = RunFolder(folder / "b", 0)
    stopped = Trainer(
        config, dataset, 0, settings, run_folder=run, on_progress=stop_after_three_steps
    )
    assert not stopped.fit().is_complete
    again = Trainer(config, dataset, 0, settings, run_folder=run)
    again.resume()
    resumed = load_checkpoint(again.fit().checkpoint)
    for name, weight in whole.network_weights.items():
        assert torch.equal(resumed.network_weights[name], weight), name
    assert whole.optimizer_state is not None
    assert resumed.optimizer_state is not None
    for number, state in whole.optimizer_state["state"].items():
        for key, value in state.items():
            again_value = resumed.optimizer_state["state"][number][key]
            assert torch.equal(torch.as_tensor(again_value), torch.as_tensor(value))
