"""Where plans come from: the one key that we add and nnU-Net ignores."""

from resenc_plans.plans.frozen import FrozenDict, FrozenModel, Number

PROVENANCE = "resenc_plans"
"""The last key of a plans file that this package wrote."""

STANDARD_TARGETS: dict[str, int] = {
    "nnUNetPlans": 8,
    "nnUNetResEncUNetPlans": 8,
    "nnUNetResEncUNetMPlans": 8,
    "nnUNetResEncUNetLPlans": 24,
    "nnUNetResEncUNetXLPlans": 40,
}
"""The GPU memory target (GB, as nnU-Net counts it) that each preset's plans name stands for."""


class Provenance(FrozenModel):
    """What nnU-Net's own file does not record about how plans were made."""

    version: str
    preset: str
    gpu_memory_gb: Number
    batch_cap: Number
    fingerprint_digest: str
    derived: FrozenDict = FrozenDict({})
