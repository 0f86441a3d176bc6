"""Random datasets, planned by the real nnU-Net 2.8.1 and by us: the plans are the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resenc_plans.errors import PlanningError
from resenc_plans.files import to_json_text
from resenc_plans.planning.planner import plan_dataset
from resenc_plans.planning.settings import PlanningSettings
from tests.interop.record_plans import with_rare_planners
from tests.planning.random_cases import random_case

CASES = 320


def our_plans(case: dict[str, Any], name: str) -> str | None:
    try:
        result = plan_dataset(
            case["fingerprint"],
            case["dataset"],
            PlanningSettings(
                preset=case["planner"],
                gpu_memory_gb=case["gpu_memory_gb"],
                name=case["plans_name"],
                spacing=case["spacing"],
                transpose=case["transpose"],
            ),
            dataset_name=name,
        )
    except PlanningError:
        return None
    return to_json_text(result.plans.to_dict())


def test_random_datasets_are_planned_as_nnunet_plans_them(
    peer: Callable[..., str], tmp_path: Path
) -> None:
    cases = [random_case(seed) for seed in range(CASES)]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    peer(
        Path(__file__).with_name("plan_with_nnunet.py"),
        tmp_path / "cases.jsonl",
        tmp_path / "answers.jsonl",
    )
    answers = [json.loads(x) for x in (tmp_path / "answers.jsonl").read_text().splitlines()]
    different = []
    planned = 0
    for index, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        ours = our_plans(case, f"Dataset{index + 1:03d}_Random")
        if "error" in answer:
            assert ours is None, (index, answer["error"])
            continue
        planned += 1
        if ours != to_json_text(answer["plans"]):
            different.append(index)
    assert different == []
    assert planned >= 300


def test_every_shared_fingerprint_is_planned_as_nnunets_rarer_planners_do(
    peer: Callable[..., str], shared: Path, tmp_path: Path
) -> None:
    cases = [case for known in shared_cases(shared) for case in with_rare_planners(known)]
    assert len(cases) >= 4 * 24
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    peer(
        Path(__file__).with_name("plan_with_nnunet.py"),
        tmp_path / "cases.jsonl",
        tmp_path / "answers.jsonl",
    )
    for case, line in zip(
        cases, (tmp_path / "answers.jsonl").read_text().splitlines(), strict=True
    ):
        answer = json.loads(line)
        assert "plans" in answer, answer
        ours = our_plans(case, answer["plans"]["dataset_name"])
        assert ours == to_json_text(answer["plans"])


def shared_cases(shared: Path) -> list[dict[str, Any]]:
    """The fingerprints of the shared oracle and corpus, each once, with their dataset.json."""
    oracle = shared / "oracle"
    files = {
        (path, path.with_name(path.name.replace("fingerprint", "dataset")))
        for path in (oracle / "planning").glob("*__fingerprint.json")
    } | {
        (path, path.with_name("dataset.json"))
        for path in oracle.glob("Dataset*/dataset_fingerprint.json")
    }
    for line in (oracle / "planning_corpus.jsonl").read_text().splitlines():
        case = json.loads(line)
        files.add((shared / "corpus" / case["source"], shared / "corpus" / case["dataset"]))
    return [
        {
            "fingerprint": json.loads(fingerprint.read_text(encoding="utf-8-sig")),
            "dataset": json.loads(dataset.read_text(encoding="utf-8-sig")),
        }
        for fingerprint, dataset in sorted(files)
    ]
