"""What nnU-Net's benchmarking trainers write: how fast the fastest epoch was, and on what."""

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from resenc_plans.files import write_json
from resenc_plans.training.history import Epoch

BENCHMARK_JSON = "benchmark_result.json"


def write_benchmark(
    folder: Path, epochs: Sequence[Epoch], device: torch.device, *, processes: int
) -> None:
    """Write the file into a fold's folder, with the keys that nnU-Net's has.

    Raises
    ------
    FileError
        It cannot be written.
    """
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    on_gpu = device.type == "cuda"
    facts = {
        "torch_version": torch.__version__,
        "cudnn_version": cudnn,
        "gpu_name": torch.cuda.get_device_name(device) if on_gpu else str(device),
        "fastest_epoch": round(min(epoch.seconds for epoch in epochs), 2),
        "num_gpus": processes,
        "hostname": platform.node(),
    }
    names = (facts[key] for key in ("hostname", "cudnn_version", "torch_version", "gpu_name"))
    key = "__".join((*map(str, names), f"num_gpus_{processes}"))
    write_json(folder / BENCHMARK_JSON, {key: facts})
