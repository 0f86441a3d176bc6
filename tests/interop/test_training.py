"""Training against the real nnU-Net: losses, transforms, the split over ranks, checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.images.images import read_image, read_label
from resenc_plans.datasets.labels import Labels
from resenc_plans.inference.predictor import Predictor
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.checkpoint import load_checkpoint
from resenc_plans.runs.run_facts import FoldFacts
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.batches.augmentation import (
    plane_wise,
    spatial_transform,
    training_transforms,
    validation_transforms,
)
from resenc_plans.training.batches.patch_geometry import spatial_settings
from resenc_plans.training.defaults import polynomial
from resenc_plans.training.losses import DiceBinaryCrossEntropy, DiceCrossEntropy
from resenc_plans.training.pseudo_dice import count_overlap
from resenc_plans.training.ranks import split_batch
from resenc_plans.training.trainer import Trainer
from tests.inference.models import CPU_IN_FP32
from tests.networks.configurations import configuration, plain, unet_arguments

SCRIPT = Path(__file__).parent / "train_with_nnunet.py"
KINDS = ("labels", "labels ignored", "regions", "regions ignored")
LOSSES = [
    (kind, batch_dice, dim) for kind in KINDS for batch_dice in (True, False) for dim in (2, 3)
]
PATCH_SIZES = [
    *([40, 56, 40], [20, 320, 256], [64, 192, 192], [128, 96, 112], [16, 48, 49], [7, 7, 200]),
    *([512, 512], [512, 128], [320, 213], [96, 160, 160], [28, 256, 224]),
]
SPLITS = [(b, w) for b in range(1, 20) for w in range(1, 9) if w <= b]


def transform_cases() -> list[dict[str, Any]]:
    regions: Any
    cases = []
    for patch, cascaded, regions, ignore, scales, masks in (
        ([40, 56, 40], False, None, None, [[1, 1, 1], [0.5] * 3], [False]),
        ([20, 320, 256], False, None, 3, None, [True, False]),
        ([64, 64], False, [[1, 2], [2]], 3, [[1, 1], [0.5] * 2], [False]),
        ([32, 32, 32], True, None, None, [[1, 1, 1]], [False]),
    ):
        cases.append(
            {
                "patch_size": patch,
                "is_cascaded": cascaded,
                "foreground_labels": [1, 2],
                "regions": None if regions is None else [*regions, *([[3]] if ignore else [])][:2],
                "ignore_label": ignore,
                "scales": scales,
                "use_mask_for_norm": masks,
            }
        )
    return cases


def tensors() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    made = {}
    for dim in (2, 3):
        size = (8,) * dim
        logits = 3 * torch.randn(3, 3, *size)
        made[f"labels {dim}"] = logits, torch.randint(0, 3, (3, 1, *size))
        made[f"labels ignored {dim}"] = logits, torch.randint(0, 4, (3, 1, *size))
        regions = torch.rand(3, 3, *size) < 0.3
        ignored = torch.rand(3, 1, *size) < 0.2
        made[f"regions {dim}"] = logits, regions.float()
        made[f"regions ignored {dim}"] = logits, torch.cat([regions, ignored], 1)
    predicted = torch.randint(0, 3, (2, 1, 6, 6))
    one_hot = torch.zeros(2, 3, 6, 6).scatter(1, predicted, 1)
    made["overlap"] = one_hot, torch.randint(0, 3, (2, 1, 6, 6))
    return made


@pytest.fixture(scope="module")
def answers(peer_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    import subprocess

    folder = tmp_path_factory.mktemp("questions")
    question = {
        "losses": LOSSES,
        "patch_sizes": PATCH_SIZES,
        "transforms": transform_cases(),
        "splits": SPLITS,
    }
    (folder / "question.json").write_text(json.dumps(question))
    torch.save(tensors(), folder / "tensors.pt")
    subprocess.run([peer_python, SCRIPT, folder], check=True, capture_output=True)
    return json.loads((folder / "answer.json").read_text())


def test_losses_are_equal(answers: dict[str, Any]) -> None:
    made = tensors()
    for (kind, batch_dice, dim), theirs in zip(LOSSES, answers["losses"], strict=True):
        if kind.startswith("labels"):
            loss: Any = DiceCrossEntropy(batch_dice, 3 if "ignored" in kind else None)
        else:
            loss = DiceBinaryCrossEntropy(batch_dice, "ignored" in kind)
        assert loss(*made[f"{kind} {dim}"]).item() == pytest.approx(theirs, rel=1e-5), (kind, dim)


def test_overlaps_are_equal(answers: dict[str, Any]) -> None:
    one_hot, target = tensors()["overlap"]
    found = count_overlap(one_hot, target, Labels((0, 1, 2), None, None, None))
    for mine, theirs in zip((found.tp, found.fp, found.fn), answers["overlap"], strict=True):
        assert mine.tolist() == theirs[1:]


def test_patches_are_turned_and_read_alike(answers: dict[str, Any]) -> None:
    for size, (rotation, dummy, read, mirror) in zip(PATCH_SIZES, answers["spatial"], strict=True):
        mine = spatial_settings(size)
        assert mine.rotation == pytest.approx(rotation), size
        assert (mine.plane_wise, list(mine.read_size)) == (dummy, read), size
        assert list(mine.mirror_axes) == mirror


def test_the_batch_is_split_alike(answers: dict[str, Any]) -> None:
    for (batch_size, world), theirs in zip(SPLITS, answers["splits"], strict=True):
        mine = split_batch(batch_size, world, 0.33)
        for share, (size, foreground) in zip(mine, theirs, strict=True):
            assert share.size == size
            assert share.foreground / size == pytest.approx(foreground), (batch_size, world)


def test_rates_are_equal(answers: dict[str, Any]) -> None:
    mine = polynomial(0.01, 1000)
    assert [mine(epoch) for epoch in (0, 1, 499, 999)] == pytest.approx(answers["rates"])


def described(transform: Any) -> Any:
    if isinstance(transform, (list, tuple)):
        return [described(entry) for entry in transform]
    if isinstance(transform, (bool, int, float, str, type(None))):
        return transform
    if isinstance(transform, (np.ndarray, np.generic, torch.Tensor)):
        return transform.tolist()
    if callable(transform) and hasattr(transform, "__name__"):
        return transform.__name__
    if isinstance(transform, dict):
        return {str(key): described(value) for key, value in transform.items()}
    hidden = ("_grid_cache", "training", "benchmark", "benchmark_use_fft")
    return [
        type(transform).__name__.removeprefix("Labelwise"),
        {k: described(v) for k, v in vars(transform).items() if k not in hidden},
    ]


@pytest.mark.parametrize("number", range(4))
def test_samples_go_through_the_same_transforms(answers: dict[str, Any], number: int) -> None:
    case, (training, validation) = transform_cases()[number], answers["transforms"][number]
    values: Any = case["regions"]
    regions = None if values is None else tuple(tuple(region) for region in values)
    labels = Labels((0, 1, 2), regions, (1, 2) if regions else None, case["ignore_label"])
    dim = len(case["patch_size"])
    arguments = unet_arguments(dim, 3, n_conv_per_stage=[2] * 3)
    name = plain(dim).architecture.network_class_name
    document = configuration(name, arguments, tuple(case["patch_size"])).plans.to_dict()
    masks = case["use_mask_for_norm"]
    document["configurations"]["tested"] |= {
        "use_mask_for_norm": masks,
        "normalization_schemes": ["ZScoreNormalization"] * len(masks),
    }
    if case["is_cascaded"]:
        document["configurations"]["tested"]["previous_stage"] = "lowres"
    config = Plans.from_dict(document).resolve("tested")
    settings = spatial_settings(config.patch_size)
    spatial = spatial_transform(config.patch_size, settings)
    first = list(plane_wise(spatial).transforms) if settings.plane_wise else [spatial]
    mine = [*first, *training_transforms(config, labels, settings).transforms]
    if case["scales"] is not None:  # nnU-Net makes the smaller targets here, `TrainingStep` later
        for theirs in (training, validation):
            assert theirs.pop()[0] == "DownsampleSegForDSTransform"
    assert described(mine) == training
    mine = validation_transforms(config, labels).transforms
    assert described(mine) == validation


CONTINUE = """
import functools, json, os, sys
from pathlib import Path
folder = sys.argv[1]
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = f"{folder}/{variable}"
os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

model = Path(sys.argv[2])
predictor = nnUNetPredictor(device=torch.device("cpu"), verbose=False)
predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
print("weights", sum(float(v.double().sum()) for v in predictor.list_of_parameters[0].values()))

plans = json.loads((model / "plans.json").read_text()) | {"continue_training": True}
trainer = nnUNetTrainer(
    plans=plans, configuration="3d_fullres_small", fold=0,
    dataset_json=json.loads((model / "dataset.json").read_text()), device=torch.device("cpu"),
)
trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 2, 2, 1
maybe_load_checkpoint(trainer, True, False)
print("from epoch", trainer.current_epoch)
trainer.run_training()
"""


def test_nnunet_predicts_with_our_checkpoint_and_goes_on_from_it(
    peer: Callable[..., str], hippocampus: tuple[Path, Plans, Dataset], tmp_path: Path
) -> None:
    folder, plan, dataset = hippocampus
    config = plan.resolve("3d_fullres_small")
    model = tmp_path / "nnUNet_results" / folder.name
    model /= "nnUNetTrainer__nnUNetResEncUNetMPlans__3d_fullres_small"
    settings = TrainingSettings(
        epochs=1, iterations=2, validation_iterations=1, workers=0, precision="fp32"
    )
    path = Trainer(config, dataset, 0, settings, run_folder=RunFolder(model, 0)).fit().checkpoint
    total = sum(float(v.double().sum()) for v in load_checkpoint(path).network_weights.values())
    said = peer(CONTINUE, tmp_path, model)
    [theirs] = [line for line in said.splitlines() if line.startswith("weights")]
    assert float(theirs.split()[1]) == pytest.approx(total)
    assert "from epoch 1" in said
    assert "Training done" in said

    (path.parent / "run.json").unlink()
    facts = FoldFacts.of(RunFolder(model, 0), config.to_dict(), dataset.json.file_ending)
    assert facts.settings == {
        "epochs": 2,
        "iterations": 2,
        "learning_rate": 0.01,
        "optimizer.weight_decay": 3e-5,
        "deep_supervision": True,
    }
    assert facts.mirroring == "all axes"

    newer = load_checkpoint(path)
    assert newer.current_epoch == 2
    again = Trainer(
        *(config, dataset, 0, settings.model_copy(update={"epochs": 3})),
        run_folder=RunFolder(model, 0),
    )
    again.resume()
    assert len(again.fit().epochs) == 3


def test_training_goes_on_from_nnunets_own_checkpoint_and_both_predict_alike(
    peer: Callable[..., str], hippocampus: tuple[Path, Plans, Dataset], shared: Path, tmp_path: Path
) -> None:
    _, plan, dataset = hippocampus
    config = plan.resolve("3d_fullres_small")
    settings = TrainingSettings(
        epochs=41, iterations=1, validation_iterations=2, workers=0, precision="fp32"
    )
    trainer = Trainer(config, dataset, 0, settings, run_folder=RunFolder(tmp_path / "run", 0))
    trainer.resume(shared / "oracle/model/fold_0/checkpoint_final.pth")
    assert len(trainer.epochs) == 40
    last = trainer.fit().epochs[-1]
    assert last.mean_dice > 0.3

    raw = Dataset.load(str(shared / "data" / dataset.folder.name))
    files = {case.name: case.images for case in raw.cases[:4]}
    wanted = {"folder": str(tmp_path / "run"), "folds": [0], "step_size": 0.5, "mirroring": True}
    wanted["cases"] = {name: list(map(str, images)) for name, images in files.items()}
    (tmp_path / "new.model.json").write_text(json.dumps(wanted))
    peer(SCRIPT.with_name("predict_with_nnunet.py"), tmp_path)
    predictor = Predictor.from_folder(tmp_path / "run", 0, settings=CPU_IN_FP32)
    for name, images in files.items():
        theirs = read_label(tmp_path / "new_theirs" / f"{name}.nii.gz").array[0]
        best = np.sort(np.load(tmp_path / "new_theirs" / f"{name}.npz")["probabilities"], axis=0)
        image = read_image(images)
        differs = predictor.predict(image.array, image.spacing) != theirs
        assert set(np.unique(theirs)) == {0, 1, 2}
        assert not (differs & (best[-1] - best[-2] > 1e-4)).any(), name
