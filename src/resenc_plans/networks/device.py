"""Where a network computes, and in which precision."""

from pathlib import Path
from typing import Literal

import torch

from resenc_plans.errors import ResencPlansError

Precision = Literal["fp16", "bf16", "fp32"]
PRECISIONS: dict[str, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""The type that a network computes in under each name; None is float32 throughout."""

_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_MEMORY_FAULTS = (
    *("out of memory", "DefaultCPUAllocator", "CUDNN_STATUS_ALLOC_FAILED"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR", "unable to find an engine"),
)
"""In the messages of errors without a class: of MPS, the CPU, a full GPU's libraries."""


def find_device(name: str | torch.device | None) -> torch.device:
    """The device of this name; None is a GPU if there is one, else the CPU.

    Raises
    ------
    ResencPlansError
        There is no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ResencPlansError(f"Device {name!r}: unknown. Use cpu, cuda or mps.") from None
    if device.type == "mps" and torch.backends.mps.is_available():
        return device
    if device.type not in ("cpu", "cuda"):
        raise ResencPlansError(f"Device {str(device)!r}: not supported here. Use cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ResencPlansError(
            f"Device {str(device)!r}: PyTorch {torch.__version__} finds "
            f"{torch.cuda.device_count()} GPUs. Use --device cpu, or another build of PyTorch."
        )
    return device


def try_all_kernels(device: torch.device) -> None:
    """Let cuDNN try which of its convolutions is fastest for each shape, as nnU-Net does.

    This holds for the whole process; other devices than CUDA's are left alone.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a device did not suffice."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(fault in str(error) for fault in _MEMORY_FAULTS)
    )


def find_precision(name: str | None, device: torch.device) -> torch.dtype | None:
    """The type to compute in, None for float32.

    Without a name: float16 on a GPU, as nnU-Net; bfloat16 on a CPU that multiplies in it; else
    float32.

    Raises
    ------
    ResencPlansError
        There is no such precision, or a CPU was to compute in float16.
    """
    if name is None:
        name = usual_precision(device)
    if name not in PRECISIONS:
        raise ResencPlansError(f"Precision {name!r}: unknown. Use {', '.join(PRECISIONS)}.")
    if name == "fp16" and device.type == "cpu":
        raise ResencPlansError("Precision 'fp16': for GPUs only. Use bf16 or fp32 on a CPU.")
    return PRECISIONS[name]


def usual_precision(device: torch.device) -> Precision:
    """fp16 on a CUDA GPU, bf16 on a CPU that multiplies in it, else fp32."""
    if device.type == "cuda":
        return "fp16"
    return "bf16" if device.type == "cpu" and _BF16_FLAGS & _cpu_flags() else "fp32"


def _cpu_flags() -> set[str]:
    """What the processor can do, as Linux names it; nothing is known elsewhere."""
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
