"""Compare the patch and batch sizes that the presets choose for one dataset.

A made-up dataset with the shapes and spacings of 60 CTs; for your own, `Dataset.load` it and
extract its fingerprint.
"""

from pathlib import Path
from tempfile import mkdtemp

from resenc_plans import Dataset, Fingerprint, create_plans, write_phantom


def main() -> None:
    dataset = Dataset.load(write_phantom(Path(mkdtemp()) / "Dataset900_Phantom", cases=3))
    shapes = {"shapes_after_crop": [[180, 512, 512]] * 60, "spacings": [[2.0, 0.8, 0.8]] * 60}
    fingerprint = Fingerprint.from_dict(Fingerprint.extract(dataset).to_dict() | shapes)
    for preset in ("default", "resenc", "M", "L", "XL"):
        config = create_plans(fingerprint, dataset, preset=preset).resolve("3d_fullres")
        print(f"{preset:8} patch {config.patch_size}  batch {config.batch_size}")


if __name__ == "__main__":
    main()
