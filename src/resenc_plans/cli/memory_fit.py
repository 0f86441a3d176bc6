"""The option --fit of `create`: which memory, and how the plans differ from the preset's."""

from typing import TYPE_CHECKING

from resenc_plans.cli.render import note, numbers
from resenc_plans.errors import PlanningError

if TYPE_CHECKING:
    from resenc_plans.planning.planner import PlanningResult


def memory_to_fit(text: str | None) -> float | None:
    """The GB of `24`, `24GB` or `auto`, the GPU at hand.

    >>> memory_to_fit("24GB")
    24.0
    """
    if text is None:
        return None
    if text.casefold() == "auto":
        from resenc_plans.execution.memory import installed_gpu_memory

        return installed_gpu_memory()
    try:
        memory = float(text.upper().removesuffix("GB"))
    except ValueError:
        memory = 0.0
    if not 0 < memory < float("inf"):
        raise PlanningError(
            f"--fit {text!r}: a positive number of GB is needed, such as 24, or auto."
        )
    return memory


def announce_fit(result: "PlanningResult", usual: "PlanningResult") -> None:
    """How plans that were fitted to a memory differ from the preset's own."""
    note(
        f"Experimental: fitted to {result.gpu_memory_gb:g} GB by the upper bound of the estimated "
        f"memory, not as nnU-Net plans preset {usual.preset.key}. No results are published."
    )
    for name in result.fits:
        config = result.plans.resolve(name)
        if name not in usual.fits:
            note(f"{name}: the preset has none.")
            continue
        preset = usual.plans.resolve(name)
        note(
            f"{name}: patch {numbers(config.patch_size)}, batch {config.batch_size}; preset "
            f"{usual.preset.key}: {numbers(preset.patch_size)}, {preset.batch_size}."
        )
