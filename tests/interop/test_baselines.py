"""nnU-Net's own trainer runs plans that name networks of `resenc_plans.networks.baselines`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import resenc_plans
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.networks.build import build_network
from resenc_plans.plans.plans import Plans
from resenc_plans.runs.checkpoint import load_checkpoint, load_weights

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
}


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
