import json
from pathlib import Path

import pytest

from resenc_plans import create_plans
from resenc_plans.errors import PlanningError
from resenc_plans.planning.replanning import merge, save_plans
from tests.planning.requests import DATASET, fingerprint


def test_planning_again_with_nothing_changed_is_harmless() -> None:
    plan = create_plans(fingerprint(), DATASET)
    again = merge(plan, create_plans(fingerprint(), DATASET), Path("plans.json"))
    assert again.harmless
    assert again.plans == plan


def test_a_kept_configuration_shows_what_it_would_inherit() -> None:
    old = create_plans(fingerprint(), DATASET, preset="M")
    old.derive("bs8", from_="3d_fullres", batch_size=8)
    new = create_plans(fingerprint(), DATASET, preset="M", spacing=(4, 2, 2))
    again = merge(old, new, Path("plans.json"))
    assert again.retained == ("bs8",)
    assert "spacing" in {change.key for change in again.inherited}
    assert {change.configuration for change in again.inherited} == {"bs8"}
    assert json.dumps(again.plans.to_dict()["configurations"]["bs8"]) == (
        '{"inherits_from": "3d_fullres", "batch_size": 8}'
    )


def test_saving_over_other_plans_keeps_them_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "plans.json"
    first = create_plans(fingerprint(), DATASET, preset="M")
    assert save_plans(first, path).retained == ()
    save_plans(create_plans(fingerprint(), DATASET, preset="M"), path)
    before = path.read_bytes()
    with pytest.raises(PlanningError, match=r"Nothing was written\. `overwrite=`"):
        save_plans(create_plans(fingerprint(), DATASET, preset="L"), path)
    assert path.read_bytes() == before
    assert save_plans(create_plans(fingerprint(), DATASET, preset="L"), path, overwrite=True).lost
    assert path.read_bytes() != before
