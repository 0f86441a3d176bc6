"""How much memory the GPU of this machine has, as nvidia-smi says."""

import subprocess

from resenc_plans.errors import PlanningError


def gpu_memory_at_hand() -> float:
    """Memory in GB as nvidia-smi counts it (GiB); of several GPUs, that of the smallest.

    Raises
    ------
    PlanningError
        There is no nvidia-smi, or it sees no GPU.
    """
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        return min(float(line) for line in done.stdout.split()) / 1024
    except (OSError, subprocess.SubprocessError, ValueError):
        raise PlanningError(
            "No GPU found: nvidia-smi does not run here or sees none. Give the memory in GB "
            "instead, such as --fit 24."
        ) from None
