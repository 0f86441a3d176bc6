"""The JSON files that are read: valid examples of each, and what reads them."""

from functools import partial
from pathlib import Path
from random import Random

from resenc_plans.cost.estimate import estimate_cost
from resenc_plans.datasets.conversion import convert_old_dataset
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.datasets.splits import load_splits
from resenc_plans.evaluation.postprocessing.postprocess import Postprocessing
from resenc_plans.evaluation.summary import Summary
from resenc_plans.execution.locks import Holder
from resenc_plans.planning.planner import create_plans
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.plans.unet import UNet
from resenc_plans.preprocessing.store.check import check_store
from resenc_plans.preprocessing.store.manifest import Manifest
from resenc_plans.profiling.local_calibration import calibrate, load_measurements
from resenc_plans.runs.comparability import compare_runs
from resenc_plans.runs.folds import FoldCases, fold_cases
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_cost import load_cost
from resenc_plans.runs.run_record import RunRecord, differences
from resenc_plans.study.unattended.study import Study
from resenc_plans.workflows.check_file import check_file
from tests.cli.scenes import CASES, DATA, MODEL, PLANS
from tests.faults.damage import damage_lines
from tests.faults.examples import NNUNETS, OURS, STORE
from tests.faults.kinds import Calls, Kind

_DATASETS = (f"{DATA}/dataset.json", "regions/dataset.json")
_FOLD = f"{OURS}/fold_0"

RARELY = 0.2
"""How often a call is made that takes long."""


def _plans(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: check_file(path)
    plan = Plans.load(path)
    yield lambda: repr(plan)
    yield lambda: plan.diff(Plans.load(root / "family.json"))
    for name in random.sample(list(plan.configurations), min(2, len(plan.configurations))):
        yield partial(_configuration, plan, name)
    if random.random() < RARELY:
        change = random.choice(
            ({"batch_size": 4}, {"spacing": [1, 1, 1]}, {"patch_size": [32] * 3})
        )
        yield lambda: plan.derive(**change)
    yield lambda: plan.upgrade()


def _configuration(plan: Plans, name: str) -> None:
    config = plan.resolve(name)
    repr(config)
    UNet.of(config).shapes(config.patch_size)
    repr(estimate_cost(config, len(config.normalization_schemes), 3))


def _dataset(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: check_file(path)
    yield lambda: _open_dataset(path.parent)
    dataset = DatasetJson.load(path)
    yield lambda: repr(dataset)
    if random.random() < RARELY:
        yield lambda: create_plans(_fingerprint_of(root), dataset, "M")


def _open_dataset(folder: Path) -> None:
    dataset = Dataset.load(str(folder))
    repr(dataset)
    dataset.labels.num_heads  # noqa: B018
    dataset.cases  # noqa: B018
    dataset.reader_name  # noqa: B018


def _fingerprint_of(root: Path) -> Fingerprint:
    return Fingerprint.load(root / DATA / "dataset_fingerprint.json")


def _fingerprint(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: check_file(path)
    fingerprint = Fingerprint.load(path)
    yield lambda: (repr(fingerprint), fingerprint.digest())
    if random.random() < RARELY:
        preset = random.choice(("M", "XL", "default"))
        yield lambda: create_plans(fingerprint, DatasetJson.load(root / _DATASETS[0]), preset)


def _splits(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: check_file(path)
    yield lambda: load_splits(path)
    yield lambda: fold_cases(path.parent, CASES, random.randrange(3), write=False)


def _settings(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: check_file(path)
    settings = TrainingSettings.load(path)
    yield lambda: (repr(settings), settings.over(TrainingSettings()))


def _summary(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: check_file(path)
    summary = Summary.load(path)
    yield lambda: (repr(summary), summary.mean, summary.foreground_mean, summary.to_dict())


def _run(root: Path, path: Path, random: Random) -> Calls:
    """Whatever a fold's folder holds is read when models are compared."""
    ours, nnunets = ModelFolder(root / OURS), ModelFolder(root / NNUNETS)
    yield lambda: repr(compare_runs(ours, ours))
    yield lambda: str(compare_runs(ours, nnunets))
    record = RunRecord.load(path.parent)
    if record is not None:
        yield lambda: differences(record, record)
    yield lambda: FoldCases.load(path.parent)


def _cost(root: Path, path: Path, random: Random) -> Calls:
    cost = load_cost(path)
    yield lambda: (cost.hours, cost.gpu_hours, cost.energy_kwh, cost.peak("host"))


def _metrics(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: ModelFolder(root / OURS).run(0).keep_records(1)


def _postprocessing(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: repr(Postprocessing.load(path))


def _measurements(root: Path, path: Path, random: Random) -> Calls:
    measured = load_measurements(path)
    if measured:
        yield lambda: calibrate(measured)


def _manifest(root: Path, path: Path, random: Random) -> Calls:
    entries = Manifest(root / STORE).read()
    yield lambda: [entry.is_fresh(root / STORE, "recipe", ()) for entry in entries.values()]
    yield lambda: check_store(root / STORE)


def _study(root: Path, path: Path, random: Random) -> Calls:
    study = Study.load(path)
    yield lambda: repr(study)
    file = study.opened.file
    yield lambda: [file.settings_of(name, 1) for name in file.methods]
    yield lambda: repr(study.status())


def _task(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: convert_old_dataset(path.parent, "Dataset007_New", root / "out")


def _holder(root: Path, path: Path, random: Random) -> Calls:
    holder = Holder.read(path)
    if holder is not None:
        yield lambda: (holder.describe(holder), holder.is_gone(holder, 0.0))


JSON_KINDS: dict[str, Kind] = {
    "plans": Kind((PLANS, "family.json", "old.json", f"{MODEL}/plans.json"), _plans, weight=3),
    "dataset.json": Kind(_DATASETS, _dataset, weight=4),
    "fingerprint": Kind((f"{DATA}/dataset_fingerprint.json",), _fingerprint, weight=4),
    "splits": Kind((f"{DATA}/splits_final.json",), _splits),
    "settings": Kind(("settings.json", "more_settings.json"), _settings, weight=2),
    "summary": Kind(("segmented/summary.json",), _summary),
    "run folder": Kind(
        (
            *(f"{_FOLD}/{name}.json" for name in ("run", "cases", "validation/validation")),
            *(f"{OURS}/{name}.json" for name in ("dataset", "plans")),
            *(f"{_FOLD}/validation/summary.json", f"{NNUNETS}/fold_0/debug.json"),
        ),
        _run,
        weight=2,
    ),
    "cost.json": Kind((f"{_FOLD}/cost.json",), _cost),
    "metrics.jsonl": Kind((f"{_FOLD}/metrics.jsonl",), _metrics, damage=damage_lines, writes=True),
    "postprocessing.json": Kind(("postprocessing.json",), _postprocessing),
    "measurements": Kind(("measurements.json",), _measurements),
    "manifest": Kind((f"{STORE}/.resenc-plans/manifest.jsonl",), _manifest, damage=damage_lines),
    "lock": Kind(("lock",), _holder),
    "study.json": Kind(("study/study.json",), _study),
    "older task": Kind(("Task006_Old/dataset.json",), _task, writes=True),
}
"""By name."""
