import pytest
import torch

from resenc_plans.errors import DeviceError
from resenc_plans.profiling.gpu_step import CudaGpu, measure_configuration
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


def test_too_little_memory_is_a_message_with_a_smaller_batch() -> None:
    config = residual()
    smaller = f"a smaller batch, such as {config.batch_size // 2}"
    with pytest.raises(DeviceError, match=f"does not fit into.*Pretended GPU.*{smaller}"):
        measure_configuration(config, 1, 2, FullGpu())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_without_cuda_the_message_says_that_the_estimate_needs_none() -> None:
    with pytest.raises(DeviceError, match="torch sees none here"):
        CudaGpu()
