"""Where a network computes, and in which precision."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import torch

from resenc_plans.errors import DeviceError, first_line
from resenc_plans.execution.gpus import named_gpu
from resenc_plans.words import counted

logger = logging.getLogger(__name__)

Precision = Literal["fp16", "bf16", "fp32"]
PRECISIONS: dict[str, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""The type that a network computes in under each name; None is float32 throughout."""

_FAILURES = ("CUDA error", "HIP error", "CUDNN_STATUS_EXECUTION_FAILED")
"""In the messages of errors after which a process can compute nothing more on its GPU."""
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_COMPILER = ("torch._dynamo", "torch._inductor")
"""Where torch.compile's errors are defined."""
_MEMORY_ERRORS = (
    *("out of memory", "DefaultCPUAllocator", "CUDNN_STATUS_ALLOC_FAILED"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR", "unable to find an engine"),
)
"""In the messages of errors without a class: of MPS, the CPU, a full GPU's libraries."""


def find_device(name: str | torch.device | None) -> torch.device:
    """The device of this name; None is a GPU if there is one, else the CPU.

    A CUDA device has an index: without one it is the process's current GPU, else the first.

    Raises
    ------
    DeviceError
        There is no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"Device {name!r} is unknown. Use cpu, cuda or mps.") from None
    if device.type == "mps" and torch.backends.mps.is_available():
        return device
    if _is_of_extension(device):
        return torch.device(device.type, device.index or 0)  # as its tensors have it
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"Device {str(device)!r} is not supported here. Use cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"Device {str(device)!r}: PyTorch {torch.__version__} finds "
            f"{counted(torch.cuda.device_count(), 'GPU')}. Choose cpu (`device=`), or install "
            "another build of PyTorch."
        )
    if device == torch.device("cuda"):
        has_current = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        return torch.device("cuda", torch.cuda.current_device() if has_current else 0)
    return device


def devices_of_processes(processes: int, name: str | None) -> tuple[str, ...]:
    """A device for each of some processes: a GPU of its own, or else the one that is named.

    Where none is named and there is no GPU, a warning says that they share the CPU.

    Raises
    ------
    DeviceError
        There is no such device, or there are fewer GPUs than processes, or several processes would
        share the one GPU that is named.
    """
    if processes > 1:
        refuse_one_gpu(name)
    device = find_device(name)
    if processes > 1 and name is None and device.type == "cpu":
        logger.warning("There is no GPU here: all %d processes compute on the CPU.", processes)
    if device.type != "cuda" or processes == 1:
        return (str(device),) * processes
    available = torch.cuda.device_count()
    if processes > available:
        raise DeviceError(
            f"{processes} processes need as many GPUs, and PyTorch finds "
            f"{counted(available, 'GPU')} here. Use no more than these, or several machines."
        )
    return tuple(f"cuda:{number}" for number in range(processes))


def refuse_one_gpu(name: str | None) -> None:
    """Make sure that a device for several processes is not one GPU among several.

    Raises
    ------
    DeviceError
        The name has the index of a GPU.
    """
    if index := named_gpu(name):
        raise DeviceError(
            f"Device {name!r} is one GPU, but each of several processes takes its own: cuda:0, "
            "cuda:1 and so on. Name the kind alone, 'cuda' (`device=`), and choose GPUs by "
            f"CUDA_VISIBLE_DEVICES={index},..."
        )


def _is_of_extension(device: torch.device) -> bool:
    """Whether it belongs to the backend that an extension has registered with PyTorch."""
    name = torch._C._get_privateuse1_backend_name()
    return device.type == name and hasattr(torch, name)


def configure_cudnn(device: torch.device, *, allow_tf32: bool) -> None:
    """Let cuDNN time its convolutions and take the fastest for each shape, as nnU-Net does.

    Float32 convolutions may be computed in TF32, with 10 bits of mantissa instead of 23, where
    `allow_tf32` says so. PyTorch's default, which nnU-Net leaves, allows it. This holds for the
    whole process. On devices other than CUDA's nothing changes.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = allow_tf32


def release_memory(device: torch.device) -> None:
    """Give memory that no tensor takes any more back to a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _MEMORY_ERRORS)
    )


def why_not_compiled(error: BaseException) -> str | None:
    """Why torch.compile failed, without a full stop; None where that is not the error."""
    if not type(error).__module__.startswith(_COMPILER):
        return None
    return first_line(error)


@contextmanager
def failures_named(device: torch.device, advice: str) -> Iterator[None]:
    """Raise the failure of a device, such as a GPU that has fallen off its bus, in words.

    `advice` says how to go on. Memory that does not suffice is not a failure.

    Raises
    ------
    DeviceError
        The device has failed.
    """
    try:
        yield
    except RuntimeError as error:
        is_failure = any(text in str(error) for text in _FAILURES)
        if not is_failure or is_out_of_memory(error):
            raise
        raise DeviceError(
            f"{device}: has failed, and this process can use it no more ({first_line(error)}). "
            f"Look at nvidia-smi and the system's log. {advice}"
        ) from error


def find_precision(name: str | None, device: torch.device) -> torch.dtype | None:
    """The type to compute in, None for float32.

    Without a name: float16 on a GPU, as nnU-Net; bfloat16 on a CPU that multiplies in it; else
    float32.

    Raises
    ------
    DeviceError
        There is no such precision, or it is float16 on a CPU.
    """
    if name is None:
        name = default_precision(device)
    if name not in PRECISIONS:
        raise DeviceError(f"Precision {name!r} is unknown. Use {', '.join(PRECISIONS)}.")
    if name == "fp16" and device.type == "cpu":
        raise DeviceError("Precision 'fp16' is for GPUs only. Use bf16 or fp32 on a CPU.")
    return PRECISIONS[name]


def autocast_to(
    precision: torch.dtype | None, device: torch.device
) -> AbstractContextManager[object]:
    """The context in which networks compute in a precision; none at all for None.

    A device without mixed precision, such as MPS under some versions of PyTorch, refuses even a
    context that is not enabled.
    """
    return nullcontext() if precision is None else torch.autocast(device.type, precision)


def default_precision(device: torch.device) -> Precision:
    """fp16 on a CUDA GPU, bf16 on a CPU that multiplies in it, else fp32."""
    if device.type == "cuda":
        return "fp16"
    return "bf16" if device.type == "cpu" and _BF16_FLAGS & _cpu_flags() else "fp32"


def _cpu_flags() -> set[str]:
    """The processor's features as Linux names them; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    flags = (
        line.partition(":")[2]
        for line in text.splitlines()
        if line.startswith(("flags", "Features"))
    )
    return set(next(flags, "").split())
