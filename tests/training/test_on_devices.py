"""What depends on the device: on a GPU its streams, half precision and NCCL, else the CPU's own.

`benchmarks/first_hour.py measure checks` runs them where there is a GPU.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from resenc_plans.networks.build import build_network
from resenc_plans.plans.training_settings import AdamW, TrainingSettings
from resenc_plans.runs.checkpoint import Checkpoint, load_checkpoint
from resenc_plans.training.batches.device_augmentation import DeviceAugmentation
from resenc_plans.training.batches.drawn import DrawnBatch
from resenc_plans.training.batches.drawn_samples import DrawnSamples
from resenc_plans.training.batches.prefetch import prefetched
from resenc_plans.training.batches.source import Batch
from resenc_plans.training.checkpoint_writer import CheckpointWriter
from resenc_plans.training.conditional_steps import can_decide
from resenc_plans.training.defaults import default_loss
from resenc_plans.training.ranks import HostGroup, Ranks
from resenc_plans.training.step import TrainingStep, image_type, is_compiled
from tests.gpu import DEVICES
from tests.networks.configurations import residual
from tests.training.batches.compare_augmentations import KINDS

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("device", DEVICES, indirect=True)]

CONFIG = residual(n_stages=2)
SETTINGS = TrainingSettings(compile=False)
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {},
    "fused SGD": {"fused_optimizer": True},
    "fused AdamW": {"fused_optimizer": True, "optimizer": AdamW()},
}


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


def make_step(ranks: Ranks, *, dropped: bool = False, **settings: Any) -> TrainingStep:
    """Of a small network, in fp16 on a GPU; `dropped` is whether voxels may be ignored."""
    chosen = SETTINGS.model_copy(update=settings)
    torch.manual_seed(0)
    network = build_network(CONFIG, 1, 3, deep_supervision=True)
    loss = default_loss(
        CONFIG,
        chosen,
        ranks,
        ignore_label=3 if dropped else None,
        compiled=is_compiled(chosen, ranks.device),
    )
    step = TrainingStep.of(network, loss, chosen, ranks, dim=CONFIG.dim)
    step.train()
    return step


def make_batch(step: TrainingStep, seed: int = 0, *, dropped: bool = False) -> Batch:
    random = torch.Generator().manual_seed(seed)
    size = (2, 1, *CONFIG.patch_size)
    images = torch.randn(size, generator=random).to(image_type(CONFIG, SETTINGS, step.device))
    target = torch.randint(0, 4 if dropped else 3, size, generator=random).to(torch.int16)
    return Batch(pinned(images, step.device), pinned(target, step.device), ("made up",))


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.pin_memory() if device.type == "cuda" else tensor


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Let each operation fail for which the host would wait for a GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def weights_of(step: TrainingStep) -> list[Tensor]:
    return [weight.detach().cpu().clone() for weight in step.network.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dropped", [False, True])
def test_a_step_that_the_device_decides_on_waits_for_nothing(
    device: torch.device, name: str, dropped: bool
) -> None:
    step = make_step(Ranks(0, 1, device), dropped=dropped, **OPTIMIZERS[name])
    batches = [make_batch(step, number, dropped=dropped) for number in range(12)]
    for batch in batches[:8]:  # until the scale has fallen
        step(batch)
    before = weights_of(step)
    assert can_decide(step.optimizer)
    with no_waiting(device):
        launched = [step.launch(batch) for batch in batches[8:]]
    reports = [one.report for one in launched]
    assert all(math.isfinite(report.loss) for report in reports)
    assert any(not torch.equal(*pair) for pair in zip(before, weights_of(step), strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_batch_that_is_not_finite_changes_nothing(device: torch.device, name: str) -> None:
    step = make_step(Ranks(0, 1, device), **OPTIMIZERS[name])
    for number in range(8):
        step(make_batch(step, number))
    before, momenta = weights_of(step), deepcopy(step.optimizer.state_dict()["state"])
    batch = make_batch(step, 8)
    batch.images[0, 0, 0, 0, 0] = math.inf
    report = step(batch)
    assert not math.isfinite(report.norm)
    assert all(torch.equal(*pair) for pair in zip(before, weights_of(step), strict=True))
    for number, state in step.optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, momenta[number][key]) for key, value in state.items())
    assert math.isfinite(step(make_batch(step, 9)).loss)


def test_a_checkpoint_holds_the_weights_of_its_moment_while_training_goes_on(
    device: torch.device, tmp_path: Path
) -> None:
    step, writer = make_step(Ranks(0, 1, device)), CheckpointWriter()
    for number in range(4):
        step(make_batch(step, number))
    for number in range(3):
        path = tmp_path / f"{number}.pth"
        state = step.network.state_dict(), step.optimizer.state_dict()
        expected = weights_of(step)
        writer.write(path, Checkpoint(*state, None, {}, None, 1, {}, "nnUNetTrainer", None))
        for later in range(3):
            step.launch(make_batch(step, later))
        writer.wait()
        written = load_checkpoint(path).network_weights
        names = [name for name, _ in step.network.named_parameters()]
        assert all(torch.equal(written[key], one) for key, one in zip(names, expected, strict=True))
    writer.close()


def test_batches_that_are_copied_ahead_are_whole(device: torch.device) -> None:
    def batches() -> Iterator[Batch]:
        for number in range(24):
            values = torch.full((1 << 20,), float(number))
            yield Batch(pinned(values, device), pinned(values.short(), device), (str(number),))

    busy = torch.ones((512, 512), device=device)
    sums = []
    for batch in prefetched(batches(), device):
        assert batch.images.device.type == device.type
        for _ in range(8):
            busy = (busy @ busy).clamp(0, 1)
        sums.append(batch.images.sum() + batch.target.sum() + 0 * busy.sum())
    assert [value.item() / (1 << 21) for value in sums] == list(range(24))


def test_the_augmentation_waits_for_nothing(device: torch.device) -> None:
    source = KINDS["3D"].source()
    augment, samples = DeviceAugmentation(source, device), DrawnSamples(source)
    augment(samples.batch(0))
    for number in range(1, 8):
        drawn = samples.batch(number)
        parts = pinned(drawn.images, device), pinned(drawn.labels, device)
        drawn = DrawnBatch(*parts, None, drawn.samples, drawn.cases)
        with no_waiting(device):
            augment(drawn)


@pytest.mark.parametrize("compiled", [False, True])
def test_ranks_train_together_over_the_backend_of_the_device(
    device: torch.device, compiled: bool, tmp_path: Path
) -> None:
    """Alone in a group: what each sends to the others comes back as it was."""
    if compiled and device.type == "cpu":
        pytest.skip("takes minutes, and others compile with ranks on a CPU")
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/a", rank=0, world_size=1)
    try:
        ranks = Ranks(0, 2, device)
        ranks.take_device()
        step = make_step(ranks, dropped=True, compile=compiled)
        for number in range(4):
            report = step(make_batch(step, number, dropped=True), stops=number == 3)
            assert report.is_stopped == (number == 3)
            assert math.isfinite(report.mean_loss)
        step.eval()
        with torch.no_grad():
            assert step.evaluate(make_batch(step, dropped=True)).loss.own.isfinite()
        ranks.wait()
        assert HostGroup(Ranks(0, 1, device)).exchange("own") == ["own"]
    finally:
        dist.destroy_process_group()
