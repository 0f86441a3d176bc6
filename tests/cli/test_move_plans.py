import json
from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans import Dataset, Fingerprint, create_plans
from resenc_plans.datasets.demo import write_phantom
from tests.cli.conftest import Done, document
from tests.planning.requests import fingerprint


@pytest.fixture
def datasets(tmp_path: Path) -> tuple[Path, Path]:
    """A dataset with plans, and one without."""
    source = write_phantom(tmp_path / "Dataset901_Source", cases=1)
    described = Fingerprint.from_dict(fingerprint(channels=2))
    create_plans(described, Dataset.load(source), preset="M").save(
        source / "nnUNetResEncUNetMPlans.json"
    )
    return source, write_phantom(tmp_path / "Dataset902_Target", cases=1)


def test_plans_are_moved_and_what_to_preprocess_is_told(
    run: Callable[..., Done], datasets: tuple[Path, Path]
) -> None:
    source, target = datasets
    options = ("-s", source, "-t", target)
    done = run("move-plans", *options, "--dry-run")
    assert done.code == 0
    assert not list(target.glob("*Plans.json"))
    done = run("move-plans", *options, "-sp", "nnUNetResEncUNetMPlans", "-tp", "Moved")
    assert done.code == 0
    written = document(target / "Moved.json")
    assert (written["dataset_name"], written["plans_name"]) == ("Dataset902_Target", "Moved")
    assert "Moved_nnUNetPlans_3d_fullres" in done.out
    assert "resenc-plans preprocess -d" in done.out
    assert "no-fingerprint" in done.err


def test_a_dataset_of_other_channels_is_refused(
    run: Callable[..., Done], datasets: tuple[Path, Path]
) -> None:
    source, target = datasets
    path = target / "dataset.json"
    path.write_text(json.dumps(document(path) | {"channel_names": {"0": "CT"}}))
    done = run("move-plans", "-s", source, "-t", target)
    assert done.code == 2
    assert "The plans are for 2 channels, the dataset has 1" in done.err
    assert not list(target.glob("*Plans.json"))
