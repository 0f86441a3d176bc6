"""The command train, before anything is trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done


def test_results_beside_the_plans_are_announced(
    run: Callable[..., Done], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("create", "--preset", "M").code == 0
    done = run("train", ".", "3d_fullres", "0", "--dry-run")
    assert "nnUNet_results is not set" in done.err
    assert "beside the plans, to nnUNet_results" in done.err
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    assert "nnUNet_results is not set" not in run("train", ".", "3d_fullres", "0", "--dry-run").err
