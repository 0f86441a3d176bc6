"""nnU-Net's benchmarking trainers: they leave the time of an epoch, and no model."""

import json

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.workflows.train_fold import train_fold

pytestmark = pytest.mark.slow

KEYS = {"torch_version", "cudnn_version", "gpu_name", "fastest_epoch", "num_gpus", "hostname"}
"""Those of nnU-Net's file."""


@pytest.mark.parametrize("suffix", ["", "_noDataLoading"])
def test_a_benchmark_leaves_its_result_alone(
    config: ResolvedConfiguration, dataset: Dataset, suffix: str
) -> None:
    trainer = f"nnUNetTrainerBenchmark_5epochs{suffix}"
    settings = TrainingSettings(
        trainer=trainer, iterations=1, validation_iterations=1, workers=0, precision="fp32"
    )
    trained = train_fold(config, dataset, settings=settings, device="cpu")
    folder = trained.folder.path
    assert trained.validation is None
    assert not list(folder.glob("checkpoint*"))
    assert folder.parent.name.startswith(f"{trainer}__")
    [(key, result)] = json.loads((folder / "benchmark_result.json").read_text()).items()
    assert result.keys() == KEYS
    assert key.endswith("__cpu__num_gpus_1")
    assert result["fastest_epoch"] <= max(epoch.seconds for epoch in trained.training.epochs)
