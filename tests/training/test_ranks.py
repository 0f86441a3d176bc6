"""The gradient of several ranks, averaged, is that of one process with the whole batch."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._dynamo.backends.registry import lookup_backend
from torch.multiprocessing.spawn import spawn

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import ResencPlansError, TrainingError
from resenc_plans.networks.build import build_network
from resenc_plans.plans.known_networks import loss_weights
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.training import step as step_module
from resenc_plans.training.batches.source import Batch
from resenc_plans.training.history import Progress
from resenc_plans.training.losses import (
    DeepSupervision,
    DiceBinaryCrossEntropy,
    DiceCrossEntropy,
    Loss,
)
from resenc_plans.training.ranks import (
    ALONE,
    OTHER_RANK_STOPS,
    Ranks,
    leave_ranks,
    split_batch,
)
from resenc_plans.training.step import TrainingStep
from resenc_plans.training.trainer import Trainer
from tests.networks.configurations import residual

pytestmark = pytest.mark.slow

BATCH, WORLD = 5, 3
SCALES = (8, 4, 2)
WEIGHTS = loss_weights(3, lowest=1e-6)


def losses(ranks: Ranks) -> dict[str, Loss]:
    made: dict[str, Loss] = {}
    for batch_dice in (False, True):
        made[f"labels {batch_dice}"] = DiceCrossEntropy(batch_dice, None, ranks)
        made[f"labels ignored {batch_dice}"] = DiceCrossEntropy(batch_dice, 3, ranks)
        made[f"regions {batch_dice}"] = DiceBinaryCrossEntropy(batch_dice, False, ranks)
        made[f"regions ignored {batch_dice}"] = DiceBinaryCrossEntropy(batch_dice, True, ranks)
        made[f"labels fixed {batch_dice}"] = DiceCrossEntropy(batch_dice, None, ranks, BATCH)
        made[f"regions fixed {batch_dice}"] = DiceBinaryCrossEntropy(
            batch_dice, False, ranks, BATCH
        )
    return made


def samples(name: str) -> tuple[list[Tensor], list[Tensor]]:
    """Logits and targets per scale, the ignored voxels spread unevenly over the samples."""
    random = torch.Generator().manual_seed(0)
    logits = [torch.randn(BATCH, 3, size, size, generator=random) for size in SCALES]
    targets = []
    for size in SCALES:
        share = torch.linspace(0, 0.9, BATCH).view(BATCH, 1, 1, 1)
        ignored = torch.rand(BATCH, 1, size, size, generator=random) < share
        if name.startswith("labels"):
            target = torch.randint(0, 3, (BATCH, 1, size, size), generator=random)
            targets.append(torch.where(ignored, 3, target) if "ignored" in name else target)
        else:
            regions = torch.rand(BATCH, 3, size, size, generator=random) < 0.3
            targets.append(torch.cat([regions, ignored], 1) if "ignored" in name else regions)
    return logits, targets


def gradients(name: str, ranks: Ranks, chosen: slice) -> tuple[float, list[Tensor], float]:
    logits, targets = samples(name)
    mine = [scale[chosen].requires_grad_() for scale in logits]
    supervise = DeepSupervision(losses(ranks)[name], WEIGHTS, ranks)
    loss = supervise(mine, [t[chosen] for t in targets], stops=ranks.rank == 1)
    loss.own.backward()
    assert loss.stopping == (ranks.world > 1)
    found = [scale.grad for scale in mine if scale.grad is not None]
    return loss.own.item(), found, loss.mean.item()


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    ranks = Ranks(rank, WORLD, torch.device("cpu"))
    share = split_batch(BATCH, WORLD, 0.33)[rank]
    chosen = slice(share.first, share.first + share.size)
    found: dict[str, Any] = {name: gradients(name, ranks, chosen) for name in losses(ALONE)}
    torch.save(found, f"{folder}/{rank}.pt")
    leave_ranks()


def test_batch_normalisation_counts_over_all_ranks_or_is_refused() -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
    parameters = list(network.parameters())
    assert ALONE.synchronise_batch_norm(network) is network
    with pytest.raises(ResencPlansError, match="batch normalisation"):
        Ranks(0, 2, torch.device("cpu")).refuse_batch_norm(network)

    common = Ranks(0, 2, torch.device("cuda", 0)).synchronise_batch_norm(network)
    assert [type(part) for part in common.children()] == [nn.Conv3d, nn.SyncBatchNorm]
    assert all(a is b for a, b in zip(parameters, common.parameters(), strict=True))

    plain = nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2, affine=True))
    assert Ranks(0, 2, torch.device("cpu")).synchronise_batch_norm(plain) is plain


@pytest.fixture(scope="module")
def by_rank(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    spawn(one_rank, (str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("name", list(losses(ALONE)))
def test_an_uneven_split_has_the_gradient_of_the_whole_batch(
    by_rank: list[dict[str, Any]], name: str
) -> None:
    value, alone, mean = gradients(name, ALONE, slice(None))
    assert mean == value
    mean = sum(found[name][0] for found in by_rank) / WORLD
    assert mean == pytest.approx(value, abs=1e-5)
    assert [found[name][2] for found in by_rank] == pytest.approx([mean] * WORLD, abs=1e-6)
    for scale, gradient in enumerate(alone):
        together = torch.cat([found[name][1][scale] for found in by_rank]) / WORLD
        assert torch.allclose(together, gradient, atol=1e-6), scale


@dataclass(frozen=True)
class OneSick:
    """Batches of noise; on the second rank there is a case whose image is no number."""

    rank: int

    def stream(self, first: int) -> Iterator[Batch]:
        del first
        images = torch.full((2, 2, 8, 16, 16), float("nan") if self.rank else 1.0)
        while True:
            yield Batch(
                images, torch.zeros((2, 1, 8, 16, 16), dtype=torch.int8), (f"r{self.rank}",)
            )


def one_sick_rank(rank: int, folder: str, preprocessed: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    ranks = Ranks(rank, 2, torch.device("cpu"))
    config = Plans.load(Path(preprocessed) / "nnUNetResEncUNetMPlans.json").resolve("tiny")
    settings = TrainingSettings(iterations=20, precision="fp32", workers=0)
    reductions: list[int] = []
    reduce = dist.all_reduce

    def counted(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
        reductions.append(tensor.numel())
        return reduce(tensor, *arguments, **options)

    dist.all_reduce = counted
    ends: dict[Any, Any] = {}
    for is_read_late in (False, True):
        trainer = Trainer(
            *(config, Dataset.load(preprocessed), 0, settings),
            ranks=ranks,
            training_batches=OneSick(rank),
            validation_batches=OneSick(rank),
        )
        trainer.step.scaler = torch.amp.GradScaler("cpu", 2.0**16)
        trainer.step.is_read_late = is_read_late
        error = ""
        try:
            trainer.fit()
        except TrainingError as raised:
            error = str(raised)
        of_steps = sum(size > 1 for size in reductions)
        ends[is_read_late] = error, len(trainer.epoch_losses), of_steps
        reductions.clear()

    def stop(progress: Progress) -> None:
        if progress.iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = Trainer(
        *(config, Dataset.load(preprocessed), 0, settings),
        ranks=ranks,
        training_batches=OneSick(0),
        validation_batches=OneSick(0),
        on_progress=stop if rank == 0 else None,
    )
    stopped.step.is_read_late = True
    result = stopped.fit()
    ends["stopped"] = result.reason, stopped.iteration, len(stopped.epoch_losses)
    weights = {}
    for is_compiled in (False, True):
        step = TrainingStep.of(
            torch.nn.Conv2d(1, 1, 1),
            DiceCrossEntropy(True, ranks=ranks),
            TrainingSettings(compile=is_compiled, precision="fp32"),
            ranks,
            dim=2,
        )
        weights[is_compiled] = step.lowest_weight
    torch.save((ends, weights), f"{folder}/sick{rank}.pt")
    leave_ranks()


@pytest.mark.slow
def test_a_loss_that_is_no_number_on_one_rank_ends_all_and_takes_one_reduction_a_step(
    preprocessed: Path, tmp_path: Path
) -> None:
    spawn(one_sick_rank, (str(tmp_path), str(preprocessed)), nprocs=2)
    for rank in range(2):
        ends, weights = torch.load(tmp_path / f"sick{rank}.pt")
        for is_read_late in (False, True):
            error, losses, reductions = ends[is_read_late]
            assert "5 batches in a row" in error
            assert "Cases: r1." in error
            assert losses == 4
            assert reductions == 5 + is_read_late
        reason = "SIGTERM was received" if rank == 0 else OTHER_RANK_STOPS
        assert ends["stopped"] == (reason, 5, 5)  # the fourth was told to stop, and one ran already
        assert weights == {False: 1e-6, True: 0.0}


def one_compiled_rank(rank: int, folder: str, backend: str) -> None:
    """Three steps of a network with three outputs, the last without a loss; plain and compiled."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    ranks = Ranks(rank, 2, torch.device("cpu"))
    graphs: list[Any] = []

    def compiler(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return lookup_backend(backend)(graph, inputs)

    torch.compile = partial(torch.compile, backend=compiler)
    parallel = partial(nn.parallel.DistributedDataParallel, bucket_cap_mb=0.002)
    vars(step_module)["DistributedDataParallel"] = parallel
    vars(dist)["_DEFAULT_FIRST_BUCKET_BYTES"] = 1000
    config = residual(n_stages=4, n_blocks_per_stage=[1] * 4, features_per_stage=[4] * 4)
    found: dict[Any, Any] = {}
    for is_compiled in (False, True):
        torch.manual_seed(0)
        settings = TrainingSettings(compile=is_compiled, precision="fp32")
        network, loss = build_network(config, 1, 2), DiceCrossEntropy(False, ranks=ranks)
        step = TrainingStep.of(network, loss, settings, ranks, dim=3)
        step.lowest_weight = 0.0 if is_compiled else 1e-6
        random = torch.Generator().manual_seed(rank)
        for _ in range(3):
            images = torch.randn((1, 1, *config.patch_size), generator=random)
            step(Batch(images, (images > 0).to(torch.int8), ()))
        step.eval()
        with torch.no_grad():
            outcome = step.evaluate(Batch(images, (images > 0).to(torch.int8), ()))
            loss_after = outcome.loss.own.item()
        found[is_compiled] = network.state_dict(), loss_after
        if is_compiled:
            assert isinstance(step.forward, nn.Module)
            found["order"] = [type(part).__name__ for part in step.forward.modules()][:3]
            found["graphs"] = len(graphs)
    torch.save(found, f"{folder}/{rank}.pt")
    leave_ranks()


@pytest.mark.parametrize("backend", ["aot_eager"])
def test_a_compiled_network_of_several_ranks_is_cut_and_learns_the_same(
    tmp_path: Path, backend: str
) -> None:
    spawn(one_compiled_rank, (str(tmp_path), backend), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first["order"] == ["OptimizedModule", "DistributedDataParallel", "ResidualEncoderUNet"]
    assert first["graphs"] > 6  # in training and in validation
    for name, weight in first[True][0].items():
        assert not name.startswith(("module.", "_orig_mod."))
        assert torch.equal(weight, second[True][0][name]), name
        torch.testing.assert_close(weight, first[False][0][name], atol=1e-5, rtol=1e-4)
    assert first[True][0].keys() == first[False][0].keys()
    assert first[True][1] == pytest.approx(first[False][1], abs=1e-4)
