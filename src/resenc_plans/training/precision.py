"""In which precision a device computes."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from resenc_plans.training.settings import Precision

_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def choose_precision(wanted: Precision, device: torch.device) -> Precision:
    """What `auto` means on a device."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "fp16"
    return "bf16" if device.type == "cpu" and _cpu_has_bf16() else "fp32"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context in which the network and the loss compute."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, _TYPES[precision])


def _cpu_has_bf16() -> bool:
    """Whether Linux says that the processor multiplies bfloat16 itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not _BF16_FLAGS.isdisjoint(flags.split())
