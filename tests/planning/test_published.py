import pytest

from resenc_plans.errors import PlanningError
from resenc_plans.planning.published import match_budget, published_results


def test_published_results_are_complete() -> None:
    results = published_results()
    assert len(results) == 19
    assert [r.system for r in results if r.preset == "L"] == ["nnU-Net ResEnc L"]
    assert all(len(r.dice) == 6 and r.vram_gb > 0 and r.hours > 0 for r in results)


@pytest.mark.parametrize(
    ("vram", "hours", "preset"),
    [(8, 10, "default"), (9, 13, "M"), (23, None, "L"), (None, 60, "XL"), (36, 66, "XL")],
)
def test_the_nearest_preset_is_found(vram: int | None, hours: int | None, preset: str) -> None:
    assert match_budget(vram, hours)[0].result.preset == preset


def test_a_budget_is_needed() -> None:
    with pytest.raises(PlanningError, match="`vram_gb=`"):
        match_budget(None, None)
