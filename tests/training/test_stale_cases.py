"""Cases that were preprocessed by other plans are found before the first batch."""

import sys
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.cli.app import main
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import PreprocessingError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.preprocessing.store.manifest import Manifest, ManifestEntry, recipe_digest
from resenc_plans.training.trainer import Trainer


@pytest.fixture
def recorded(config: ResolvedConfiguration, dataset: Dataset, preprocessed: Path) -> Path:
    """The store, with a manifest as `preprocess` leaves it."""
    store = preprocessed / config.data_identifier
    recipe = recipe_digest(config, dataset.json, "threshold")
    Manifest(store).write(
        ManifestEntry(f"phantom_{number:03}", recipe, (), (), ()) for number in range(6)
    )
    return preprocessed


def changed(config: ResolvedConfiguration, **changes: Any) -> ResolvedConfiguration:
    document = config.plans.to_dict()
    document["configurations"]["tiny"] |= changes
    return Plans.from_dict(document, path=config.plans.path).resolve("tiny")


def test_a_case_of_another_spacing_is_stale(
    recorded: Path, config: ResolvedConfiguration, dataset: Dataset
) -> None:
    settings = TrainingSettings(workers=0)
    Trainer(config, dataset, 0, settings)
    Trainer(changed(config, patch_size=[8, 16, 32]), dataset, 0, settings)
    with pytest.raises(PreprocessingError, match=r"6 of 6 cases .*phantom_.*Preprocess tiny again"):
        Trainer(changed(config, spacing=[9.0, 1.0, 1.0]), dataset, 0, settings)


def test_a_case_that_another_reader_read_is_stale(
    recorded: Path, config: ResolvedConfiguration, dataset: Dataset
) -> None:
    document = config.plans.to_dict() | {"image_reader_writer": "NibabelIOWithReorient"}
    other = Plans.from_dict(document, path=config.plans.path).resolve("tiny")
    with pytest.raises(PreprocessingError, match=r"6 of 6 cases .* before the reader, "):
        Trainer(other, dataset, 0, TrainingSettings(workers=0))


def test_a_dry_run_finds_it_too_and_writes_nothing(
    recorded: Path,
    config: ResolvedConfiguration,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(recorded)
    command = ["resenc-plans", "train", ".", "tiny", "0", "-p", f"{config.plans.name}.json"]
    monkeypatch.setattr(sys, "argv", [*command, "--dry-run"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert "4 cases to train on, 2 held out" in capsys.readouterr().out
    assert not (recorded / "splits_final.json").exists()
    changed_plans = changed(config, spacing=[9.0, 1.0, 1.0]).plans
    Plans.from_dict(changed_plans.to_dict()).save(recorded / f"{config.plans.name}.json")
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "Preprocess tiny again" in capsys.readouterr().err.replace("\n", " ")
