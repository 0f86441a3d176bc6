"""A study of two tiny networks on a made-up dataset, and how it is run in this process."""

import json
from pathlib import Path
from typing import Any

from resenc_plans.datasets.demo import write_phantom
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.study.unattended.jobs import JobOptions, do_job
from resenc_plans.study.unattended.opened import OpenedStudy

NAME = "Dataset900_Phantom"
SHORT = {
    "epochs": 1, "iterations": 1, "validation_iterations": 1, "workers": 0, "precision": "fp32",
}  # fmt: skip


def changes(*, residual: bool, features: int = 4) -> dict[str, Any]:
    """What makes a preset's network tiny."""
    blocks = {"n_blocks_per_stage" if residual else "n_conv_per_stage": [1, 1]}
    return {
        "patch_size": [16, 40, 40],
        "batch_size": 2,
        "keep_topology": True,
        "architecture": {
            "arch_kwargs": {
                "n_stages": 2,
                "features_per_stage": [features, 2 * features],
                "n_conv_per_stage_decoder": [1],
                "strides": [[1, 1, 1], [2, 2, 2]],
                "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
                **blocks,
            }
        },
    }


def study_document(dataset: str = f"../{NAME}", **parts: Any) -> dict[str, Any]:
    """The study: one fold, one seed, one step."""
    return {
        "datasets": [dataset],
        "methods": {
            "resenc-m": {"preset": "M", "changes": changes(residual=True)},
            "original": {"preset": "default", "changes": changes(residual=False)},
        },
        "folds": [0],
        "seeds": [0],
        "training": SHORT,
        "bootstrap": {"draws": 200},
        **parts,
    }


def write_study(folder: Path, cases: int = 5, **parts: Any) -> Path:
    """A dataset in a folder, and the study beside it; its file."""
    if not (folder / NAME).exists():
        write_phantom(folder / NAME, cases=cases)
    path = folder / "study" / "study.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(study_document(**parts)))
    return path


def do_all(path: Path) -> list[ExitCode]:
    """Do every job of a study on the CPU; the exit codes."""
    opened = OpenedStudy.open(path)
    options = JobOptions(device="cpu")
    return [do_job(opened, job, options) for job in opened.graph.jobs]
