"""The commands export-model and import-model."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done

Run = Callable[..., Done]


def test_models_are_exported_and_installed(run: Run, shared: Path, tmp_path: Path) -> None:
    model = tmp_path / "results" / "Dataset004_Hippocampus" / "nnUNetTrainer__P__3d_fullres"
    shutil.copytree(shared / "oracle" / "model", model)
    (tmp_path / "new").mkdir()
    archive = tmp_path / "model.zip"
    options = ("-d", "4", "--results", tmp_path / "results", "-o", archive)
    assert run("export-model", *options).code == 0
    done = run("export-model", *options)
    assert done.code == 2
    assert "--overwrite" in done.err
    done = run("import-model", archive, "--results", tmp_path / "new")
    assert done.code == 0
    assert (tmp_path / "new" / model.relative_to(tmp_path / "results")).is_dir()
    done = run("import-model", archive, "--results", tmp_path / "new")
    assert done.code == 2
    assert "already exists" in done.err
    done = run("export-model", "-d", "7", "--results", tmp_path / "results", "-o", archive)
    assert done.code == 2
    assert "There is: Dataset004_Hippocampus" in done.err
