"""Cases that are not preprocessed stop a training unless they may be missing."""

import json
import logging
import sys
from pathlib import Path

import pytest

from resenc_plans.cli.app import main
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.splits import load_splits, make_splits
from resenc_plans.errors import PreprocessingError, TrainingError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.folds import FoldCases
from resenc_plans.training.trainer import Trainer
from resenc_plans.workflows.train_fold import train_fold

pytestmark = pytest.mark.slow

SHORT = TrainingSettings(
    epochs=1, iterations=1, validation_iterations=1, workers=0, precision="fp32"
)
NAMES = tuple(f"phantom_{number:03}" for number in range(6))
MISSING = "phantom_003"


@pytest.fixture
def incomplete(config: ResolvedConfiguration, dataset: Dataset, preprocessed: Path) -> Path:
    """Of six cases with references, one is not stored, as if it had failed in preprocessing."""
    references = preprocessed / "gt_segmentations"
    references.mkdir()
    for name in NAMES:
        (references / f"{name}{dataset.json.file_ending}").touch()
    for suffix in (".b2nd", "_seg.b2nd", ".pkl"):
        (preprocessed / config.data_identifier / f"{MISSING}{suffix}").unlink()
    return preprocessed


def test_a_missing_case_is_named_and_stops_the_training(
    incomplete: Path, config: ResolvedConfiguration, dataset: Dataset
) -> None:
    with pytest.raises(PreprocessingError, match=rf"1 of 6 cases .*: {MISSING}\."):
        Trainer(config, dataset, 0, SHORT)
    assert not (incomplete / "splits_final.json").exists()


def test_a_case_that_may_be_missing_is_left_out_logged_and_recorded(
    incomplete: Path,
    config: ResolvedConfiguration,
    dataset: Dataset,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "resenc_plans"):
        trained = train_fold(
            *(config, dataset, 0),
            settings=SHORT,
            allow_missing_cases=True,
            validation=False,
        )
    assert f"1 of 6 cases are not preprocessed: {MISSING}. They take no part." in caplog.text
    splits = load_splits(incomplete / "splits_final.json")
    assert splits == make_splits(NAMES)
    cases = FoldCases.load(trained.folder.path)
    assert cases is not None
    assert cases.missing == (MISSING,)
    assert sorted((*cases.all, MISSING)) == sorted((*splits[0].train, *splits[0].val))


def test_folds_with_and_without_a_case_are_not_mixed_unasked(
    incomplete: Path, config: ResolvedConfiguration, dataset: Dataset
) -> None:
    Trainer(config, dataset, 0, SHORT, allow_missing_cases=True).fit()
    store = incomplete / config.data_identifier
    for suffix in (".b2nd", "_seg.b2nd", ".pkl"):
        (store / f"{MISSING}{suffix}").write_bytes((store / f"{NAMES[0]}{suffix}").read_bytes())
    with pytest.raises(TrainingError, match=f"missing in one of the folds: {MISSING}"):
        Trainer(config, dataset, 1, SHORT)
    Trainer(config, dataset, 1, SHORT, allow_differences=True)


def test_a_dry_run_says_the_same(
    incomplete: Path,
    config: ResolvedConfiguration,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(incomplete)
    command = ["resenc-plans", "train", ".", "tiny", "0", "--dry-run", "-p"]
    command.append(f"{config.plans.name}.json")
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"1 of 6 cases are not preprocessed: {MISSING}." in error
    assert "without them (--allow-missing-cases)" in error
    monkeypatch.setattr(sys, "argv", [*command, "--allow-missing-cases"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    printed = capsys.readouterr()
    assert f"{MISSING}. They take no part." in " ".join(printed.err.split())
    held_out = len(make_splits(NAMES)[0].val) - (MISSING in make_splits(NAMES)[0].val)
    assert f"{held_out} held out" in printed.out
    assert not (incomplete / "splits_final.json").exists()
    assert json.loads((incomplete / "dataset.json").read_text())["numTraining"] == 6
