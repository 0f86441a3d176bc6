"""Plan a dataset for one 80 GB card, then raise the batch size for eight of them.

nnU-Net's advice for several GPUs is to plan for the memory of one, which keeps the patch size
reasonable, and to multiply the batch size in a configuration that inherits the rest.
"""

from pathlib import Path
from tempfile import mkdtemp

from resenc_plans import Dataset, Fingerprint, create_plans, write_phantom


def main() -> None:
    dataset = Dataset.load(write_phantom(Path(mkdtemp()) / "Dataset900_Phantom", cases=3))
    fingerprint = Fingerprint.extract(dataset)
    plan = create_plans(fingerprint, dataset, gpu_memory_gb=80, name="nnUNetResEncUNetPlans_80G")
    single = plan.resolve("3d_fullres")
    plan.derive("3d_fullres_8gpus", from_="3d_fullres", batch_size=8 * single.batch_size)
    plan.save(dataset.folder / f"{plan.name}.json")
    for name in plan.configurations:
        config = plan.resolve(name)
        print(f"{name}: batch {config.batch_size}, patch {config.patch_size}")


if __name__ == "__main__":
    main()
