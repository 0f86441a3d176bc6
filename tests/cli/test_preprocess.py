import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK

from tests.cli.conftest import Done


@pytest.fixture
def raw(
    run: Callable[..., Done], phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    folder = tmp_path / phantom.name
    shutil.copytree(phantom, folder)
    monkeypatch.chdir(folder)
    assert run("create", "--preset", "M", "--name", "Small").code == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "several", [("-c", "2d", "3d_fullres"), ("-c", "2d", "-c", "3d_fullres")], ids=("list", "twice")
)
def test_configurations_are_given_as_to_nnunet_or_one_by_one(
    run: Callable[..., Done], raw: Path, several: tuple[str, ...]
) -> None:
    done = run("preprocess", *several, "--workers", "1")
    assert done.code == 0, done.err
    assert {path.name for path in raw.glob("nnUNetPlans_*")} == {
        "nnUNetPlans_2d",
        "nnUNetPlans_3d_fullres",
    }


def test_a_configuration_that_is_not_there_is_named(run: Callable[..., Done], raw: Path) -> None:
    done = run("preprocess", "-c", "2d", "3d_fulres")
    assert done.code == 2
    assert "3d_fulres" in done.err
    assert not list(raw.glob("nnUNetPlans_*"))


def test_segmentations_of_another_spacing_are_told_once(
    run: Callable[..., Done], raw: Path
) -> None:
    files = sorted((raw / "labelsTr").iterdir())
    for path in files:
        image = SimpleITK.ReadImage(str(path))
        image.SetSpacing([2 * side for side in image.GetSpacing()])
        SimpleITK.WriteImage(image, str(path))
    done = run("preprocess", "-c", "3d_fullres", "--workers", "1")
    assert done.code == 0, done.err
    assert done.err.count("[spacing-mismatch]") == 1
    assert f"{len(files)} of {len(files)} cases" in done.err


def test_what_the_checks_find_is_told_once(run: Callable[..., Done], raw: Path) -> None:
    document = json.loads((raw / "Small.json").read_text())
    document["configurations"]["3d_fullres"]["spacings"] = [1, 1, 1]
    (raw / "Small.json").write_text(json.dumps(document | {"plans_nam": "x"}))
    done = run("preprocess", "--workers", "1")
    assert done.code == 0, done.err
    error = " ".join(done.err.split())
    assert error.count("Small.json: 3d_fullres: spacings is unknown, so it has no effect.") == 1
    assert error.count("Small.json: plans_nam is unknown. Did you mean plans_name? [P101]") == 1
