import json
from collections.abc import Callable

from tests.cli.conftest import Done


def test_the_preset_nearest_to_a_budget_is_named_with_the_reason(run: Callable[..., Done]) -> None:
    done = run("presets", "--vram", "23", "--hours", "34")
    assert "nnU-Net ResEnc L (preset L): it takes 0.99 times the GPU memory" in done.out
    done = run("presets", "--vram", "0")
    assert done.code == 2


def test_the_published_table_has_all_nineteen_systems(run: Callable[..., Done]) -> None:
    done = run("presets", "--format", "json")
    assert len(json.loads(done.out)) == 19
