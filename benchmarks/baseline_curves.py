"""Every system of nnU-Net Revisited, from create to evaluate, at a reduced size.

    python benchmarks/baseline_curves.py build/curves [--figure docs/baselines.png] [NAME ...]

Dataset004_Hippocampus, on the CPU, one baseline after the other, each in a process of its own:
plans with a patch of 32x32x32 (16x24x16 for U-Mamba Enc), or the nearest that the network takes, a
quarter of its width and a batch of 2; preprocessing; 10 epochs of 10 iterations of fold 0; four of
its held-out cases predicted without mirroring; their Dice. The folder receives all of it, and in
`results.jsonl` a line for each baseline that is done, which is not repeated: stop this and run it
again to continue. `--time` takes a few more steps of each and replaces the seconds per step.

Prints the table of docs/baselines.md, draws all curves, and ends with an error where a loss does
not fall.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.evaluation.evaluate import evaluate
from resenc_plans.files import read_json, replace_file, write_json
from resenc_plans.folders import FINAL_CHECKPOINT
from resenc_plans.inference.folder import predict_folder
from resenc_plans.inference.predictor import Predictor
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.networks.check import check_network
from resenc_plans.planning.baselines.baseline import Baseline
from resenc_plans.planning.baselines.registry import baselines, find_baseline
from resenc_plans.plans.configuration import ResolvedConfiguration, input_channels
from resenc_plans.plans.known_networks import resolutions_of
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.preprocessing import Preprocessor
from resenc_plans.reprs import numbers
from resenc_plans.runs.checkpoint import load_checkpoint
from resenc_plans.runs.folds import stored_fold
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.runs.stored_cases import open_store
from resenc_plans.training.defaults import default_run_folder
from resenc_plans.training.history import Progress, from_logging
from resenc_plans.training.trainer import Trainer
from resenc_plans.visualization.training_curves import draw_curves
from resenc_plans.workflows.train_fold import train_fold
from side_by_side import SHARED

DATASET, CONFIGURATION, CASES = "Dataset004_Hippocampus", "3d_fullres", 4
PATCH, PATCHES = (32, 32, 32), {"u-mamba-enc": (16, 24, 16)}
SETTINGS = TrainingSettings(
    epochs=10, iterations=10, validation_iterations=5, workers=0, precision="fp32"
)
TIMED = 4
"""Steps that `--time` takes of each."""
SHARE = 4
"""Of the width of each network, a fourth."""

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--time", action="store_true", help="time a few more steps of each")
    parser.add_argument("--row", metavar="NAME", help="only make this one's line")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_intermixed_args()
    folder = options.folder.resolve()
    dataset = prepare(folder)
    if options.row:
        add(folder, make_row(find_baseline(options.row), dataset, folder))
        return
    chosen = [find_baseline(name) for name in options.names] or [
        baseline for baseline in baselines() if baseline.published
    ]
    for baseline in chosen:
        if baseline.name not in rows(folder):
            command = [sys.executable, __file__, str(folder), "--row", baseline.name]
            state = "failed" if subprocess.run(command).returncode else "is done"
            print(f"{baseline.name} {state}.", file=sys.stderr, flush=True)
    if options.time:
        for baseline in chosen:
            seconds = time_steps(reduced(baseline, dataset, folder).resolve(CONFIGURATION), dataset)
            add(folder, rows(folder)[baseline.name] | {"seconds": seconds})
            print(f"{baseline.name}: {seconds:.3f} s per step", file=sys.stderr, flush=True)
    done = rows(folder)
    results = [done[baseline.name] for baseline in chosen if baseline.name in done]
    print_table(results)
    if options.figure:
        epochs = {r["name"]: from_logging(r["logging"], SETTINGS.epochs) for r in results}
        draw_curves(
            epochs, options.figure, f"{DATASET}, reduced: {SETTINGS.iterations} iterations an epoch"
        )
    rising = [row["name"] for row in results if losses(row)[-1] >= losses(row)[0]]
    if rising:
        sys.exit(f"The loss does not fall: {', '.join(rising)}")


def prepare(folder: Path) -> Dataset:
    """The dataset, and where nnU-Net's folders are from now on."""
    for name in ("preprocessed", "results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    os.environ["nnUNet_raw"] = str(SHARED / "data")
    return Dataset.load(SHARED / "data" / DATASET)


def rows(folder: Path) -> dict[str, Row]:
    """The lines so far, by baseline; of several of one baseline the last."""
    path = folder / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def add(folder: Path, row: Row) -> None:
    """Put a line into the file, in the place of the same baseline's."""
    lines = (rows(folder) | {row["name"]: row}).values()
    with replace_file(folder / "results.jsonl") as stream:
        stream.write("".join(f"{json.dumps(line)}\n" for line in lines).encode())


def make_row(baseline: Baseline, dataset: Dataset, folder: Path) -> Row:
    """Everything from create to evaluate for one baseline."""
    full = planned(baseline, dataset, folder).resolve(CONFIGURATION)
    channels = input_channels(full, dataset.labels)
    parameters = check_network(full, channels, dataset.labels.num_heads).parameters
    plans = reduced(baseline, dataset, folder)
    config = plans.resolve(CONFIGURATION)
    cases = stored(folder) / config.data_identifier
    Preprocessor(config, plans).run(dataset, cases, workers=1)
    measured = train(config, dataset)
    run = default_run_folder(config, dataset, 0)
    weights = load_checkpoint(run.checkpoint(FINAL_CHECKPOINT)).network_weights
    return {
        "name": baseline.name,
        "patch": config.patch_size,
        "parameters": parameters,
        "reduced_parameters": sum(weight.numel() for weight in weights.values()),
        **measured,
        "dice": predict(config, dataset, folder / "predicted" / baseline.name),
    }


def stored(folder: Path) -> Path:
    """Where the plans and the preprocessed cases are."""
    target = folder / "preprocessed" / DATASET
    target.mkdir(exist_ok=True)
    return target


def planned(baseline: Baseline, dataset: Dataset, folder: Path) -> Plans:
    """The plans at full size."""
    path = stored(folder) / "dataset_fingerprint.json"
    fingerprint = Fingerprint.load(path) if path.exists() else Fingerprint.extract(dataset)
    fingerprint.save(path)
    shutil.copy(dataset.folder / "dataset.json", path.parent)
    return baseline.create_plans(fingerprint, dataset)


def reduced(baseline: Baseline, dataset: Dataset, folder: Path) -> Plans:
    """The plans with a small patch and a narrow network, saved."""
    document = planned(baseline, dataset, folder).to_dict()
    path = stored(folder) / f"{document['plans_name']}.json"
    values = document["configurations"][CONFIGURATION]
    patch: Sequence[int] = PATCHES.get(baseline.name, PATCH)
    arguments = values["architecture"]["arch_kwargs"]
    arguments |= narrow(values["architecture"]["network_class_name"], arguments)
    values["batch_size"] = 2
    for is_nearest in (False, True):
        values["patch_size"] = list(patch)
        if "patch_size" in arguments:
            arguments["patch_size"] = list(patch)
        plans = Plans.from_dict(document, path=path)
        if not is_nearest:
            rule = resolutions_of(plans.resolve(CONFIGURATION)).patch_rule
            patch = rule.nearest(patch)
    plans.save(path)
    return plans


def narrow(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make a network a quarter as wide; nnFormer and CoTr have none."""
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


def train(config: ResolvedConfiguration, dataset: Dataset) -> Row:
    """The curves, seconds per training step, and what training adds to the process's memory."""
    run = default_run_folder(config, dataset, 0)
    path = run.path / "measured.json"
    if not path.exists():
        steps: list[float] = []
        before = resident_memory()
        done = train_fold(
            config,
            dataset,
            0,
            settings=SETTINGS,
            device="cpu",
            validation=False,
            resume=run.resumable() is not None,
            on_progress=stop_watch(steps),
        )
        if not done.training.is_complete:
            sys.exit(f"{config.plans.name}: stopped. Run this again to continue.")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        write_json(path, {"seconds": median(steps), "memory": peak - before})
    measured: Row = read_json(path)
    return measured | {"logging": dict(load_checkpoint(run.checkpoint(FINAL_CHECKPOINT)).logging)}


def stop_watch(steps: list[float]) -> Callable[[Progress], None]:
    """Takes the time between the training steps of each epoch, with the making of their batches."""
    last: dict[str, float] = {}

    def look(progress: Progress) -> None:
        now = perf_counter()
        if progress.is_training and progress.finished is None:
            if progress.iteration > 1 and "step" in last:
                steps.append(now - last["step"])
            last["step"] = now

    return look


def time_steps(config: ResolvedConfiguration, dataset: Dataset) -> float:
    """Seconds per training step, without any effect on the run."""
    steps: list[float] = []
    watch = stop_watch(steps)

    def look(progress: Progress) -> None:
        watch(progress)
        if len(steps) == TIMED:
            raise _EnoughError

    with TemporaryDirectory() as folder, suppress(_EnoughError):
        run = RunFolder(Path(folder), 0)
        Trainer(config, dataset, 0, SETTINGS, device="cpu", run_folder=run, on_progress=look).fit()
    return median(steps)


class _EnoughError(Exception):
    """The steps that were to be timed are done."""


def resident_memory() -> int:
    """Of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


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
    references = dataset.folder / "labelsTr"
    summary = evaluate(output, references, dataset=dataset.folder, workers=1).summary
    assert summary is not None
    return summary.foreground_mean["Dice"]


def losses(row: Row) -> Sequence[float]:
    """The training loss of each epoch."""
    values: list[float] = row["logging"]["train_losses"]
    return values


def print_table(results: Sequence[Row]) -> None:
    """The table of docs/baselines.md."""
    print("| | parameters (M) | patch | reduced (M) | s per step | MiB | ", end="")
    print("first loss | last loss | Dice (%) | published Dice (%) | GB | hours |")
    print(f"|---{'|---:' * 11}|")
    for row in results:
        published = find_baseline(row["name"]).published
        cells = [
            row["name"],
            f"{row['parameters'] / 1e6:.1f}",
            numbers(row["patch"]),
            f"{row['reduced_parameters'] / 1e6:.2f}",
            f"{row['seconds']:.2f}",
            f"{row['memory'] / 2**20:.0f}",
            f"{losses(row)[0]:.3f}",
            f"{losses(row)[-1]:.3f}",
            f"{100 * row['dice']:.1f}",
        ]
        if published is not None:
            dice = f"{published.mean_dice:.2f}"
            cells += [dice, f"{published.vram_gb:g}", f"{published.hours:g}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
