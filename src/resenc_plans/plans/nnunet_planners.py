"""nnU-Net's planners: the names that plans files bear, and the memory that each stands for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NnunetPlanner:
    """A planner of nnU-Net 2.8.1."""

    class_name: str
    plans_name: str
    gpu_memory_gb: int
    """Its GPU memory target, as nnU-Net counts it."""
    batch_cap: float
    """The share of the dataset's voxels at which its batch stops; 1 is all of them."""


NNUNET_PLANNERS: dict[str, NnunetPlanner] = {
    "default": NnunetPlanner("ExperimentPlanner", "nnUNetPlans", 8, 0.05),
    "resenc": NnunetPlanner("ResEncUNetPlanner", "nnUNetResEncUNetPlans", 8, 0.05),
    "M": NnunetPlanner("nnUNetPlannerResEncM", "nnUNetResEncUNetMPlans", 8, 1),
    "L": NnunetPlanner("nnUNetPlannerResEncL", "nnUNetResEncUNetLPlans", 24, 1),
    "XL": NnunetPlanner("nnUNetPlannerResEncXL", "nnUNetResEncUNetXLPlans", 40, 1),
    "L-torch": NnunetPlanner(
        "nnUNetPlannerResEncL_torchres", "nnUNetResEncUNetLPlans_torchres", 24, 1
    ),
    "L-torch-separate-z": NnunetPlanner(
        "nnUNetPlannerResEncL_torchres_sepz", "nnUNetResEncUNetLPlans_torchres_sepz", 24, 1
    ),
    "L-no-resampling": NnunetPlanner(
        "nnUNetPlannerResEncL_noResampling", "nnUNetResEncUNetLPlans_noResampling", 24, 1
    ),
    "default-torch": NnunetPlanner("nnUNetPlanner_torchres", "nnUNetPlans_torchres", 8, 0.05),
}
"""By the key of the preset that plans as they do."""
