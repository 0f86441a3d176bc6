import pytest
import torch

from resenc_plans.errors import DeviceError
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.profiling.gpu_step import CudaGpu, measure_configuration
from resenc_plans.training.batches.source import Batch
from resenc_plans.training.step import Outcome, TrainingStep, image_type
from tests.networks.configurations import residual


class PretendedGpu:
    """The CPU, with a memory that is made up."""

    name = "Pretended GPU"
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def wait(self) -> None:
        self.calls.append("wait")

    def allocated(self) -> int:
        return 3 * 2**30

    def reserved(self) -> int:
        return 4 * 2**30

    def used(self) -> int:
        return 5 * 2**30


class FullGpu(PretendedGpu):
    def wait(self) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize("regions", [False, True])
def test_steps_run_between_the_beginning_and_the_end_of_the_clock(regions: bool) -> None:
    gpu = PretendedGpu()
    found = measure_configuration(residual(), 1, 2, gpu, regions=regions)
    assert gpu.calls == ["start", "wait", "wait"]
    assert (found.gpu, found.torch) == ("Pretended GPU", torch.__version__)
    sizes = (found.allocated_bytes, found.reserved_bytes, found.used_bytes)
    assert sizes == (3 * 2**30, 4 * 2**30, 5 * 2**30)
    assert found.seconds_per_step > 0


@pytest.mark.parametrize(
    ("training", "compiled"),
    [(None, 0), (TrainingSettings(compile=True), 2), (TrainingSettings(deep_supervision=False), 0)],
)
def test_the_step_is_that_of_a_training(
    training: TrainingSettings | None, compiled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    images: list[torch.Tensor] = []
    outputs: list[int] = []

    def compiling(what: object) -> object:
        made.append(what)
        return what

    evaluate = TrainingStep.evaluate

    def evaluating(self: TrainingStep, batch: Batch, *, stops: bool) -> Outcome:
        outcome = evaluate(self, batch, stops=stops)
        images.append(batch.images)
        outputs.append(len(outcome.logits))
        return outcome

    monkeypatch.setattr(torch, "compile", compiling)
    monkeypatch.setattr(TrainingStep, "evaluate", evaluating)
    config = residual(n_stages=4).model_copy(update={"training": training})
    measure_configuration(config, 1, 2, PretendedGpu())
    assert len(made) == compiled  # the network, and the sums of the Dice
    settings = training or TrainingSettings()
    assert images[0].dtype == image_type(config, settings, PretendedGpu.device)
    assert outputs[0] == (3 if settings.deep_supervision else 1)


def test_too_little_memory_is_a_message_with_a_smaller_batch() -> None:
    config = residual()
    smaller = f"a smaller batch, such as {config.batch_size // 2}"
    with pytest.raises(DeviceError, match=f"does not fit into.*Pretended GPU.*{smaller}"):
        measure_configuration(config, 1, 2, FullGpu())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_without_cuda_the_message_says_that_the_estimate_needs_none() -> None:
    with pytest.raises(DeviceError, match="torch sees none here"):
        CudaGpu()
