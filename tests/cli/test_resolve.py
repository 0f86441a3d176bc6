import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done


def test_resolve_prints_json_for_pipes(run: Callable[..., Done], here: Path) -> None:
    run("derive", "--batch-size", "16")
    resolved = json.loads(run("resolve", "3d_fullres_bs16").out)
    assert resolved["batch_size"] == 16
    assert resolved["patch_size"] == [32, 64, 64]
