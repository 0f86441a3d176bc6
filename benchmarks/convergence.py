"""Learning curves of our trainer and nnU-Net's: same plans, data and split, several seeds.

    python benchmarks/convergence.py FOLDER [--epochs 40] [--figure docs/convergence.png]

FOLDER receives data and results; runs whose results it already holds are not repeated. Fold 0 of
Dataset004_Hippocampus, the small configuration of the shared model's plans, on the CPU, one thread
per run: nnU-Net's own trainer; ours in fp32 from the same weights and on the same batches; ours
with weights and batches of its own, in fp32 and in bf16. 40 epochs of 25 iterations take about 12
minutes per run, and the batches of one run 4 GB. Prints the mean pseudo Dice of the last four
epochs and draws all curves.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from side_by_side import PEER_PYTHON, SHARED

DATASET, PLANS, CONFIGURATION = (
    "Dataset004_Hippocampus",
    "nnUNetResEncUNetMPlans",
    "3d_fullres_small",
)
ITERATIONS, VALIDATION_ITERATIONS = 25, 10
LAST_EPOCHS = 4
SEEDS = (0, 1)
NNUNET, SAME = "nnU-Net", "ours, same batches"
COLORS = {NNUNET: "#21618c", SAME: "#27ae60", "ours, fp32": "#c0392b", "ours, bf16": "#e59866"}


@dataclass(frozen=True)
class Run:
    """One training, and the curve that came of it."""

    trainer: str
    seed: int
    dice: tuple[float, ...]
    """Pseudo Dice per epoch, the mean over the classes."""
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    folder = options.folder.resolve()
    prepare(folder)
    runs = [run(folder, trainer, seed, options.epochs) for trainer in COLORS for seed in SEEDS]
    print(f"{'trainer':<12}  seed  pseudo Dice of the last {LAST_EPOCHS} epochs  seconds per epoch")
    for one in runs:
        print(f"{one.trainer:<12}  {one.seed:>4}  {last(one):>34.3f}  {one.seconds:>17.1f}")
    means = {
        trainer: fmean(last(one) for one in runs if one.trainer == trainer) for trainer in COLORS
    }
    for trainer, mean in means.items():
        print(f"{trainer}: {mean:.3f}, {mean - means[NNUNET]:+.3f} against nnU-Net")
    if options.figure:
        draw(runs, options.figure)


def prepare(folder: Path) -> None:
    """Plans, and cases preprocessed by us, which both trainers read."""
    preprocessed = folder / "preprocessed" / DATASET
    if preprocessed.is_dir():
        return
    preprocessed.mkdir(parents=True)
    model = SHARED / "oracle" / "model"
    shutil.copy(model / "plans.json", preprocessed / f"{PLANS}.json")
    for name in ("dataset.json", "dataset_fingerprint.json"):
        shutil.copy(model / name, preprocessed)
    _ours(folder, "preprocess", "-d", "4", "-p", PLANS, "-c", CONFIGURATION)


def run(folder: Path, trainer: str, seed: int, epochs: int) -> Run:
    """Train, unless the folder already holds the curves of this run."""
    curves_file = folder / f"{trainer.replace(', ', '_').replace(' ', '_')}_{seed}.json"
    if not curves_file.is_file():
        if trainer == NNUNET:
            curves = _train_nnunet(folder, seed, epochs)
        elif trainer == SAME:
            curves = _train_on_batches(folder, seed, epochs)
        else:
            curves = _train_ours(folder, trainer.partition(", ")[2], seed, epochs)
        curves_file.write_text(json.dumps(curves))
    curves = json.loads(curves_file.read_text())
    dice = tuple(fmean(classes) for classes in curves["dice_per_class_or_region"])
    begun, ended = curves["epoch_start_timestamps"], curves["epoch_end_timestamps"]
    seconds = fmean(end - start for start, end in zip(begun, ended, strict=True))
    return Run(trainer, seed, dice, seconds)


def last(one: Run) -> float:
    """Mean pseudo Dice at the end of a run."""
    return fmean(one.dice[-LAST_EPOCHS:])


def draw(runs: Sequence[Run], path: Path) -> None:
    """All curves in one picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for one in runs:
        iterations = [ITERATIONS * (epoch + 1) for epoch in range(len(one.dice))]
        label = one.trainer if one.seed == SEEDS[0] else None
        # Wide, or the curve of the same batches would hide it.
        width, alpha = (5.0, 0.4) if one.trainer == NNUNET else (1.4, 1.0)
        color = COLORS[one.trainer]
        axes.plot(iterations, one.dice, color=color, label=label, linewidth=width, alpha=alpha)
    axes.set_xlabel("iterations")
    axes.set_ylabel("pseudo Dice, mean of both labels")
    axes.set_title(f"{DATASET}, fold 0, {CONFIGURATION}: {len(SEEDS)} seeds each", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def _train_ours(folder: Path, precision: str, seed: int, epochs: int) -> dict[str, list[float]]:
    results = folder / f"results_ours_{precision}_{seed}"
    settings = {
        "epochs": epochs,
        "iterations": ITERATIONS,
        "validation_iterations": VALIDATION_ITERATIONS,
        "precision": precision,
        "seed": seed,
    }
    settings_file = folder / f"settings_{precision}_{seed}.json"
    settings_file.write_text(json.dumps(settings))
    _ours(
        folder,
        *("train", "4", CONFIGURATION, "0", "-p", PLANS, "--device", "cpu"),
        *("--settings", str(settings_file), "--no-validation"),
        nnUNet_results=str(results),
    )
    [checkpoint] = results.glob(f"{DATASET}/*/fold_0/checkpoint_final.pth")
    from resenc_plans.runs.checkpoint import load_checkpoint

    return dict(load_checkpoint(checkpoint).logging)


def _train_nnunet(folder: Path, seed: int, epochs: int) -> dict[str, list[float]]:
    recorded = _recorded(folder, seed)
    shutil.rmtree(recorded, ignore_errors=True)
    recorded.mkdir()
    arguments = DATASET, PLANS, CONFIGURATION, str(seed), str(epochs), str(recorded)
    results = folder / f"results_nnunet_{seed}"
    return _curves_of(folder, results, PEER_PYTHON, "convergence_with_nnunet.py", *arguments)


def _train_on_batches(folder: Path, seed: int, epochs: int) -> dict[str, list[float]]:
    recorded = _recorded(folder, seed)
    plans = folder / "preprocessed" / DATASET / f"{PLANS}.json"
    results = folder / f"results_same_{seed}"
    arguments = str(plans), CONFIGURATION, str(recorded), str(results), str(epochs)
    curves = _curves_of(folder, results, sys.executable, "convergence_on_batches.py", *arguments)
    shutil.rmtree(recorded)
    return curves


def _recorded(folder: Path, seed: int) -> Path:
    """Where nnU-Net's run leaves its first weights and its batches."""
    return folder / f"recorded_{seed}"


def _curves_of(
    folder: Path, results: Path, python: str | Path, script: str, *arguments: str
) -> dict[str, list[float]]:
    done = subprocess.run(
        [python, Path(__file__).parent / script, *arguments],
        env=_environment(folder, nnUNet_results=str(results)),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    curves: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return curves


def _ours(folder: Path, *arguments: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "resenc_plans", *arguments],
        env=_environment(folder, **environment),
        check=True,
    )


def _environment(folder: Path, **more: str) -> dict[str, str]:
    folders = {"nnUNet_raw": SHARED / "data", "nnUNet_preprocessed": folder / "preprocessed"}
    for results in more.values():
        Path(results).mkdir(exist_ok=True)
    return {**os.environ, **{k: str(v) for k, v in folders.items()}, **more, "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
