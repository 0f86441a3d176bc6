"""Write the plans that the real nnU-Net makes of 25 random datasets with its rarer planners.

`python -m tests.interop.record_plans` makes `tests/planning/rare_planners.jsonl.gz` anew; it needs
the peer's environment. Each line holds a fingerprint, a dataset.json and the plans by name.
"""

import gzip
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from resenc_plans.planning.presets import presets
from tests.conftest import ROOT, peer_interpreter
from tests.planning.random_cases import random_case

RECORDED = ROOT / "tests" / "planning" / "rare_planners.jsonl.gz"
CASES = 25
MAX_IMAGES = 5
"""Images of a recorded fingerprint, so that the file stays small."""


def rare_presets() -> tuple[Any, ...]:
    """The presets of nnU-Net that do not resample by splines."""
    return tuple(preset for preset in presets()[:9] if preset.resampling != "spline")


def with_rare_planners(case: dict[str, Any]) -> list[dict[str, Any]]:
    """A dataset to be planned by each of these planners with its own memory target and name."""
    return [
        case
        | {
            "planner": preset.planner,
            "plans_name": preset.plans_name,
            "gpu_memory_gb": preset.gpu_memory_gb,
            "spacing": None,
            "transpose": True,
            "unpatched": False,
        }
        for preset in rare_presets()
    ]


def small_cases() -> list[dict[str, Any]]:
    """The first random datasets of few images whose images a network takes."""
    cases = (random_case(seed) for seed in range(1000, 2000))
    few = (case for case in cases if len(case["fingerprint"]["spacings"]) <= MAX_IMAGES)
    return [case for case, _ in zip(few, range(CASES + 5), strict=False)]


def main() -> None:
    cases = small_cases()
    questions = [question for case in cases for question in with_rare_planners(case)]
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "cases.jsonl"), Path(folder, "answers.jsonl")
        asked.write_text("\n".join(map(json.dumps, questions)))
        script = Path(__file__).with_name("plan_with_nnunet.py")
        subprocess.run([peer_interpreter(), script, asked, answered], check=True)
        answers = [json.loads(line) for line in answered.read_text().splitlines()]
    number = len(rare_presets())
    lines = []
    for index, case in enumerate(cases):
        plans = answers[index * number : (index + 1) * number]
        if all("plans" in answer for answer in plans):
            planned = {answer["plans"]["plans_name"]: answer["plans"] for answer in plans}
            known = {key: case[key] for key in ("fingerprint", "dataset")}
            lines.append(json.dumps(known | {"plans": planned}, separators=(",", ":")))
    assert len(lines) >= CASES
    text = "".join(f"{line}\n" for line in lines[:CASES])
    RECORDED.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
