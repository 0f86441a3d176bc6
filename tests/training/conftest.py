"""A made-up dataset, preprocessed for a tiny network."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.demo import write_phantom
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.datasets.images.images import read_image, read_label
from resenc_plans.planning.planner import create_plans
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.preprocessing import Preprocessor
from resenc_plans.preprocessing.store.case_store import write_case
from tests.networks.configurations import residual, unet_arguments

TINY: dict[str, Any] = {"n_blocks_per_stage": [1, 1], "features_per_stage": [4, 8]}


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preprocessed folder with plans, configuration `tiny`; copy it before changing anything."""
    raw = tmp_path_factory.mktemp("raw") / "Dataset900_Phantom"
    write_phantom(raw, cases=6)
    dataset = Dataset.load(raw)
    plan = create_plans(Fingerprint.extract(dataset), dataset, preset="M")
    document = plan.to_dict()
    architecture = residual(n_stages=2, **TINY).architecture
    document["configurations"]["tiny"] = {
        "inherits_from": "3d_fullres",
        "patch_size": [8, 16, 16],
        "batch_size": 4,
        "architecture": {
            "network_class_name": architecture.network_class_name,
            "arch_kwargs": unet_arguments(3, 2, **TINY),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    folder = tmp_path_factory.mktemp("preprocessed") / raw.name
    folder.mkdir()
    plan = Plans.from_dict(document)
    plan.save(folder / f"{plan.name}.json")
    shutil.copy(raw / "dataset.json", folder)
    (folder / "dataset_fingerprint.json").write_text("{}")
    config = plan.resolve("tiny")
    preprocessor = Preprocessor(config, plan)
    for case in dataset.cases:
        assert case.label is not None
        image, label = read_image(case.images), read_label(case.label)
        done = preprocessor.preprocess_case(
            image.array, label.array, image.properties, dataset.labels
        )
        write_case(folder / config.data_identifier, case.name, done, config.patch_size)
    return folder


@pytest.fixture
def preprocessed(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the preprocessed folder; results go to a folder beside the plans."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / stored.name
    shutil.copytree(stored, folder)
    return folder


@pytest.fixture
def config(preprocessed: Path) -> ResolvedConfiguration:
    return Plans.load(preprocessed / "nnUNetResEncUNetMPlans.json").resolve("tiny")


@pytest.fixture
def dataset(preprocessed: Path) -> Dataset:
    return Dataset.load(str(preprocessed))


def splits(folder: Path) -> list[dict[str, list[str]]]:
    return json.loads((folder / "splits_final.json").read_text())


@dataclass(frozen=True)
class Fixed:
    """A sampler that always draws the same."""

    case: str
    first: tuple[int, ...]

    def draw(self, *_: object, **__: object) -> tuple[str, tuple[int, ...]]:
        return self.case, self.first
