import json
from collections.abc import Callable

from tests.cli.conftest import Done


def test_the_preset_nearest_to_a_budget_is_named_with_the_reason(run: Callable[..., Done]) -> None:
    done = run("presets", "--vram", "23", "--hours", "34")
    assert "nnU-Net ResEnc L (preset L): it takes 0.99 times the GPU memory" in done.out
    done = run("presets", "--vram", "0")
    assert done.code == 2


def test_all_presets_and_the_nineteen_published_systems_are_listed(
    run: Callable[..., Done],
) -> None:
    listed = json.loads(run("presets", "--format", "json").out)
    assert len(listed["published"]) == 19
    assert len(listed["presets"]) >= 9
    table = run("presets").out
    for preset in listed["presets"]:
        assert preset["key"] in table
        assert preset["planner"] in table
