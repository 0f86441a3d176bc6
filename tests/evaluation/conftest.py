"""Fixtures of trained models."""

from pathlib import Path

import pytest

from tests.evaluation.trained_folders import write_model, write_references

FOLDS = (("a", "b"), ("c",))


@pytest.fixture
def two_models(tmp_path: Path) -> Path:
    """Results of two models; the second is better, and has no probabilities."""
    plans = tmp_path / "nnUNetPlans.json"
    plans.write_text('{"configurations": {}}')
    write_references(tmp_path / "ref", ["a", "b", "c"])
    folder = tmp_path / "results" / "Dataset009_Small"
    for name, noise, probabilities in (("2d", 0.6, True), ("3d_fullres", 0.1, False)):
        write_model(
            folder / f"nnUNetTrainer__nnUNetPlans__{name}", plans, tmp_path / "ref", FOLDS,
            noise=noise, seed=1, dataset_name=folder.name, probabilities=probabilities,
        )  # fmt: skip
    return folder
