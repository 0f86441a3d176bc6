"""Made-up fingerprints with their dataset.json, and what to plan for."""

import random
from typing import Any

from resenc_plans.planning.presets import Preset, presets

UNPATCHED = 3
"""Cases that nnU-Net plans with real networks, to show that the meta device changes nothing."""


def random_case(seed: int) -> dict[str, Any]:
    """A made-up fingerprint and dataset.json, and what to plan for."""
    rng = random.Random(seed)
    kind = rng.choice(["isotropic", "anisotropic", "flat", "tiny", "huge", "mixed", "2d"])
    cases = rng.choice([1, 2, 5, 20, 60, 300])
    edges = {
        "isotropic": (60, 300),
        "anisotropic": (120, 512),
        "flat": (200, 800),
        "tiny": (5, 40),
        "huge": (400, 1100),
        "mixed": (20, 600),
        "2d": (40, 3000),
    }[kind]
    size = [rng.randint(*edges) for _ in range(3)]
    spacing = [round(rng.uniform(0.3, 1.6), 4)] * 3
    if kind in ("anisotropic", "flat", "mixed"):
        spacing = [round(rng.uniform(0.3, 1.5), 5) for _ in range(3)]
        coarse = rng.randrange(3)
        spacing[coarse] = round(rng.uniform(1, 9), 3)
        if kind == "flat":
            size[coarse] = rng.randint(5, 30)
    shapes = [[max(1, round(n * rng.uniform(0.7, 1.3))) for n in size] for _ in range(cases)]
    spacings = [[round(s * rng.uniform(0.9, 1.1), 6) for s in spacing] for _ in range(cases)]
    if kind == "2d":
        shapes = [[1, shape[1], shape[2]] for shape in shapes]
        spacings = [[999.0, 1.0, 1.0]] * cases
    channels = rng.randint(1, 5)
    names = ["CT", "ct", "MRI", "noNorm", "zscore", "rescale_to_0_1", "rgb_to_0_1", "T2"]
    labels: dict[str, Any] = {"background": 0}
    foreground = rng.choice([1, 2, 3, 15, 60])
    if rng.random() < 0.25 and foreground > 1:
        labels |= {f"region{n}": list(range(n, foreground + 1)) for n in range(1, foreground + 1)}
    else:
        labels |= {f"label{n}": n for n in range(1, foreground + 1)}
    if rng.random() < 0.2:
        labels["ignore"] = foreground + 1
    dataset: dict[str, Any] = {
        "channel_names": {str(c): rng.choice(names) for c in range(channels)},
        "labels": labels,
        "numTraining": cases,
        "file_ending": rng.choice([".png", ".tif"] if kind == "2d" else [".nii.gz", ".nrrd"]),
    }
    if any(isinstance(value, list) for value in labels.values()):
        dataset["regions_class_order"] = list(range(1, foreground + 1))
    if rng.random() < 0.1:
        dataset["overwrite_image_reader_writer"] = rng.choice(["SimpleITKIO", "NibabelIO"])
    intensities = {
        "max": 3000.5, "mean": 100.25, "median": 90.0, "min": -1024.0,
        "percentile_00_5": -900.0, "percentile_99_5": 1500.0, "std": 333.3,
    }  # fmt: skip
    preset = rng.choice(presets()[:5])
    target = rng.choice([preset.gpu_memory_gb, preset.gpu_memory_gb, 4, 11, 24, 33.5, 80, 141])
    return {
        "fingerprint": {
            "foreground_intensity_properties_per_channel": {
                str(c): intensities for c in range(channels)
            },
            "median_relative_size_after_cropping": rng.choice([0.2, 0.74, 0.75, 0.76, 1.0]),
            "shapes_after_crop": shapes,
            "spacings": spacings,
        },
        "dataset": dataset,
        "planner": _planner(preset, seed),
        "plans_name": "Plans",
        "gpu_memory_gb": target,
        "spacing": (
            [round(rng.uniform(0.5, 3), 3) for _ in range(3)]
            if kind != "2d" and rng.random() < 0.2
            else None
        ),
        "transpose": rng.random() < 0.8,
        "unpatched": seed < UNPATCHED,
    }


def _planner(preset: Preset, seed: int) -> str:
    """The preset's planner, or one that differs from it in resampling only, in turn."""
    alike = [known for known in presets()[:9] if known.key.startswith(f"{preset.key}-")]
    planners = [known.planner for known in (preset, *alike)]
    return planners[seed % len(planners)]
