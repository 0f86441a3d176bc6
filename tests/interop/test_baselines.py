"""nnU-Net's own trainer runs plans that name networks of `resenc_plans.networks.baselines`."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import resenc_plans
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.inference.predictor import Predictor
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.networks.baselines import nnformer
from resenc_plans.networks.build import build_network
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.checkpoint import load_checkpoint, load_weights
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.trainer import Trainer

SPACING = (1.0, 1.0, 1.0)

TRAIN = """
import os, sys
folder, source, plans, configuration = sys.argv[1:]
sys.path.append(source)
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = f"{folder}/{variable}"
os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}
import torch
torch.set_num_threads(2)
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

initialize = nnUNetTrainer.initialize
def shortly(self):
    self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 3, 1
    initialize(self)
nnUNetTrainer.initialize = shortly
nnUNetTrainer.perform_actual_validation = lambda self, *_, **__: None
step = nnUNetTrainer.train_step
def told(self, batch):
    result = step(self, batch)
    print("loss", float(result["loss"]), "targets", len(batch["target"]))
    return result
nnUNetTrainer.train_step = told
sys.argv = ["nnUNetv2_train", "4", configuration, "0", "-p", plans, "-device", "cpu"]
run_training_entry()
"""

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "stunet": (
        "resenc_plans.networks.baselines.stunet.STUNet",
        {"variant": "S", "strides": [[1] * 3, *[[2] * 3] * 3, [1] * 3, [1] * 3]},
    ),
    "mednext": (
        "resenc_plans.networks.baselines.mednext.MedNeXt",
        {"variant": "S", "strides": [[1] * 3, *[[2] * 3] * 4, [1] * 3]},
    ),
    "umamba": (
        "resenc_plans.networks.baselines.umamba.UMamba",
        {
            "features_per_stage": [4, 8, 8, 8, 8, 8],
            "kernel_sizes": 3,
            "strides": [[1] * 3, *[[2] * 3] * 3, [1, 1, 1], [1, 1, 1]],
            "variant": "bot",
        },
    ),
}


PREDICT = """
import runpy, sys
from dataclasses import replace
folder, source, script = sys.argv[1:]
sys.path.append(source)
from resenc_plans.networks.baselines import nnformer
nnformer.VARIANTS["synapse"] = replace(nnformer.VARIANTS["synapse"], embedding=24)
sys.argv = [script, folder]
runpy.run_path(script, run_name="__main__")
"""

TRAINED: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "mednext": (
        "resenc_plans.networks.baselines.mednext.MedNeXt",
        {"variant": "S", "width": 4},
        [32, 16, 16],
    ),
    "nnformer": (
        "resenc_plans.networks.baselines.nnformer.NNFormer",
        {"variant": "synapse", "patch_size": [16, 32, 32]},
        [16, 32, 32],
    ),
}
"""Networks that have no heads but the first without deep supervision, with which nnU-Net predicts;
and patches."""


COMPARE = """
import json, sys
sys.path.append(sys.argv[1])
import torch
from dynamic_network_architectures.architectures.unet import ResidualUNet
from resenc_plans.networks.baselines.umamba import UMamba

for sizes in json.loads(sys.argv[2]):
    torch.manual_seed(0)
    dim, stages = len(sizes["strides"][0]), len(sizes["strides"])
    nn = torch.nn
    theirs = ResidualUNet(
        2, stages, conv_op=getattr(nn, f"Conv{dim}d"), n_blocks_per_stage=2, num_classes=3,
        n_conv_per_stage_decoder=2, conv_bias=True, norm_op=getattr(nn, f"InstanceNorm{dim}d"),
        norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True}, deep_supervision=True, **sizes,
    )
    ours = UMamba(2, 3, **sizes, variant="none", deep_supervision=True)
    weights = theirs.state_dict()
    shapes = [[(key, value.shape) for key, value in each.items()]
              for each in (ours.state_dict(), weights)]
    assert shapes[0] == shapes[1]
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    ours.load_state_dict(weights)
    image = torch.randn(2, 2, *(16,) * dim)
    results = [network(image) for network in (ours, theirs)]
    assert all(map(torch.equal, *results)) and len(results[0]) == stages - 1
    for result in results:
        sum(logits.square().mean() for logits in result).backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters()):
        assert mine.grad is None and other.grad is None or torch.equal(mine.grad, other.grad), name
print("equal")
"""


def test_without_mamba_it_is_the_residual_u_net(peer: Callable[..., str]) -> None:
    """Names, order and shapes of the state dict; outputs and gradients bit for bit."""
    kernels = [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
    sizes = [
        {
            "features_per_stage": [4, 6, 8, 8],
            "kernel_sizes": kernels,
            "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 1]],
        },
        {
            "features_per_stage": [4, 8],
            "kernel_sizes": [[3, 3]] * 2,
            "strides": [[1, 1], [2, 2]],
        },
    ]
    source = Path(resenc_plans.__file__).parent.parent
    assert peer(COMPARE, source, json.dumps(sizes)).split()[-1] == "equal"


@pytest.mark.parametrize("name", TRAINED)
def test_nnunet_predicts_what_we_do_with_a_baseline_that_we_trained_with_deep_supervision(
    peer: Callable[..., str],
    hippocampus: tuple[Path, Plans, Dataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    narrow = replace(nnformer.VARIANTS["synapse"], embedding=24)
    monkeypatch.setitem(nnformer.VARIANTS, "synapse", narrow)
    folder, plan, dataset = hippocampus
    network_class, arguments, patch_size = TRAINED[name]
    plan.derive(
        name,
        from_="3d_fullres_small",
        batch_size=2,
        patch_size=patch_size,
        keep_topology=True,
        architecture={
            "network_class_name": network_class,
            "arch_kwargs": arguments,
            "_kw_requires_import": [],
        },
    )
    plan.save(folder / f"{plan.name}.json")
    settings = TrainingSettings(
        epochs=1, iterations=2, validation_iterations=1, workers=0, precision="fp32"
    )
    run = RunFolder(tmp_path / "model", 0)
    Trainer(plan.resolve(name), dataset, 0, settings, device="cpu", run_folder=run).fit()
    how = PredictionSettings(device="cpu", precision="fp32", mirroring=False)
    predictor = Predictor.from_folder(run.model, 0, settings=how)
    values = np.random.default_rng(0).normal(size=(1, 30, 36, 34))
    image = gaussian_filter(values, (0, 2, 2, 2)).astype(np.float32)
    data, _ = predictor.preprocess(image, {"spacing": SPACING})
    np.save(tmp_path / f"{name}_data.npy", data)
    np.save(tmp_path / f"{name}_image.npy", image)
    wanted: dict[str, Any] = {"folder": str(run.model), "folds": [0], "spacing": SPACING}
    wanted |= {"step_size": how.step_size, "mirroring": how.mirroring}
    (tmp_path / f"{name}.model.json").write_text(json.dumps(wanted))
    source = Path(resenc_plans.__file__).parent.parent
    script = Path(__file__).parent / "predict_with_nnunet.py"
    peer(PREDICT, tmp_path, source, script)
    theirs = np.load(tmp_path / f"{name}_logits.npy").astype(np.float32)
    ours = predictor.predict_logits(data).float().numpy()
    np.testing.assert_allclose(ours, theirs, atol=5e-3)
    labels = np.load(tmp_path / f"{name}_labels.npy")
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(predictor.predict(image, SPACING), labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_nnunet_trains_a_baseline_from_its_plans(
    peer: Callable[..., str], hippocampus: tuple[Path, Plans, Dataset], tmp_path: Path, name: str
) -> None:
    folder, plan, dataset = hippocampus
    network_class, arguments = NETWORKS[name]
    plan.derive(
        name,
        from_="3d_fullres_small",
        batch_size=2,
        patch_size=[32, 16, 16],
        keep_topology=True,
        architecture={
            "network_class_name": network_class,
            "arch_kwargs": arguments,
            "_kw_requires_import": [],
        },
    )
    plan.save(folder / f"{plan.name}.json")
    source = Path(resenc_plans.__file__).parent.parent
    said = peer(TRAIN, tmp_path, source, plan.name, name)
    assert re.findall(r"loss -?\d+\.\d+ targets (\d)", said) == ["5"] * 3
    model = tmp_path / "nnUNet_results" / folder.name / f"nnUNetTrainer__{plan.name}__{name}"
    checkpoint = load_checkpoint(model / "fold_0" / "checkpoint_final.pth")
    ours = build_network(plan.resolve(name), 1, dataset.labels.num_heads)
    load_weights(ours, checkpoint.network_weights, "nnU-Net's checkpoint")
