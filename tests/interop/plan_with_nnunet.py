"""Run by the peer's interpreter: plan every case of a JSON-lines file with the real nnU-Net.

Networks are built on torch's meta device, so that counting their feature maps takes milliseconds
instead of seconds; the counts stay the same (some cases of the test are planned without it).
"""

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

root = Path(tempfile.mkdtemp())
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = str(root / variable)
    (root / variable).mkdir()

import torch
from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
from nnunetv2.experiment_planning.experiment_planners.resampling import (
    planners_no_resampling,
    resample_with_torch,
)
from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
    residual_encoder_unet_planners,
)
from nnunetv2.imageio.reader_writer_registry import (
    determine_reader_writer_from_dataset_json,
)

default = default_experiment_planner.ExperimentPlanner
real_estimate = default.static_estimate_VRAM_usage


counts = {}
"""By the arguments: planners that differ in resampling ask the same."""


def estimate_on_meta(*arguments, **keywords):
    asked = repr((arguments, sorted(keywords.items())))
    if asked not in counts:
        with torch.device("meta"):
            counts[asked] = real_estimate(*arguments, **keywords)
    return counts[asked]


def plan(case: dict, index: int) -> dict:
    name = f"Dataset{index + 1:03d}_Random"
    raw, preprocessed = root / "nnUNet_raw" / name, root / "nnUNet_preprocessed" / name
    (raw / "imagesTr").mkdir(parents=True)
    preprocessed.mkdir()
    (raw / "dataset.json").write_text(json.dumps(case["dataset"]))
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(case["fingerprint"]))
    default.static_estimate_VRAM_usage = staticmethod(
        real_estimate if case["unpatched"] else estimate_on_meta
    )
    default.determine_reader_writer = lambda planner: determine_reader_writer_from_dataset_json(
        planner.dataset_json, None, allow_nonmatching_filename=True, verbose=False
    )
    planner_class = next(
        getattr(module, case["planner"])
        for module in (
            default_experiment_planner,
            residual_encoder_unet_planners,
            resample_with_torch,
            planners_no_resampling,
        )
        if hasattr(module, case["planner"])
    )
    planner = planner_class(
        name,
        gpu_memory_target_in_gb=case["gpu_memory_gb"],
        plans_name=case["plans_name"],
        overwrite_target_spacing=case["spacing"],
        suppress_transpose=not case["transpose"],
    )
    planner.plan_experiment()
    return json.loads((preprocessed / f"{case['plans_name']}.json").read_text())


with Path(sys.argv[1]).open() as cases, Path(sys.argv[2]).open("w") as answers:
    for index, line in enumerate(cases):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                answer = {"plans": plan(json.loads(line), index)}
        except Exception as error:  # whatever nnU-Net fails with is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
