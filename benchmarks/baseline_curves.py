"""Every published system that can be planned here, from create to evaluate, at a reduced size.

    python benchmarks/baseline_curves.py FOLDER [--figure docs/baselines.png] [NAME ...]

Dataset004_Hippocampus, on the CPU: plans of the baseline with a patch of 32x32x32, or the nearest
that its network takes, a quarter of its width and a batch of 2; preprocessing; 10 epochs of 10
iterations of fold 0; four of its held-out cases predicted without mirroring; their Dice. FOLDER
receives all of it, and a baseline whose results it holds is not repeated. Prints a row for each,
draws all curves, and ends with an error where a loss does not fall.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.evaluation.evaluate import evaluate
from resenc_plans.folders import FINAL_CHECKPOINT
from resenc_plans.inference.folder import predict_folder
from resenc_plans.inference.predictor import Predictor
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.planning.baselines.baseline import Baseline
from resenc_plans.planning.baselines.registry import baselines, find_baseline
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.known_networks import resolutions_of
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.preprocessing import Preprocessor
from resenc_plans.runs.checkpoint import load_checkpoint
from resenc_plans.runs.folds import stored_fold
from resenc_plans.runs.stored_cases import open_store
from resenc_plans.training.defaults import default_run_folder
from resenc_plans.training.history import Epoch, from_logging
from resenc_plans.visualization.training_curves import draw_curves
from resenc_plans.workflows.train_fold import train_fold
from side_by_side import SHARED

DATASET = "Dataset004_Hippocampus"
PATCH, CASES = (32, 32, 32), 4
SETTINGS = TrainingSettings(epochs=10, iterations=10, validation_iterations=5, workers=0)
SHARE = 4
"""Of the width of each network, a fourth."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_intermixed_args()
    folder = options.folder.resolve()
    chosen = [find_baseline(name) for name in options.names] or [
        baseline for baseline in baselines() if not baseline.missing
    ]
    dataset = prepare(folder)
    curves: dict[str, tuple[Epoch, ...]] = {}
    print("baseline                  patch      parameters  s/step  first loss  last loss   Dice")
    for baseline in chosen:
        config = plan(baseline, dataset, folder)
        epochs, seconds, parameters = train(config, dataset)
        dice = predict(config, dataset, folder / "predicted" / baseline.name)
        curves[baseline.name] = epochs
        first, last = epochs[0].training_loss, epochs[-1].training_loss
        patch = "x".join(map(str, config.patch_size))
        print(
            f"{baseline.name:24}  {patch:9}  {parameters / 1e6:8.2f} M  {seconds:6.2f}  "
            f"{first:10.3f}  {last:9.3f}  {dice:5.3f}",
            flush=True,
        )
    if options.figure:
        title = f"{DATASET}, patch 32x32x32 or the nearest, a quarter of the width, batch 2"
        draw_curves(curves, options.figure, title)
    rising = [
        n for n, epochs in curves.items() if epochs[-1].training_loss >= epochs[0].training_loss
    ]
    if rising:
        sys.exit(f"The loss does not fall: {', '.join(rising)}")


def falls(epochs: Sequence[Epoch]) -> bool:
    """Whether the training loss is lower at the end."""
    return epochs[-1].training_loss < epochs[0].training_loss


def prepare(folder: Path) -> Dataset:
    """The dataset, and where nnU-Net's folders are from now on."""
    for name in ("preprocessed", "results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    os.environ["nnUNet_raw"] = str(SHARED / "data")
    return Dataset.load(SHARED / "data" / DATASET)


def plan(baseline: Baseline, dataset: Dataset, folder: Path) -> ResolvedConfiguration:
    """The reduced plans, and the cases preprocessed for them."""
    target = folder / "preprocessed" / DATASET
    target.mkdir(exist_ok=True)
    stored = target / "dataset_fingerprint.json"
    fingerprint = Fingerprint.load(stored) if stored.exists() else Fingerprint.extract(dataset)
    fingerprint.save(stored)
    shutil.copy(dataset.folder / "dataset.json", target)
    document = baseline.create_plans(fingerprint, dataset).to_dict()
    values = document["configurations"]["3d_fullres"]
    arguments = values["architecture"]["arch_kwargs"]
    arguments.update(narrow(values["architecture"]["network_class_name"], arguments))
    values |= {"patch_size": list(PATCH), "batch_size": 2}
    path = target / f"{document['plans_name']}.json"
    plans = Plans.from_dict(document, path=path)
    values["patch_size"] = list(
        resolutions_of(plans.resolve("3d_fullres")).patch_rule.nearest(PATCH)
    )
    plans = Plans.from_dict(document, path=path)
    plans.save(path)
    config = plans.resolve("3d_fullres")
    Preprocessor(config, plans).run(dataset, target / config.data_identifier)
    return config


def narrow(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make a network a quarter as wide; nnFormer has none."""
    kind = name.rpartition(".")[2]
    if kind in ("PlainConvUNet", "ResidualEncoderUNet", "UMamba"):
        return {"features_per_stage": [f // SHARE for f in arguments["features_per_stage"]]}
    if kind == "STUNet":
        return {"width": {"S": 16, "B": 32, "L": 64}[arguments["variant"]] // SHARE}
    narrowed: dict[str, dict[str, Any]] = {
        "MedNeXt": {"width": 32 // SHARE},
        "SwinUNETR": {"feature_size": 48 // SHARE},
        "SegResNetDS": {"init_filters": 32 // SHARE},
        "DiNTS": {"channel_mul": 1 / SHARE},
    }
    return narrowed.get(kind, {})


def train(config: ResolvedConfiguration, dataset: Dataset) -> tuple[tuple[Epoch, ...], float, int]:
    """The curve, seconds per training step with validation, and the number of parameters."""
    run = default_run_folder(config, dataset, 0)
    final = run.checkpoint(FINAL_CHECKPOINT)
    if not final.exists():
        start = perf_counter()
        done = train_fold(
            config,
            dataset,
            0,
            settings=SETTINGS,
            device="cpu",
            validation=False,
            resume=run.resumable() is not None,
        )
        if not done.training.is_complete:
            sys.exit(f"{config.plans.name}: stopped. Run this again to continue.")
        steps = SETTINGS.epochs * SETTINGS.iterations
        (run.path / "seconds.json").write_text(json.dumps((perf_counter() - start) / steps))
    checkpoint = load_checkpoint(final)
    epochs = from_logging(checkpoint.logging, checkpoint.current_epoch)
    seconds = json.loads((run.path / "seconds.json").read_text())
    return epochs, seconds, sum(w.numel() for w in checkpoint.network_weights.values())


def predict(config: ResolvedConfiguration, dataset: Dataset, folder: Path) -> float:
    """Mean Dice of some held-out cases, predicted without mirroring."""
    images, output = folder / "images", folder / "segmentations"
    held_out = set(stored_fold(config, dataset, open_store(config), 0).val)
    for case in [case for case in dataset.cases if case.name in held_out][:CASES]:
        images.mkdir(parents=True, exist_ok=True)
        for image in case.images:
            shutil.copy(image, images)
    settings = PredictionSettings(device="cpu", mirroring=False)
    model = default_run_folder(config, dataset, 0).model
    predict_folder(Predictor.from_folder(model, 0, settings=settings), images, output)
    summary = evaluate(output, dataset.folder / "labelsTr", dataset=dataset.folder).summary
    assert summary is not None
    return summary.foreground_mean["Dice"]


if __name__ == "__main__":
    main()
