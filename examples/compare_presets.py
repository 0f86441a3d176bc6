"""Compare the patch and batch sizes that the presets choose for one dataset."""

from pathlib import Path

from resenc_plans import Dataset, Fingerprint, create_plans, write_phantom


def main() -> None:
    dataset = Dataset.load(write_phantom(Path("Dataset900_Phantom"), cases=3))
    fingerprint = Fingerprint.extract(dataset)
    for preset in ("default", "resenc", "M", "L", "XL"):
        config = create_plans(fingerprint, dataset, preset=preset).resolve("3d_fullres")
        print(f"{preset:8} patch {config.patch_size}  batch {config.batch_size}")


if __name__ == "__main__":
    main()
