"""What plans are made from: a fingerprint and a dataset.json."""

from typing import Any

INTENSITIES = {
    "max": 300.0, "mean": 100.0, "median": 90.0, "min": 0.0,
    "percentile_00_5": 5.0, "percentile_99_5": 250.0, "std": 40.0,
}  # fmt: skip


def fingerprint(
    shape: tuple[int, ...] = (40, 160, 160),
    spacing: tuple[float, ...] = (3.0, 0.8, 0.8),
    cases: int = 20,
    channels: int = 1,
) -> dict[str, Any]:
    return {
        "foreground_intensity_properties_per_channel": {
            str(c): INTENSITIES for c in range(channels)
        },
        "median_relative_size_after_cropping": 1.0,
        "shapes_after_crop": [list(shape)] * cases,
        "spacings": [list(spacing)] * cases,
    }


DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "organ": 1},
    "numTraining": 20,
    "file_ending": ".nii.gz",
}
