"""Stored cases of the shared dataset; and what pytest must not import here: the peer's scripts."""

import json
import random
import shutil
from collections.abc import Collection
from pathlib import Path

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.images.images import read_image, read_label
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.preprocessing import Preprocessor
from resenc_plans.preprocessing.store.case_store import write_case

collect_ignore_glob = ["*_with_nnunet.py", "compare_networks.py", "trace_training_steps.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder: it needs the real nnU-Net, and it is slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("interop")
            item.add_marker("slow")


def store(
    config: ResolvedConfiguration, raw: Dataset, names: Collection[str], folder: Path
) -> None:
    """Preprocess some cases of a dataset."""
    preprocessor = Preprocessor(config)
    for case in raw.cases:
        if case.name in names and case.label:
            image, label = read_image(case.images), read_label(case.label)
            done = preprocessor.preprocess_case(
                image.array, label.array, image.properties, raw.labels
            )
            write_case(folder / config.data_identifier, case.name, done, config.patch_size)


@pytest.fixture
def hippocampus(shared: Path, tmp_path: Path) -> tuple[Path, Plans, Dataset]:
    """Five stored cases of the shared dataset, with the plans of the shared model."""
    name = "Dataset004_Hippocampus"
    folder = tmp_path / "nnUNet_preprocessed" / name
    folder.mkdir(parents=True)
    for variable in ("nnUNet_raw", "nnUNet_results"):
        (tmp_path / variable).mkdir()
    shutil.copy(shared / "oracle/model/plans.json", folder / "nnUNetResEncUNetMPlans.json")
    for file in ("dataset.json", "dataset_fingerprint.json"):
        shutil.copy(shared / "oracle/model" / file, folder)
    plan = Plans.load(folder / "nnUNetResEncUNetMPlans.json")
    config = plan.resolve("3d_fullres_small")
    raw = Dataset.load(str(shared / "data" / name))
    few = random.Random(0).sample(raw.cases, 5)
    store(config, raw, [case.name for case in few], folder)
    names = sorted(case.name for case in few)
    (folder / "splits_final.json").write_text(json.dumps([{"train": names[:4], "val": names[4:]}]))
    return folder, plan, Dataset.load(str(folder))
