"""Made-up tasks of the Medical Segmentation Decathlon and of nnU-Net v1."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813


def write_task(folder: Path, *, channels: int, old: bool = False) -> Path:
    """Two training cases and a test case; of nnU-Net v1, each channel has a file of its own."""
    random = np.random.default_rng(0)
    for name in ("imagesTr", "imagesTs", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case, images in (("00", "imagesTr"), ("01", "imagesTr"), ("07", "imagesTs")):
        voxels = random.integers(0, 900, (5, 6, 7)).astype(np.int16)
        stack = np.stack([voxels + 1000 * channel for channel in range(channels)])
        if old:
            for channel, volume in enumerate(stack):
                _write(volume, folder / images / f"prostate_{case}_{channel:04d}.nii.gz")
        else:
            volume = stack if channels > 1 else stack[0]
            _write(volume, folder / images / f"prostate_{case}.nii.gz")
        if images == "imagesTr":
            labels = random.integers(0, 3, voxels.shape).astype(np.uint8)
            _write(labels, folder / "labelsTr" / f"prostate_{case}.nii.gz")
    (folder / "labelsTr" / "._prostate_00.nii.gz").write_bytes(b"litter of an archive")
    if old:
        (folder / "labelsTr" / "._prostate_00.nii.gz").unlink()
    training = [
        {
            "image": f"./imagesTr/prostate_{case}.nii.gz",
            "label": f"./labelsTr/prostate_{case}.nii.gz",
        }
        for case in ("00", "01")
    ]
    document = {
        "name": "PROSTATE",
        "description": "Prostate, transitional and peripheral zone",
        "tensorImageSize": "4D",
        "modality": {str(n): name for n, name in zip(range(channels), ("T2", "ADC"), strict=False)},
        "labels": {"0": "background", "1": "PZ", "2": "TZ"},
        "numTraining": 2,
        "numTest": 1,
        "training": training,
        "test": ["./imagesTs/prostate_07.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(document))
    return folder


def _write(voxels: np.ndarray, path: Path) -> None:
    is_4d = voxels.ndim == 4
    image = sitk.GetImageFromArray(voxels, isVector=False)
    image.SetSpacing((0.5, 0.6, 3.0, 1.0)[: voxels.ndim])
    image.SetOrigin((1.0, -2.0, 3.5, 0.0)[: voxels.ndim])
    turned = np.eye(voxels.ndim)
    turned[0, 0] = turned[1, 1] = -1
    image.SetDirection(turned.ravel().tolist())
    assert image.GetDimension() == (4 if is_4d else 3)
    sitk.WriteImage(image, str(path))
