"""Plans taken to another dataset: the JSON that the real nnU-Net writes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from resenc_plans import Dataset, Plans, write_phantom
from resenc_plans.files import to_json_text
from resenc_plans.planning.moving import move_plans

MOVE = """
import json, os, sys
root = sys.argv[1]
for name in ("raw", "preprocessed", "results"):
    os.environ[f"nnUNet_{name}"] = f"{root}/{name}"
from nnunetv2.experiment_planning.plans_for_pretraining import move_plans_between_datasets as moving
for plans, name in json.loads(sys.argv[2]):
    moving.move_plans_between_datasets(4, 900, plans, name)
"""


def test_the_same_json_as_nnunets(peer: Callable[..., str], shared: Path, tmp_path: Path) -> None:
    source = tmp_path / "preprocessed" / "Dataset004_Hippocampus"
    source.mkdir(parents=True)
    target = write_phantom(tmp_path / "raw" / "Dataset900_Phantom", cases=1)
    theirs = tmp_path / "preprocessed" / "Dataset900_Phantom"
    theirs.mkdir()
    oracle = shared / "oracle" / "Dataset004_Hippocampus"
    names = ["nnUNetPlans", "nnUNetResEncUNetLPlans", "nnUNetResEncUNetMPlans_edited"]
    for name in names:
        shutil.copy(oracle / f"{name}.json", source)
    moves: list[tuple[str, str | None]] = [
        (name, new) for name in names for new in (None, f"Moved_{name}")
    ]

    peer(MOVE, tmp_path, json.dumps(moves))

    for name, new in moves:
        plans = Plans.load(source / f"{name}.json")
        ours = move_plans(plans, Dataset.load(target), new)
        assert to_json_text(ours.plans.to_dict()) == (theirs / f"{new or name}.json").read_text()
