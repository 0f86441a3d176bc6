"""nnU-Net's trainers: the table has them all, and each trains as the real class does."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.labels import Labels
from resenc_plans.networks.build import build_network
from resenc_plans.plans.architectures import RESIDUAL_ENCODER_UNET
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.known_networks import PRIMUS_MODULE, loss_weights
from resenc_plans.plans.nnunet_trainers import NNUNET_TRAINERS
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.trained_configuration import trained_configuration
from resenc_plans.plans.training_settings import AugmentationSettings, TrainingSettings
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.batches.augmentation import (
    plane_wise,
    spatial_transform,
    training_transforms,
    validation_transforms,
)
from resenc_plans.training.batches.patch_geometry import spatial_settings
from resenc_plans.training.batches.source import Batch
from resenc_plans.training.batches.strong_augmentation import (
    gradient_strength,
    local_gamma,
    local_width,
)
from resenc_plans.training.defaults import default_loss, default_schedule, foreground_chance
from resenc_plans.training.losses import LOWEST_WEIGHT_OF_RANKS
from resenc_plans.training.ranks import ALONE
from resenc_plans.training.step import TrainingStep, at_size, default_optimizer
from resenc_plans.training.trainer import Trainer
from tests.networks.configurations import configuration, unet_arguments

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of extras' own packages

SCRIPT = Path(__file__).parent / "trainers_with_nnunet.py"
PATCHES = {"3d": (16, 16, 16), "flat": (4, 16, 24), "2d": (16, 16), "long": (16, 32)}
EPOCHS = (0, 1, 49, 50, 51, 499)
LABELS = Labels((0, 1, 2), None, None, None)
DATASET = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "a": 1, "b": 2},
    "numTraining": 5,
    "file_ending": ".nii.gz",
}
COMPARED = sorted(
    name
    for name, trainer in NNUNET_TRAINERS.items()
    if trainer.unavailable is None and "Benchmark" not in name
)
STEPS = [
    f"nnUNetTrainer{name}"
    for name in (
        *("", "Adam", "VanillaAdam3en4", "CosAnneal", "_warmup", "CELoss", "DiceLoss"),
        *("DiceCELoss_noSmooth", "Topk10Loss", "Topk10LossLS01", "DiceTopK10Loss"),
        *("NoDeepSupervision", "BN"),
    )
]
WITHOUT_LOWEST = {name for name, known in NNUNET_TRAINERS.items() if "loss" in known.settings}
WITH_EXTRAS = {
    "nnUNetTrainerAdan": "adan_pytorch",
    "nnUNetTrainerAdanCosAnneal": "adan_pytorch",
    **{
        f"nnUNet_Primus{version}S_Trainer": "dynamic_network_architectures"
        for version in ("_", "V2", "V3")
    },
}
"""Further trainers whose steps are compared, by the package that they need."""

HIDDEN = ("_grid_cache", "training", "benchmark", "benchmark_use_fft")


def described(thing: Any) -> Any:
    """As in the script."""
    if isinstance(thing, (list, tuple)):
        return [described(entry) for entry in thing]
    if isinstance(thing, (set, frozenset)):
        return sorted(map(int, thing))
    if isinstance(thing, (bool, int, float, str, type(None))):
        return thing
    if isinstance(thing, (np.ndarray, np.generic, torch.Tensor)):
        return thing.tolist()
    if isinstance(thing, dict):
        return {str(key): described(value) for key, value in thing.items()}
    if callable(thing) and hasattr(thing, "__name__"):
        return "a function"
    values = {key: described(value) for key, value in vars(thing).items() if key not in HIDDEN}
    return [type(thing).__name__.removeprefix("Labelwise"), values]


def planned(patch: tuple[int, ...]) -> ResolvedConfiguration:
    arguments = unet_arguments(
        len(patch), 3, n_blocks_per_stage=[1] * 3, features_per_stage=[4, 8, 8]
    )
    return configuration(RESIDUAL_ENCODER_UNET, arguments, patch)


def nnunet_plans(config: ResolvedConfiguration) -> dict[str, Any]:
    """What nnU-Net needs beside the configuration."""
    return {
        "dataset_name": "Dataset001_Made",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
        "continue_training": False,
        "configurations": {"tested": config.to_dict()},
    }


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    made = []
    for _ in range(3):
        image = torch.randn(2, 1, 16, 16, 16)
        made.append((image, ((image > 0.5).int() + (image > 1.2).int()).to(torch.int16)))
    return made


def network(trainer: str) -> torch.nn.Module:
    torch.manual_seed(1)
    return build_network(trained_configuration(planned(PATCHES["3d"]), trainer), 1, 3)


def write_question(folder: Path) -> None:
    case = folder / "Dataset001_Made" / "nnUNetPlans_tested" / "case.b2nd"
    case.parent.mkdir(parents=True)
    case.touch()
    question = {
        "plans": {name: nnunet_plans(planned(patch)) for name, patch in PATCHES.items()},
        "dataset": DATASET,
        "masks": [True],
        "epochs": EPOCHS,
        "facts": COMPARED,
    }
    (folder / "question.json").write_text(json.dumps(question))
    scales = ((16,) * 3, (8,) * 3)
    weights = {
        "networks": {
            name: network(name).state_dict()
            for name in (*STEPS, *WITH_EXTRAS)
            if find_spec(WITH_EXTRAS.get(name, "torch"))
        },
        "batches": [
            [image, *(at_size(target, size) for size in scales)] for image, target in batches()
        ],
    }
    torch.save(weights, folder / "weights.pt")


@pytest.fixture(scope="module")
def asked(peer_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the answer, and the weights after three steps."""
    folder = tmp_path_factory.mktemp("trainers")
    write_question(folder)
    subprocess.run([peer_python, SCRIPT, folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def answer(asked: Path) -> dict[str, Any]:
    return json.loads((asked / "answer.json").read_text())


def test_the_table_has_all_trainers(answer: dict[str, Any]) -> None:
    assert sorted(NNUNET_TRAINERS) == answer["names"]


@pytest.mark.parametrize("name", COMPARED)
def test_settings_are_those_of_the_trainer(answer: dict[str, Any], name: str) -> None:
    settings, facts = TrainingSettings(trainer=name), answer["facts"][name]
    before = planned(PATCHES["3d"])
    config = trained_configuration(before, name)
    assert settings.epochs == facts["epochs"]
    assert settings.deep_supervision == facts["deep_supervision"]
    assert config.batch_size == facts["batch_size"]
    assert foreground_chance(settings, before.batch_size) == (
        pytest.approx(facts["foreground"]) if facts["is_probability"] else None
    )
    assert settings.foreground_samples != "last" or facts["foreground"] == 0.33
    schedule = default_schedule(settings)
    epochs = [epoch for epoch in EPOCHS if epoch < settings.epochs]
    assert [schedule(epoch) for epoch in epochs] == pytest.approx(facts["rates"], rel=1e-6)
    assert optimizer_options(settings) == (facts["optimizer"], facts["options"])
    if facts["network"] is None:
        [norm] = facts["norms"]
        assert norm in str(config.architecture.arch_kwargs)
        return
    assert network_call(config) == facts["network"]


def test_weights_of_scales_are_those_of_the_trainers(answer: dict[str, Any]) -> None:
    """Together and not compiled, those with losses of their own stop in nnU-Net for want of 1e-6.

    Every parameter must have a gradient there, which a weight of 0 does not give.
    """
    for name, facts in answer["facts"].items():
        settings = TrainingSettings(trainer=name)
        outputs = 2 if settings.deep_supervision else 1
        alone, together = (weights or [1] for weights in facts["scales"])
        assert loss_weights(outputs) == pytest.approx(alone), name
        lowest = 0 if name in WITHOUT_LOWEST else LOWEST_WEIGHT_OF_RANKS
        assert loss_weights(outputs, lowest=lowest) == pytest.approx(together), name


@pytest.mark.parametrize("name", COMPARED)
def test_patches_are_changed_as_by_the_trainer(answer: dict[str, Any], name: str) -> None:
    chosen = TrainingSettings(trainer=name).augmentation
    for patch, facts in answer["facts"][name]["patches"].items():
        config = trained_configuration(planned(PATCHES[patch]), name)
        mine = spatial_settings(config.patch_size, chosen)
        rotation, dummy, read, mirror = facts["spatial"]
        assert list(mine.mirror_axes) == (mirror or []) == (facts["mirrored"] or [])
        assert list(mine.read_size) == read
        if chosen.transforms != "none":
            assert (list(mine.rotation), mine.plane_wise) == (rotation, dummy)
        assert transforms(config, chosen) == facts["transforms"], patch


def network_call(config: ResolvedConfiguration) -> dict[str, Any]:
    """How a Primus network is built, with nnU-Net's arguments by position where it gives those."""
    calls = []

    def record(**options: Any) -> torch.nn.Module:
        calls.append(described(options))
        return torch.nn.Identity()

    name = config.architecture.network_class_name.rpartition(".")[2]
    module = SimpleNamespace(**{name: record})
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, PRIMUS_MODULE, module)
        for parent in (PRIMUS_MODULE.partition(".")[0], PRIMUS_MODULE.rpartition(".")[0]):
            patched.setitem(sys.modules, parent, SimpleNamespace())
        build_network(config, 1, 3, deep_supervision=False)
    [options] = calls
    places: tuple[str, ...] = ("input_channels", "output_channels")
    if name == "Primus":
        sizes = ("eva_depth", "eva_numheads", "input_shape")
        places = ("input_channels", "embed_dim", "patch_embed_size", "num_classes", *sizes)
    return {"name": name, "arguments": [options.pop(key) for key in places], "options": options}


def optimizer_options(settings: TrainingSettings) -> tuple[str, dict[str, Any]]:
    if settings.optimizer.name == "Adan":
        decay = settings.optimizer.weight_decay
        return "Adan", {"lr": settings.learning_rate, "weight_decay": decay}
    made = default_optimizer(settings)([torch.nn.Parameter(torch.zeros(1))])
    keys = ("momentum", "nesterov", "weight_decay", "betas", "eps", "amsgrad")
    options = {key: described(value) for key, value in made.defaults.items() if key in keys}
    return type(made).__name__, options


def transforms(config: ResolvedConfiguration, chosen: AugmentationSettings) -> Any:
    config = config.replaced(use_mask_for_norm=[True])
    if chosen.transforms == "none":
        return described(validation_transforms(config, LABELS).transforms)
    spatial = spatial_settings(config.patch_size, chosen)
    transform = spatial_transform(config.patch_size, spatial, chosen)
    first = list(plane_wise(transform).transforms) if spatial.plane_wise else [transform]
    rest = training_transforms(config, LABELS, spatial, chosen).transforms
    return described([*first, *rest])


def test_local_changes_are_drawn_alike(answer: dict[str, Any]) -> None:
    drawn: dict[str, Callable[..., float]] = {
        "scale": local_width,
        "max_strength": gradient_strength,
        "gamma": local_gamma,
    }
    for name, function in drawn.items():
        np.random.seed(0)
        mine = [function((40, 50, 60), 1) for _ in range(100)]
        assert mine == answer["draws"][name], name


@pytest.mark.parametrize("name", [*STEPS, *WITH_EXTRAS])
def test_three_steps_are_equal(answer: dict[str, Any], asked: Path, name: str) -> None:
    if name in WITH_EXTRAS:
        pytest.importorskip(WITH_EXTRAS[name])
        if "unavailable" in answer["steps"][name]:
            pytest.skip(answer["steps"][name]["unavailable"])
    settings = TrainingSettings(trainer=name, precision="fp32", compile=False)
    config = trained_configuration(planned(PATCHES["3d"]), name)
    step = TrainingStep.of(network(name), default_loss(config, settings), settings, ALONE, dim=3)
    step.set_learning_rate(default_schedule(settings)(0))
    step.train()
    losses = []
    for number, (image, target) in enumerate(batches()):
        torch.manual_seed(number)
        losses.append(step(Batch(image, target, ())).loss)
    assert losses == pytest.approx(answer["steps"][name]["losses"], rel=1e-5, abs=1e-6)
    theirs = torch.load(asked / f"{name}.pt")
    for key, value in step.network.state_dict().items():
        assert torch.allclose(value, theirs[key], rtol=1e-4, atol=1e-5), key


def test_nnunet_predicts_and_continues_under_the_trainers_name(
    peer: Callable[..., str], hippocampus: tuple[Path, Plans, Dataset], tmp_path: Path
) -> None:
    names = ("nnUNetTrainerBN", "nnUNetTrainerAdam", "nnUNetTrainer_onlyMirror01_DA5")
    momenta = "['exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'step']"
    assert continued(peer, hippocampus, tmp_path, names) == [
        "said nnUNetTrainerBN 1 ['momentum_buffer'] (0, 1, 2) True",
        f"said nnUNetTrainerAdam 1 {momenta} (0, 1, 2) True",
        "said nnUNetTrainer_onlyMirror01_DA5 1 ['momentum_buffer'] (0, 1) True",
    ]


@pytest.mark.parametrize(
    ("name", "module", "state"),
    [
        ("nnUNetTrainerAdan", "adan_pytorch", ["m", "n", "prev_grad", "step", "v"]),
        ("nnUNet_PrimusV3S_Trainer", PRIMUS_MODULE, ["exp_avg", "exp_avg_sq", "step"]),
    ],
)
def test_nnunet_predicts_and_continues_what_extras_have_trained(
    peer: Callable[..., str],
    hippocampus: tuple[Path, Plans, Dataset],
    tmp_path: Path,
    name: str,
    module: str,
    state: list[str],
) -> None:
    pytest.importorskip(module)
    try:
        peer(f"import {module}")
    except AssertionError:
        pytest.skip(f"the peer has no {module}")
    said = continued(peer, hippocampus, tmp_path, (name,))
    assert said == [f"said {name} 1 {state} (0, 1, 2) True"]


def continued(
    peer: Callable[..., str],
    hippocampus: tuple[Path, Plans, Dataset],
    folder: Path,
    names: tuple[str, ...],
) -> list[str]:
    """What nnU-Net says of models that were trained for an epoch."""
    preprocessed, plan, dataset = hippocampus
    config = plan.resolve("3d_fullres_small")
    results = folder / "nnUNet_results" / preprocessed.name
    models = []
    for name in names:
        models.append(results / f"{name}__{plan.name}__{config.name}")
        settings = TrainingSettings(
            trainer=name,
            epochs=1,
            iterations=1,
            validation_iterations=1,
            workers=0,
            precision="fp32",
        )
        Trainer(config, dataset, 0, settings, run_folder=RunFolder(models[-1], 0)).fit()
    answer = peer(SCRIPT.with_name("continue_with_nnunet.py"), folder, *models)
    return [line for line in answer.splitlines() if "said" in line]
