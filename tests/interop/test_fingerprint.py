"""Fingerprints of made datasets, compared with those of the real extractor."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resenc_plans import Dataset, Fingerprint
from tests.datasets.made import image_array, label_array, write_dataset, write_image

Peer = Callable[..., str]

EXTRACT = """
import os, sys
raw, preprocessed = sys.argv[1:3]
os.environ.update(nnUNet_raw=raw, nnUNet_preprocessed=preprocessed, nnUNet_results=preprocessed)
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
    DatasetFingerprintExtractor,
)
if __name__ == "__main__":
    for name in sys.argv[3:]:
        extractor = DatasetFingerprintExtractor(name, 1)
        extractor.num_foreground_voxels_for_intensitystats = 3e5
        extractor.run()
"""


def test_made_datasets_have_nnunet_s_fingerprint_byte_for_byte(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resenc_plans.datasets.extraction.SAMPLES_PER_DATASET", 3e5)
    raw, theirs = tmp_path / "raw", tmp_path / "preprocessed"
    plain = write_dataset(raw / "Dataset001_Plain", cases=4)
    write_image(plain / "imagesTr/case_001_0000.nii.gz", image_array(7, (6, 9, 9)) / 7.0)
    some = write_dataset(raw / "Dataset002_CaseWithoutForeground")
    write_image(some / "labelsTr/case_001.nii.gz", np.zeros((6, 9, 9), np.uint8))
    none = write_dataset(raw / "Dataset003_ImageOfZeros", file_ending=".nrrd")
    for channel in range(2):
        path = none / f"imagesTr/case_002_{channel:04}.nrrd"
        write_image(path, np.zeros((6, 9, 10), np.float32))
    large = write_dataset(raw / "Dataset004_MoreVoxelsThanDraws", cases=2)
    for case in range(2):
        label = large / f"labelsTr/case_{case:03}.nii.gz"
        write_image(label, label_array(case, (60, 70, 80)))
        for channel in range(2):
            path = large / f"imagesTr/case_{case:03}_{channel:04}.nii.gz"
            write_image(path, image_array(case + channel, (60, 70, 80)))
    names = [folder.name for folder in sorted(raw.iterdir())]
    peer(EXTRACT, raw, theirs, *names)
    for name in names:
        Fingerprint.extract(Dataset.load(raw / name)).save(tmp_path / "ours.json")
        expected = (theirs / name / "dataset_fingerprint.json").read_text()
        assert (tmp_path / "ours.json").read_text() == expected, name
