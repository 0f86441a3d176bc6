"""Every place that takes a device, on a pretended GPU: all goes well up to the first kernel."""

import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any, Never
from unittest.mock import MagicMock

import pytest
import torch
import torch.distributed as dist

from resenc_plans.cli.app import main
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import DeviceError
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.inference.predictor import Predictor
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.training.ranks import Ranks, device_of_rank, joined_ranks
from resenc_plans.training.trainer import Trainer
from resenc_plans.workflows import train_fold as train_fold_module
from resenc_plans.workflows.held_out import validate_held_out
from resenc_plans.workflows.train_fold import prediction_settings, train_fold
from tests.gpu import NO_KERNEL, pretend_gpus
from tests.inference.images import noise, write_image
from tests.inference.models import write_model

pytestmark = pytest.mark.slow

FIRST = torch.device("cuda", 0)
SHORT = TrainingSettings(epochs=1, iterations=1, validation_iterations=1, workers=0)
NAMES = pytest.mark.parametrize("name", [None, "cuda", "cuda:0"])


@NAMES
def test_a_process_joins_with_the_first_gpu(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = pretend_gpus(monkeypatch)
    with joined_ranks(device_of_rank(name)) as ranks:
        assert ranks == Ranks(0, 1, FIRST)
        assert current == []
        ranks.take_device()
    assert current == [0]


def test_ranks_meet_on_their_hosts_and_exchange_tensors_of_gpus_by_nccl(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current, backends = pretend_gpus(monkeypatch, 2), list[str]()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", backends.append)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    reduced: list[torch.device] = []
    monkeypatch.setattr(dist, "all_reduce", lambda values: reduced.append(values.device))
    with joined_ranks(torch.device("cuda", 1)) as ranks:
        ranks.wait()
        ranks.total([1.0])
    assert backends == ["cpu:gloo,cuda:nccl"]
    assert reduced == [torch.device("cpu")] * 2
    assert current == []


def test_each_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_of_rank("cuda") == torch.device("cuda", 1)
    assert device_of_rank("cpu") == torch.device("cpu")


def test_one_gpu_by_name_is_for_a_rank_that_is_alone_on_its_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_gpus(monkeypatch, 4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert device_of_rank("cuda:3") == torch.device("cuda", 3)
    for local_world in ("2", None):
        if local_world is None:
            monkeypatch.delenv("LOCAL_WORLD_SIZE")
        else:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", local_world)
        with pytest.raises(DeviceError, match=r"'cuda:3' is one GPU, but each of several"):
            device_of_rank("cuda:3")


def test_a_rank_that_sees_too_few_gpus_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 1)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(DeviceError, match=r"LOCAL_RANK is 3, .* cuda:3, .* CUDA_VISIBLE_DEVICES"):
        device_of_rank(None)


@NAMES
def test_trainer_reaches_the_first_kernel(
    config: ResolvedConfiguration,
    dataset: Dataset,
    name: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current = pretend_gpus(monkeypatch)
    trainer = Trainer(config, dataset, 0, SHORT, device=name)
    assert current == []
    with pytest.raises(AssertionError, match=NO_KERNEL):
        trainer.fit()
    assert current == [0]


@NAMES
def test_train_fold_reaches_the_first_kernel(
    config: ResolvedConfiguration,
    dataset: Dataset,
    name: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_gpus(monkeypatch)
    with pytest.raises(AssertionError, match=NO_KERNEL):
        train_fold(config, dataset, 0, settings=SHORT, device=name)


@pytest.mark.parametrize("options", [(), ("--device", "cuda"), ("--device", "cuda:0")])
def test_the_command_reaches_the_first_kernel(
    preprocessed: Path,
    options: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pretend_gpus(monkeypatch)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.chdir(preprocessed)
    command = ["train", ".", "tiny", "0", "-p", "nnUNetResEncUNetMPlans.json", "--workers", "0"]
    monkeypatch.setattr(sys, "argv", ["resenc-plans", *command, *options])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == ExitCode.FAULT
    assert NO_KERNEL in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("options", [(), ("--device", "cuda"), ("--device", "cuda:0")])
def test_the_command_predict_reaches_the_first_kernel(
    tmp_path: Path,
    options: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = write_model(tmp_path / "Dataset007_Made" / "nnUNetTrainer__made__tested")
    images = tmp_path / "images"
    images.mkdir()
    write_image(images / "one_0000.nii.gz", noise())
    pretend_gpus(monkeypatch)
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(model)]
    monkeypatch.setattr(sys, "argv", ["resenc-plans", *command, *options])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == ExitCode.FAULT
    assert NO_KERNEL in " ".join(capsys.readouterr().err.split())


def test_the_command_cost_reaches_the_first_kernel(
    preprocessed: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pretend_gpus(monkeypatch)
    monkeypatch.setattr(torch.cuda, "get_device_name", str)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.chdir(preprocessed)
    monkeypatch.setattr(sys, "argv", ["resenc-plans", "cost", "tiny", "--measure"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == ExitCode.FAULT
    assert NO_KERNEL in " ".join(capsys.readouterr().err.split())


@NAMES
def test_predictor_reaches_the_first_kernel(
    tmp_path: Path, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model")
    pretend_gpus(monkeypatch)
    with pytest.raises(AssertionError, match=NO_KERNEL):
        Predictor.from_folder(model, settings=PredictionSettings(device=name))


@NAMES
def test_the_held_out_validation_reaches_the_first_kernel(
    config: ResolvedConfiguration,
    dataset: Dataset,
    name: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = Trainer(config, dataset, 0, SHORT, device="cpu")
    assert trainer.fit().is_complete
    (config.plans.folder / "gt_segmentations").mkdir()
    pretend_gpus(monkeypatch)
    with pytest.raises(AssertionError, match=NO_KERNEL):
        validate_held_out(config, dataset, trainer.folder, PredictionSettings(device=name))


def test_a_gpu_that_fails_is_told_in_words(config: ResolvedConfiguration, dataset: Dataset) -> None:
    def lose(_: torch.Tensor, __: torch.Tensor) -> Never:
        raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be")

    with pytest.raises(DeviceError, match=r"cpu: has failed.*launch failure\).*`resume=`"):
        train_fold(config, dataset, 0, settings=SHORT, device="cpu", name="Lost", loss=lose)


@pytest.mark.parametrize("place", ["cpu", "device"])
def test_memory_that_does_not_suffice_is_told_with_what_takes_less(
    config: ResolvedConfiguration, dataset: Dataset, place: Any
) -> None:
    def fill(_: torch.Tensor, __: torch.Tensor) -> Never:
        raise torch.OutOfMemoryError("CUDA out of memory")

    settings = SHORT.model_copy(update={"augment_on": place})
    with pytest.raises(DeviceError, match=r"memory does not suffice.*smaller batch") as caught:
        train_fold(config, dataset, 0, settings=settings, device="cpu", name="Full", loss=fill)
    assert ("augment on the CPU (`augment_on=`)" in str(caught.value)) == (place == "device")


@pytest.mark.parametrize("allowed", [False, True])
def test_fp32_is_tf32_only_where_it_is_allowed(
    config: ResolvedConfiguration,
    dataset: Dataset,
    tmp_path: Path,
    allowed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = write_model(tmp_path / "model")
    pretend_gpus(monkeypatch)
    torch.backends.cudnn.allow_tf32 = not allowed
    settings = SHORT.model_copy(update={"precision": "fp32", "allow_tf32": allowed})
    Trainer(config, dataset, 0, settings, device="cuda")
    assert torch.backends.cudnn.allow_tf32 == allowed
    torch.backends.cudnn.allow_tf32 = not allowed
    with pytest.raises(AssertionError, match=NO_KERNEL):
        Predictor.from_folder(
            model, settings=PredictionSettings(precision="fp32", allow_tf32=allowed)
        )
    assert torch.backends.cudnn.allow_tf32 == allowed


def test_the_validation_is_as_exact_as_the_training() -> None:
    settings = TrainingSettings(precision="fp32", allow_tf32=True)
    assert prediction_settings(settings, "cuda", ()).allow_tf32


def test_the_trainer_is_gone_before_the_validation(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers: list[weakref.ref[Trainer]] = []
    alive: list[Trainer | None] = []

    def validate(*_: object, **__: object) -> None:
        alive.extend(reference() for reference in trainers)

    monkeypatch.setattr(train_fold_module, "validate_together", validate)
    train_fold(
        config,
        dataset,
        settings=SHORT,
        device="cpu",
        on_begin=lambda trainer: trainers.append(weakref.ref(trainer)),
    )
    assert alive == [None]


def test_each_rank_validates_on_its_gpu_where_nothing_is_left_to_train(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SHORT.model_copy(update={"precision": "fp32"})
    assert Trainer(config, dataset, 0, settings, device="cpu").fit().is_complete
    devices: list[str | None] = []

    def validate(*arguments: Any, **_: object) -> None:
        devices.append(arguments[3].device)

    monkeypatch.setattr(train_fold_module, "validate_together", validate)
    monkeypatch.setattr("resenc_plans.training.run_files.Meter", MagicMock())
    pretend_gpus(monkeypatch, 2)
    second = Ranks(0, 1, torch.device("cuda", 1))
    train_fold(config, dataset, settings=settings, resume=True, ranks=second)
    assert devices == ["cuda:1"]


def test_steps_mix_neither_devices_nor_types() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.training.step_on_fake_gpu"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    ends = json.loads(done.stdout)
    assert "FakeTensorDeviceMismatchError" in ends.pop("forgetful")
    assert len(ends) == 35
    of_settings = {"bf16": "bfloat16", "fp32": "float32"}
    for name, types in ends.items():
        of_ranks = "float64" if name.endswith("2 ranks") else "float32"
        assert types == f"{of_settings.get(name, 'float16')}, {of_ranks}", name
