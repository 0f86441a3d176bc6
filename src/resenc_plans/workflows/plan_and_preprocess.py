"""`plan_and_preprocess`: from a raw dataset to stored cases that `train_fold` takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from resenc_plans.datasets.dataset import Dataset, expect_dataset
from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.files import inside, make_folder, part_of_path
from resenc_plans.folders import FINGERPRINT_JSON, PREPROCESSED, environment_folder
from resenc_plans.planning.planner import plan_dataset
from resenc_plans.planning.replanning import copy_dataset_json, save_plans
from resenc_plans.planning.settings import PlanningSettings
from resenc_plans.plans.plans import Plans
from resenc_plans.preprocessing.ground_truth import copy_ground_truth
from resenc_plans.preprocessing.preprocessor import (
    PreprocessingProgress,
    PreprocessingReport,
    Preprocessor,
    with_own_data,
)
from resenc_plans.preprocessing.store.folder import store_folder
from resenc_plans.reprs import card


@dataclass(frozen=True)
class PreparedDataset:
    """Plans, loaded from their file, and a report for each folder of stored cases, by its name."""

    plans: Plans
    reports: Mapping[str, PreprocessingReport]
    findings: tuple[Finding, ...] = ()
    """What is wrong with the raw data, as `verify_dataset` says, where they were read to plan."""

    def __repr__(self) -> str:
        counts = {
            name: f"{len(report.stored)} stored, {len(report.unchanged)} unchanged, "
            f"{len(report.problems)} failed"
            for name, report in self.reports.items()
        }
        return card(
            f"PreparedDataset by {self.plans.name}",
            {"plans": self.plans.path, "findings": len(self.findings), **counts},
        )


def plan_and_preprocess(
    dataset: Dataset,
    settings: PlanningSettings | None = None,
    *,
    configurations: Sequence[str] = (),
    preprocessed: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[str, PreprocessingProgress], None] | None = None,
) -> PreparedDataset:
    """Extract the fingerprint where there is none, plan, and preprocess every case.

    Parameters
    ----------
    dataset
        The raw data.
    settings
        How to plan; nnU-Net's recommended preset by default.
    configurations
        Those to preprocess; by default all that have data of their own.
    preprocessed
        The folder of plans and stored cases; by default nnUNet_preprocessed/<dataset>, or the
        dataset's own folder where that variable is not set.
    workers
        Processes that work on cases; by default as many as CPUs and the free memory allow.
    overwrite
        Whether other plans of the same name may be replaced. Configurations that only they have
        are kept.
    on_progress
        Called with the name of the configuration after each case.

    Raises
    ------
    PlanningError
        The request is impossible, or values of existing plans would be lost.
    ResencPlansError
        As `Fingerprint.extract` and `Preprocessor.run`.
    """
    expect_dataset(dataset)
    folder = preprocessed or _default_folder(dataset)
    make_folder(folder)
    path = folder / FINGERPRINT_JSON
    findings: list[Finding] = []
    if path.is_file():
        fingerprint = Fingerprint.load(path)
    else:
        fingerprint = Fingerprint.extract(dataset, on_finding=findings.append)
        fingerprint.save(path)
    planned = plan_dataset(fingerprint, dataset, settings or PlanningSettings(), provenance=True)
    plans_path = folder / part_of_path(planned.plans.name, "plans_name", ending=".json")
    inside(folder, plans_path)
    save_plans(planned.plans, plans_path, overwrite=overwrite)
    copy_dataset_json(dataset.folder, folder)
    plans = Plans.load(plans_path)
    stores = {
        config: inside(folder, store_folder(folder, config))
        for config in with_own_data(plans, configurations)
    }
    reports = {
        config.data_identifier: Preprocessor(config).run(
            dataset,
            store,
            workers=workers,
            on_progress=None if on_progress is None else partial(on_progress, config.name),
        )
        for config, store in stores.items()
    }
    copy_ground_truth(dataset, folder)
    return PreparedDataset(plans, reports, tuple(findings))


def _default_folder(dataset: Dataset) -> Path:
    root = environment_folder(PREPROCESSED)
    return dataset.folder if root is None else root / part_of_path(dataset.name, "dataset")
