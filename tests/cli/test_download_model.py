from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans.runs.archive import export_model
from tests.cli.conftest import Done
from tests.inference.models import write_model


def test_an_archive_is_installed_and_its_digest_told(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    model = write_model(tmp_path / "Dataset004_Small" / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    export_model([model], tmp_path / "model.zip")
    results = tmp_path / "results"
    results.mkdir()
    done = run("download-model", tmp_path / "model.zip", "--results", results)
    assert done.code == 0
    assert "Installed" in done.out
    assert "Its SHA-256 is" in done.err
    refused = run(
        "download-model", tmp_path / "model.zip", "--results", results, "--sha256", "0" * 64
    )
    assert refused.code == 2
    assert "not 0000" in refused.err


@pytest.mark.parametrize("command", ["download-model", "import-model"])
@pytest.mark.parametrize("size", ["inf", "nan", "0", "-1", "1e300"])
def test_a_size_that_is_none_is_refused(
    command: str, size: str, run: Callable[..., Done], tmp_path: Path
) -> None:
    done = run(command, "model.zip", "--results", tmp_path, "--max-size", size)
    assert done.code == 2
    assert "--max-size" in done.err
