"""For every command: files to work on, and arguments, so that all of them can be tested alike."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.datasets.images.images import read_image, read_label
from resenc_plans.planning.planner import create_plans
from resenc_plans.plans.plans import Plans
from resenc_plans.preprocessing import Preprocessor
from resenc_plans.preprocessing.store.case_store import write_case
from resenc_plans.runs.archive import ExportRequest, export_model
from tests.datasets.old_tasks import write_task
from tests.evaluation.label_folders import write_dataset_json, write_labels
from tests.evaluation.trained_folders import write_model as write_validated_model
from tests.evaluation.trained_folders import write_references
from tests.inference.models import write_model
from tests.inference.predictions import prediction
from tests.networks.configurations import residual, unet_arguments
from tests.plans.documents import OLD_CONFIGURATION, document

CASES = ("a", "b", "c")
SHAPE = (10, 24, 20)
DATA, PLANS = "data/Dataset900_Small", "data/Dataset900_Small/nnUNetResEncUNetMPlans.json"
MODEL = "results/Dataset999_Made/nnUNetTrainer__madePlans__tested"
TINY: dict[str, Any] = {"n_blocks_per_stage": [1, 1], "features_per_stage": [4, 8]}


@dataclass(frozen=True)
class Scene:
    """What to call a command with, in a folder of `write_files`."""

    arguments: str
    code: int = 0
    """Its exit code where nothing is wrong."""
    writes: bool = True
    case_by_case: bool = False
    """Whether one case may fail and another not, so that what it prints may come in between."""


SCENES = {
    "doctor": Scene("", writes=False),
    "verify": Scene(f"-d {DATA}", writes=False),
    "fingerprint": Scene(f"-d {DATA} -o out/fingerprint.json"),
    "demo": Scene("out/Dataset901_Phantom --cases 1"),
    "create": Scene(f"-d {DATA} --preset M --name New"),
    "presets": Scene("", writes=False),
    "baselines": Scene("", writes=False),
    "cost": Scene(f"-p {PLANS} 2d", writes=False),
    "preprocess": Scene(f"-d {DATA} -p {PLANS} -c 2d --workers 1", case_by_case=True),
    "train": Scene(
        f"{DATA} tiny all -p {PLANS} --device cpu --settings settings.json",
        case_by_case=True,
    ),
    "predict": Scene(f"-i images -o out/predicted -m {MODEL} --device cpu", case_by_case=True),
    "ensemble": Scene("one two -o out/averaged --probabilities", case_by_case=True),
    "evaluate": Scene("segmented -r reference -d segmented/dataset.json -o out/summary.json"),
    "postprocess": Scene(
        "segmented -r reference -d segmented/dataset.json -o out/cleaned", case_by_case=True
    ),
    "accumulate": Scene("-d 9 -c 2d --results results -r chosen/reference -o out/folds"),
    "select": Scene("-d 9 --results results -r chosen/reference"),
    "compare": Scene("segmented perfect -r reference -o out/report"),
    "export-model": Scene(f"-m {MODEL} -o out/model.zip"),
    "import-model": Scene("model.zip --results out"),
    "download-model": Scene("model.zip --results out"),
    "convert-msd": Scene("-i Task05_New --raw out --workers 1"),
    "convert-old": Scene("Task006_Old Dataset006_Old --raw out"),
    "move-plans": Scene(f"-s {DATA} -t data/Dataset901_Other -sp nnUNetResEncUNetMPlans"),
    "show": Scene(f"-p {PLANS} 2d --network --plot out/network.svg"),
    "resolve": Scene(f"-p {PLANS} 2d", writes=False),
    "derive": Scene(f"-p {PLANS} --batch-size 3 --name three"),
    "diff": Scene(f"{PLANS} old.json", code=1, writes=False),
    "upgrade": Scene("-p old.json"),
    "validate": Scene(PLANS, writes=False),
    "schema": Scene("plans -o out/schemas"),
}
"""By the name of the command."""


def write_files(root: Path) -> None:
    """All that the commands work on."""
    (root / "out").mkdir(parents=True)
    (root / "settings.json").write_text(
        json.dumps(
            {"epochs": 1, "iterations": 2, "validation_iterations": 1, "precision": "fp32"}
            | {"workers": 1, "compile": False}
        )
    )
    old = document() | {"configurations": {"3d_fullres": OLD_CONFIGURATION}}
    (root / "old.json").write_text(json.dumps(old))
    _write_dataset(root / DATA)
    write_task(root / "Task05_New", channels=1)
    write_task(root / "Task006_Old", channels=1, old=True)
    other = root / "data/Dataset901_Other"
    other.mkdir()
    write_dataset_json(other / "dataset.json", {"background": 0, "tumour": 1}, None)
    _write_predictions(root)
    _write_models(root)


def _write_dataset(folder: Path) -> None:
    """Images, plans with a configuration `tiny`, and its stored cases."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    write_dataset_json(folder / "dataset.json", {"background": 0, "tumour": 1}, None)
    for case in CASES:
        labels = np.zeros(SHAPE, np.uint8)
        labels[2:7, 4:14, 3:12] = 1
        image = labels * 50 + random.normal(size=SHAPE)
        write_labels(folder / "labelsTr" / f"{case}.nii.gz", labels)
        write_labels(folder / "imagesTr" / f"{case}_0000.nii.gz", image.astype(np.float32))
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(description | {"numTraining": len(CASES)}))
    dataset = Dataset.load(str(folder))
    fingerprint = Fingerprint.extract(dataset)
    fingerprint.save(folder / "dataset_fingerprint.json")
    plans = create_plans(fingerprint, dataset, preset="M").to_dict()
    plans["configurations"]["tiny"] = {
        "inherits_from": "3d_fullres",
        "patch_size": [8, 16, 16],
        "batch_size": 2,
        "architecture": {
            "network_class_name": residual(n_stages=2, **TINY).architecture.network_class_name,
            "arch_kwargs": unet_arguments(3, 2, **TINY),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    plan = Plans.from_dict(plans)
    plan.save(folder / f"{plan.name}.json")
    config = plan.resolve("tiny")
    for stored in dataset.cases:
        read, label = read_image(stored.images), read_label(str(stored.label))
        done = Preprocessor(config).preprocess_case(
            read.array, label.array, read.properties, dataset.labels
        )
        write_case(folder / config.data_identifier, stored.name, done, config.patch_size)


def _write_predictions(root: Path) -> None:
    """Segmentations with specks, their references, and folders of probabilities."""
    data = root / DATA
    shutil.copytree(data / "labelsTr", root / "reference")
    for case in CASES:
        labels = read_label(root / "reference" / f"{case}.nii.gz").array[0].copy()
        labels[9, 20:, 18:] = 1
        write_labels(root / "segmented" / f"{case}.nii.gz", labels)
    shutil.copytree(data / "labelsTr", root / "perfect")
    for folder in ("segmented", "perfect"):
        shutil.copy(data / "dataset.json", root / folder)
    for seed, name in enumerate(("one", "two")):
        prediction(root / name, seed)


def _write_models(root: Path) -> None:
    """Two models with validations, one that predicts, and its archive."""
    (root / "plans.json").write_text('{"configurations": {}}')
    write_references(root / "chosen/reference", CASES[:2])
    dataset = root / "results" / "Dataset009_Small"
    for seed, name in enumerate(("2d", "3d_fullres")):
        write_validated_model(
            dataset / f"nnUNetTrainer__nnUNetPlans__{name}", root / "plans.json",
            root / "chosen/reference", (CASES[:1], CASES[1:2]),
            noise=0.4, seed=seed, dataset_name=dataset.name,
        )  # fmt: skip
    (root / "plans.json").unlink()
    shutil.copytree(root / DATA / "imagesTr", root / "images")
    write_model(root / MODEL, mirror_axes=None, n_stages=2)
    export_model([root / MODEL], root / "model.zip", ExportRequest(("0",)))
