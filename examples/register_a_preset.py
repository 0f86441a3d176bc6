"""Register a preset: ResEnc for GPUs of 16 GB, with a cap of 20% of the dataset per batch."""

from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

from resenc_plans import (
    Dataset,
    Fingerprint,
    create_plans,
    find_preset,
    register_preset,
    write_phantom,
)


def main() -> None:
    register_preset(
        replace(
            find_preset("M"),
            key="S16",
            planner="MyPlannerS16",
            plans_name="nnUNetResEncUNetS16Plans",
            gpu_memory_gb=16,
            batch_cap=0.2,
        )
    )
    dataset = Dataset.load(write_phantom(Path(mkdtemp()) / "Dataset900_Phantom", cases=3))
    plan = create_plans(Fingerprint.extract(dataset), dataset, preset="S16")
    print(plan.name, plan.resolve("3d_fullres").batch_size)


if __name__ == "__main__":
    main()
