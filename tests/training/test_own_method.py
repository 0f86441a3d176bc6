"""A method of one's own: its name, its folder, its record, and prediction with it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from resenc_plans.cli.app import main
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import FileError, ModelError, NetworkError, TrainingError, UsageError
from resenc_plans.inference.predictor import Predictor
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.archive import export_model
from resenc_plans.runs.checkpoint import load_checkpoint
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.ranks import Ranks
from resenc_plans.training.trainer import Trainer
from resenc_plans.workflows.train_fold import train_fold
from tests.gpu import pretend_gpus

pytestmark = pytest.mark.slow

ONCE = TrainingSettings(
    epochs=1, iterations=1, validation_iterations=1, workers=0, precision="fp32"
)
ON_CPU = {"device": "cpu", "precision": "fp32"}


def half(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits, target[:, 0].long()) / 2


class Listed(nn.Conv3d):
    """A network that returns a list of logits, like nnU-Net's with deep supervision."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(channels, heads, 1)

    def forward(self, input: torch.Tensor) -> Any:
        return [super().forward(input)]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with a network, in a folder that is not where Python looks for modules."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "own_nets.py").write_text(
        "from torch import nn\n"
        "class Small(nn.Sequential):\n"
        "    def __init__(self, channels, heads):\n"
        "        super().__init__(nn.Conv3d(channels, heads, 1))\n"
        "class Pyramid(nn.Module):\n"
        "    def __init__(self, input_channels, num_classes, deep_supervision):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv3d(input_channels, num_classes, 1)\n"
        "        self.norm = nn.BatchNorm3d(num_classes)\n"
        "        self.deep_supervision = deep_supervision\n"
        "    def forward(self, x):\n"
        "        y = self.norm(self.conv(nn.functional.dropout(x, 0.1, self.training)))\n"
        "        if not self.deep_supervision:\n"
        "            return y\n"
        "        return [y, y[..., ::2], y[..., ::4, ::4]]\n"
    )
    monkeypatch.chdir(folder)
    yield "own_nets"
    sys.modules.pop("own_nets", None)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("part", ["network", "loss", "optimizer", "sampler", "augmentation"])
def test_parts_of_ones_own_need_a_name(
    config: ResolvedConfiguration, dataset: Dataset, part: str
) -> None:
    own: dict[str, Any] = {part: nn.Conv3d(2, 4, 1)}
    for name in (None, "nnUNetTrainer"):
        with pytest.raises(UsageError, match=rf"{part}: your own.*`name=`"):
            Trainer(config, dataset, 0, ONCE, name=name, **own)


@pytest.mark.parametrize("name", ["a__b", "a_", "../a", ""])
def test_a_name_is_that_of_a_folder(
    config: ResolvedConfiguration, dataset: Dataset, name: str
) -> None:
    with pytest.raises((FileError, UsageError), match="`name=`"):
        Trainer(config, dataset, 0, ONCE, name=name, loss=half)


def test_a_method_of_ones_own_leaves_the_baseline_as_it_is(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    baseline = Trainer(config, dataset, 0, ONCE)
    baseline.fit()
    before = contents(baseline.folder.model)
    own = Trainer(config, dataset, 0, ONCE, name="Half", loss=half)
    checkpoint = load_checkpoint(own.fit().checkpoint)
    assert own.folder.model.name == "Half__nnUNetResEncUNetMPlans__tiny"
    assert contents(baseline.folder.model) == before
    assert checkpoint.trainer_name == "nnUNetTrainer"  # nnU-Net predicts with it
    record = json.loads((own.folder.path / "run.json").read_text())
    assert record["name"] == "Half"
    assert record["code"]["loss"]["import_path"] == f"{__name__}.half"
    assert len(record["code"]["loss"]["sha256"]) == 64


def test_a_network_of_ones_own_predicts_what_it_was_trained_to(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    network = Listed(2, 4)
    trainer = Trainer(config, dataset, 0, ONCE, name="Listed", network=network, loss=half)
    checkpoint = load_checkpoint(trainer.fit().checkpoint)
    assert checkpoint.trainer_name == "Listed"
    fresh = Listed(2, 4)
    before = fresh.weight.detach().clone()
    settings = PredictionSettings(**ON_CPU, mirroring=False)
    predictor = Predictor.from_folder(trainer.folder.model, settings=settings, network=fresh)
    image = np.random.default_rng(0).normal(size=(2, 12, 24, 24)).astype(np.float32)
    logits = predictor.predict_logits(image)
    expected = network.eval()(torch.from_numpy(image)[None])[0][0].detach()
    middle = (slice(None), slice(4, 8), slice(8, 16), slice(8, 16))
    assert torch.allclose(logits[middle].float(), expected[middle], atol=0.05)
    assert torch.equal(fresh.weight, before)
    with pytest.raises(ModelError, match=r"Listed.*Predictor\.from_folder\(folder, network="):
        Predictor.from_folder(trainer.folder.model, settings=settings)


def test_a_network_is_imported_by_its_recorded_path_if_that_is_allowed(
    config: ResolvedConfiguration,
    dataset: Dataset,
    module: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as during_training:
        during_training.syspath_prepend(Path.cwd())
        network = __import__(module).Small(2, 4)
        trainer = Trainer(config, dataset, 0, ONCE, name="Small", network=network)
        trainer.fit()
    folder, allowed = trainer.folder.model, PredictionSettings(**ON_CPU, allow_import=(module,))
    del sys.modules[module]
    with pytest.raises(ModelError, match=r"own_nets\.Small.*`allow_import=` own_nets.*PYTHONPATH"):
        Predictor.from_folder(folder, settings=PredictionSettings(**ON_CPU))
    with pytest.raises(NetworkError, match=r"is in the current folder: set PYTHONPATH=\."):
        Predictor.from_folder(folder, settings=allowed)
    assert module not in sys.modules
    monkeypatch.syspath_prepend(Path.cwd())
    predictor = Predictor.from_folder(folder, settings=allowed)
    assert type(predictor._network).__name__ == "Small"
    names = export_model([folder], tmp_path / "model.zip")
    assert any(name.endswith("fold_0/run.json") for name in names)


def test_a_trained_fold_is_replaced_only_if_asked_and_then_as_a_whole(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    first = Trainer(config, dataset, 0, ONCE)
    first.fit()
    folder = first.folder
    folder.validation.mkdir()
    (folder.validation / "summary.json").write_text("of the first run")
    before = contents(folder.model)
    with pytest.raises(TrainingError, match=r"fold_0: is trained\."):
        Trainer(config, dataset, 0, ONCE).fit()
    assert contents(folder.model) == before
    Trainer(config, dataset, 0, ONCE, overwrite=True).fit()
    [old] = folder.replaced.iterdir()
    assert contents(old) == {name: before[name] for name in contents(old)}
    assert {"checkpoint_final.pth", "summary.json"} <= contents(old).keys()
    assert not folder.validation.exists()
    assert len((folder.path / "training_log.txt").read_text().splitlines()) == 1


def test_a_fold_without_a_checkpoint_is_begun_anew_without_asking(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    trainer = Trainer(config, dataset, 0, ONCE)
    trainer.folder.prepare(config, dataset)
    trainer.folder.log("of a run that ended before its first checkpoint")
    assert trainer.fit().is_complete
    assert len((trainer.folder.path / "training_log.txt").read_text().splitlines()) == 1


def test_a_checkpoint_from_elsewhere_does_not_replace_the_fold(
    config: ResolvedConfiguration, dataset: Dataset, tmp_path: Path
) -> None:
    elsewhere = Trainer(config, dataset, 0, ONCE, run_folder=RunFolder(tmp_path / "other", 0))
    path = elsewhere.fit().checkpoint
    Trainer(config, dataset, 0, ONCE).fit()
    again = Trainer(config, dataset, 0, ONCE.model_copy(update={"epochs": 2}))
    again.resume(path)
    with pytest.raises(TrainingError, match="is trained"):
        again.fit()


def test_folds_with_other_settings_are_one_model_only_if_that_is_allowed(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    Trainer(config, dataset, 0, ONCE).fit()
    other = ONCE.model_copy(update={"epochs": 2, "seed": 3})
    with pytest.raises(TrainingError, match=r"otherwise.*: epochs 1, now 2\. "):
        Trainer(config, dataset, 1, other)
    Trainer(config, dataset, 1, other, allow_differences=True)
    Trainer(config, dataset, 1, other, name="Longer")
    Trainer(config, dataset, 1, ONCE.model_copy(update={"seed": 3}))


@pytest.mark.slow
def test_a_fold_is_trained_and_validated_with_parts_of_ones_own(
    config: ResolvedConfiguration, dataset: Dataset, tmp_path: Path
) -> None:
    from resenc_plans.datasets.demo import write_phantom

    raw = Dataset.load(write_phantom(tmp_path / "again", cases=6))
    trained = train_fold(
        *(config, raw),
        settings=ONCE,
        device="cpu",
        name="Listed",
        network=Listed(2, 4),
        loss=half,
    )
    assert trained.validation is not None
    assert trained.validation.evaluation.problems == ()
    assert (trained.folder.validation / "summary.json").is_file()


@pytest.mark.slow
def test_the_command_names_its_options_where_it_refuses(
    config: ResolvedConfiguration,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(ONCE.model_dump_json())

    def train(fold: str, *options: str) -> tuple[int, str]:
        command = ["resenc-plans", "train", str(dataset.folder), "tiny", fold, "--no-validation"]
        command += ["-p", str(config.plans.path), "--settings", str(settings), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", [*command, *options])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), " ".join(capsys.readouterr().err.split())

    assert train("0", "--name", "Mine")[0] == 0
    model = dataset.folder / "nnUNet_results" / dataset.name / f"Mine__{config.plans.name}__tiny"
    assert (model / "fold_0/checkpoint_final.pth").is_file()
    code, said = train("0", "--name", "Mine")
    assert code == 2
    assert all(option in said for option in ("--resume", "--overwrite", "--name"))
    code, said = train("1", "--name", "Mine", "--iterations", "2")
    assert code == 2
    assert "iterations 1, now 2" in said
    assert "--allow-differences" in said
    assert train("1", "--name", "Mine", "--iterations", "2", "--allow-differences")[0] == 0
    assert train("0", "--name", "Mine", "--overwrite", "--allow-differences")[0] == 0
    assert len(list((model.parent / "replaced" / model.name).iterdir())) == 1


@pytest.fixture
def importable(module: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(Path.cwd())
    return module


def pyramid(config: ResolvedConfiguration) -> ResolvedConfiguration:
    architecture = {"network_class_name": "own_nets.Pyramid", "arch_kwargs": {}}
    plan = Plans.load(config.plans.source)
    plan.derive("pyramid", from_="tiny", architecture=architecture)
    plan.save(config.plans.source)
    return plan.resolve("pyramid")


def test_the_outputs_of_an_unknown_network_are_found_by_a_forward_pass_and_said(
    config: ResolvedConfiguration, dataset: Dataset, importable: str
) -> None:
    notes: list[str] = []
    done = train_fold(
        pyramid(config),
        dataset,
        settings=ONCE,
        device="cpu",
        validation=False,
        allow_import=(importable,),
        on_note=notes.append,
    )
    assert done.training.is_complete
    assert notes == [
        "The network returns 3 outputs in training, of 8x16x16, 8x16x8, 8x4x4 voxels for a patch "
        "of 8x16x16. Their losses weigh 0.667, 0.333, 0."
    ]


def test_batch_normalisation_over_several_gpus_runs_where_the_outputs_are_found(
    config: ResolvedConfiguration,
    dataset: Dataset,
    importable: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pretend_gpus(monkeypatch, 2)
    ranks = Ranks(0, 2, torch.device("cuda", 0))
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/a", rank=0, world_size=1)
    try:
        trainer = Trainer(
            pyramid(config), dataset, 0, ONCE, allow_import=(importable,), ranks=ranks
        )
    finally:
        dist.destroy_process_group()
    assert "returns 3 outputs in training" in (trainer.outputs_note or "")


def test_finding_the_outputs_of_a_network_changes_neither_it_nor_the_random_numbers(
    config: ResolvedConfiguration, dataset: Dataset, importable: str
) -> None:
    single = ONCE.model_copy(update={"deep_supervision": False})
    trainer = Trainer(pyramid(config), dataset, 0, single, allow_import=(importable,), device="cpu")
    state = torch.get_rng_state()
    assert trainer.outputs_note is None
    torch.manual_seed(ONCE.seed)
    fresh = type(trainer.network)(2, 4, False)
    assert torch.equal(state, torch.get_rng_state())
    for name, value in fresh.state_dict().items():
        assert torch.equal(trainer.network.state_dict()[name], value), name


def test_weights_for_other_outputs_are_refused_before_the_first_batch(
    config: ResolvedConfiguration, dataset: Dataset, importable: str
) -> None:
    weights = ONCE.model_copy(update={"scale_weights": (1.0, 1.0)})
    with pytest.raises(TrainingError, match="has 2 values, but the network has 3 outputs"):
        Trainer(pyramid(config), dataset, 0, weights, allow_import=(importable,), device="cpu")
    stunet = {"network_class_name": "STUNet", "arch_kwargs": {"variant": "S"}}
    plan = Plans.load(config.plans.source)
    plan.derive("stunet", from_="tiny", architecture=stunet, patch_size=[32, 32, 64])
    with pytest.raises(TrainingError, match="has 2 values, but the network has 5 outputs"):
        Trainer(plan.resolve("stunet"), dataset, 0, weights, device="cpu")
