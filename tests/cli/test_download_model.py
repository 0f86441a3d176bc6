from collections.abc import Callable
from pathlib import Path

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
