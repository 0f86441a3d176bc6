"""What one run of `first_hour.py` measures, in a process of its own: `first_hour_runs.py JOB`.

JOB is a JSON object with `kind`, `data`, `scratch`, `result`, `toy` and what the kind needs. The
result is a file with `values` and `error`.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

DATASET = "Dataset901_FirstHour"
PRESETS = ("M", "L", "XL", "default")
SPACING = (0.78, 0.78, 0.79)
"""Of KiTS; its median shape is in the fingerprint below."""
DESCRIPTION = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "kidney": 1, "tumour": 2, "cyst": 3},
    "numTraining": 5,
    "file_ending": ".nii.gz",
    "name": "FirstHour",
}
FINGERPRINT = {
    "spacings": [list(SPACING)] * 489,
    "shapes_after_crop": [[533, 512, 512]] * 489,
    "foreground_intensity_properties_per_channel": {
        "0": {
            "max": 3071.0,
            "mean": 100.0,
            "median": 102.0,
            "min": -1024.0,
            "percentile_00_5": -60.0,
            "percentile_99_5": 300.0,
            "std": 75.0,
        }
    },
    "median_relative_size_after_cropping": 1.0,
}
CASES = 5
SHAPE, TOY_SHAPE = (272, 320, 320), (24, 32, 32)
TOY = "toy"
"""The configuration that stands for all others at toy size."""
WARM_UP = 8
VALIDATION_BATCHES = 5
PROFILED_STEPS = 20
GIB = 2**30
EPOCH = (250, 50)
"""Training and validation batches of nnU-Net's epoch."""


class Enough(Exception):  # noqa: N818 - no error: the training has run for long enough
    """Ends a training that has been timed."""


@dataclass(frozen=True)
class Job:
    """What to measure."""

    kind: str
    data: Path
    toy: bool
    options: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Plans and stored cases."""
        return self.data / "preprocessed" / DATASET

    def configuration(self, name: str = "3d_fullres") -> Any:
        """The resolved configuration of the preset, with the changes that the job names."""
        from resenc_plans import Plans, find_preset

        preset = self.options["preset"]
        plans = Plans.load(self.folder / f"{find_preset(preset).plans_name}.json")
        if self.toy:
            return plans.resolve(TOY)
        changes = {k: self.options[k] for k in ("batch_size", "patch_size") if k in self.options}
        if changes:
            plans = plans.derive("changed", from_=name, **changes)
            name = "changed"
        return plans.resolve(name)

    def dataset(self) -> Any:
        """Its dataset.json."""
        from resenc_plans import Dataset

        return Dataset.load(self.folder)

    def settings(self, **more: Any) -> Any:
        """Those of the training: nnU-Net's, but for what the job changes."""
        from resenc_plans import TrainingSettings

        names = ("precision", "compile", "workers", "augment_on", "fused_optimizer")
        chosen: dict[str, Any] = {"compile": False, "workers": 0} if self.toy else {}
        chosen |= {name: self.options[name] for name in names if name in self.options}
        return TrainingSettings(**{**chosen, **more})

    def write(self, values: dict[str, Any], error: str | None = None) -> None:
        """Write what has been measured so far, in case the run is ended before it is through."""
        if "result" in self.options:
            text = json.dumps({"values": values, "error": error})
            Path(self.options["result"]).write_text(text, encoding="utf-8")


def make_data(job: Job) -> dict[str, Any]:
    """Plans of all presets for a dataset like KiTS, and five stored cases of noise and balls."""
    done = job.folder / "done"
    if done.is_file():
        return {}
    import numpy as np

    from resenc_plans import Dataset, Plans, Preprocessor, create_plans
    from resenc_plans.preprocessing.store.case_store import write_case

    job.folder.mkdir(parents=True, exist_ok=True)
    (job.data / "raw").mkdir(exist_ok=True)
    names = [f"case_{number}" for number in range(CASES)]
    write = {
        "dataset.json": DESCRIPTION,
        "dataset_fingerprint.json": FINGERPRINT,
        "splits_final.json": [{"train": names[1:], "val": names[:1]}] * 5,
    }
    for name, document in write.items():
        (job.folder / name).write_text(json.dumps(document))
    plans: Plans | None = None
    for preset in PRESETS:
        plans = create_plans(FINGERPRINT, DESCRIPTION, preset, dataset_name=DATASET)
        if job.toy:
            plans = with_toy(plans)
        plans.save(job.folder / f"{plans.name}.json")
    assert plans is not None
    config = plans.resolve("3d_fullres")
    dataset = Dataset.load(job.folder)
    for name in names:
        image, labels = made_up_case(job, int(name[-1]))
        properties = {"spacing": list(SPACING)}
        stored = Preprocessor(config).preprocess_case(
            image[None], labels[None].astype(np.int8), properties, dataset.labels
        )
        patch = plans.resolve(TOY if job.toy else "3d_fullres").patch_size
        write_case(job.folder / config.data_identifier, name, stored, patch)
    done.touch()
    return {}


def with_toy(plans: Any) -> Any:
    """The plans with one more configuration, tiny in every respect."""
    from resenc_plans import Plans

    plans.derive(TOY, from_="3d_fullres", patch_size=[16, 16, 16], batch_size=2)
    document = plans.to_dict()
    arguments = document["configurations"][TOY]["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [4] * arguments["n_stages"]
    for key in ("n_blocks_per_stage", "n_conv_per_stage"):
        if key in arguments:
            arguments[key] = [1] * len(arguments[key])
    return Plans.from_dict(document)


def made_up_case(job: Job, seed: int) -> tuple[Any, Any]:
    """An image like a CT (z, y, x) and its labels: three balls in noise."""
    import numpy as np

    random = np.random.default_rng(seed)
    shape = TOY_SHAPE if job.toy else SHAPE
    labels = np.zeros(shape, np.uint8)
    axes = np.ogrid[tuple(slice(size) for size in shape)]
    for label, share in ((1, 0.3), (2, 0.12), (3, 0.08)):
        centre = [size * random.uniform(0.35, 0.65) for size in shape]
        distance = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True))
        labels[distance < (share * min(shape)) ** 2] = label
    values = np.array([-80, 110, 60, 20], np.float32)[labels]
    return values + random.normal(0, 30, shape).astype(np.float32), labels


def measure_training(job: Job) -> dict[str, Any]:
    """Seconds per iteration and epoch, memory, and the estimate."""
    import torch

    from resenc_plans import Trainer, estimate_cost

    config, dataset = job.configuration(), job.dataset()
    clock = Clock(job.options["measured_seconds"])
    settings = job.settings(epochs=1, iterations=1_000_000)
    trainer = Trainer(config, dataset, 0, settings, overwrite=True, on_progress=clock)
    memory_format = job.options.get("memory_format")
    if memory_format is not None:
        trainer.step.memory_format = getattr(torch, memory_format)
        trainer.step.network.to(memory_format=getattr(torch, memory_format))  # type: ignore[call-overload]
    begun = time.perf_counter()
    with suppress(Enough):
        trainer.fit()
    values = clock.values() | {"first_iteration_s": clock.first - begun} | peaks()
    estimate = estimate_cost(config, 1, dataset.labels.num_heads).gpu_memory_gb
    values |= {
        "patch": list(config.patch_size),
        "batch": config.batch_size,
        "workers": trainer.training_batches.workers,  # type: ignore[attr-defined]
        "precision": str(trainer.precision or "float32").removeprefix("torch."),
        "estimate_gib": [estimate.low, estimate.expected, estimate.high],
    }
    job.write(values)  # compiling the network once more, for validation, may take too long
    validation = measure_validation(trainer)
    epoch = EPOCH[0] * values["iteration_s"] + EPOCH[1] * validation
    return values | {"validation_s": validation, "epoch_s": epoch}


class Clock:
    """Takes the time of each training batch, and ends the training after some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.first = self._begun = 0.0
        self.ends: list[float] = []
        self.waited = 0.0

    def __call__(self, progress: Any) -> None:
        """As the trainer's `on_progress`."""
        if progress.note is not None:
            return
        self.tick()
        self.waited = progress.waited

    def tick(self) -> None:
        """An iteration has ended."""
        now = time.perf_counter()
        self.first = self.first or now
        self.ends.append(now)
        measured = len(self.ends) - WARM_UP
        if measured >= 4 and now - self.ends[WARM_UP - 1] >= self.seconds:
            raise Enough

    def values(self) -> dict[str, Any]:
        """Means over the second half: batches that were made during the warm-up are used up."""
        ends = self.ends[WARM_UP - 1 :]
        steps = [later - sooner for sooner, later in pairwise(ends)]
        half = steps[len(steps) // 2 :]
        return {
            "iterations": len(self.ends),
            "iteration_s": fmean(half),
            "median_iteration_s": median(half),
            "waited": self.waited,
        }


def measure_validation(trainer: Any) -> float:
    """Seconds per validation batch, without the wait for data."""
    import torch

    batches = trainer.validation_batches.stream(0)
    trainer.step.eval()
    times = []
    with torch.no_grad():
        for _ in range(VALIDATION_BATCHES):
            batch = next(batches)
            begun = time.perf_counter()
            trainer.step.evaluate(batch).loss.own.item()
            times.append(time.perf_counter() - begun)
    return min(times)


def peaks() -> dict[str, float | None]:
    """Peak memory in GiB: allocated, reserved, this process's on the card, all programs' there."""
    import torch

    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    if not torch.cuda.is_available():
        return {"host_gib": host}
    free, total = torch.cuda.mem_get_info()
    return {
        "allocated_gib": torch.cuda.max_memory_allocated() / GIB,
        "reserved_gib": torch.cuda.max_memory_reserved() / GIB,
        "process_gib": memory_of_process(),
        "card_gib": (total - free) / GIB,
        "host_gib": host,
    }


def memory_of_process() -> float | None:
    """As nvidia-smi shows it; None where it does not know this process, as in most containers."""
    with suppress(ImportError):  # in nnU-Net's environment
        from resenc_plans.execution.gpus import installed_gpus

        for gpu in installed_gpus() or ():
            for process in gpu.processes:
                if process.pid == os.getpid() and process.memory_bytes is not None:
                    return process.memory_bytes / GIB
    return None


def measure_nnunet(job: Job) -> dict[str, Any]:
    """nnU-Net's own trainer, on the same plans, cases and card."""
    os.environ.setdefault("nnUNet_n_proc_DA", "2" if job.toy else "12")
    try:
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    except ImportError as error:
        raise SystemExit(f"nnunetv2 is not installed ({error})") from None
    import torch

    plans = json.loads((job.folder / "nnUNetResEncUNetMPlans.json").read_text())
    plans["continue_training"] = False
    trainer = nnUNetTrainer(
        plans=plans,
        configuration=TOY if job.toy else "3d_fullres",
        fold=0,
        dataset_json=json.loads((job.folder / "dataset.json").read_text()),
        device=torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"),
    )
    clock = Clock(job.options["measured_seconds"])
    step = trainer.train_step

    def timed(batch: Any) -> Any:
        result = step(batch)
        clock.tick()
        return result

    trainer.train_step = timed
    trainer.num_iterations_per_epoch = 1_000_000
    begun = time.perf_counter()
    with suppress(Enough):
        trainer.run_training()
    values = clock.values() | {"first_iteration_s": clock.first - begun} | peaks()
    values.pop("waited")
    return values


def measure_resume(job: Job) -> dict[str, Any]:
    """Trained in one go twice, and stopped and resumed: how far the weights are apart."""
    settings = job.settings(epochs=2, iterations=4, validation_iterations=1, compile=False)
    whole = weights_of(job, "whole", settings)
    repeated = weights_of(job, "repeated", settings)
    begun = time.perf_counter()
    resumed = weights_of(job, "resumed", settings, stop_at=(1, 2))
    return {
        "seconds": time.perf_counter() - begun,
        "largest_weight": max(float(value.abs().max()) for value in whole.values()),
        "repeated_differs_by": difference(whole, repeated),
        "resumed_differs_by": difference(whole, resumed),
    }


def weights_of(
    job: Job, name: str, settings: Any, stop_at: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Train; stopped by SIGTERM in the epoch and iteration `stop_at`, then resumed."""
    from resenc_plans import Trainer

    folder = Path(job.options["scratch"]) / "results" / name
    folder.mkdir()
    os.environ["nnUNet_results"] = str(folder)
    config, dataset = job.configuration(), job.dataset()

    def interrupt(progress: Any) -> None:
        if progress.is_training and (progress.epoch, progress.iteration) == stop_at:
            signal.raise_signal(signal.SIGTERM)

    trainer = Trainer(config, dataset, 0, settings, on_progress=interrupt)
    result = trainer.fit()
    if stop_at is not None:
        assert not result.is_complete
        trainer = Trainer(config, dataset, 0, settings, on_progress=lambda _: None)
        trainer.resume()
        result = trainer.fit()
    assert result.is_complete
    return {
        key: value.detach().float().cpu().clone()
        for key, value in trainer.network.state_dict().items()
    }


def difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest, over all weights."""
    return max(float((one[key] - other[key]).abs().max()) for key in one)


def measure_labels(job: Job) -> dict[str, Any]:
    """The share of voxels whose label differs from the CPU's in fp32, by precision.

    The network has been trained for one iteration from a seed, so that logits lie close together
    and labels change easily.
    """
    import torch

    from resenc_plans import PredictionSettings, Predictor, Trainer

    config, dataset = job.configuration(), job.dataset()
    settings = job.settings(
        epochs=1, iterations=1, validation_iterations=1, workers=0, compile=False
    )
    trainer = Trainer(config, dataset, 0, settings, overwrite=True, on_progress=lambda _: None)
    trainer.fit()
    model = trainer.folder.path.parent
    del trainer
    image = made_up_case(job, CASES)[0]
    if not job.toy:
        image = image[:160, :192, :192]

    def predict(device: str, precision: str) -> Any:
        chosen = PredictionSettings.model_validate(
            {"device": device, "precision": precision, "mirroring": False}
        )
        return Predictor.from_folder(model, settings=chosen).predict(image, SPACING)

    begun = time.perf_counter()
    reference = predict("cpu", "fp32")
    values: dict[str, Any] = {
        "voxels": int(reference.size),
        "cpu_s": time.perf_counter() - begun,
        "labels": sorted({int(label) for label in reference.flat}),
    }
    on_gpu = torch.cuda.is_available()
    for precision in ("fp32", "fp16", "bf16") if on_gpu else ("fp32", "bf16"):
        begun = time.perf_counter()
        labels = predict("cuda" if on_gpu else "cpu", precision)
        values[f"{precision}_differs"] = float((labels != reference).mean())
        values[f"{precision}_s"] = time.perf_counter() - begun
    return values


def measure_memory(job: Job) -> dict[str, Any]:
    """A few steps on noise, beside the estimate."""
    import torch

    from resenc_plans import estimate_cost
    from resenc_plans.profiling.gpu_step import CudaGpu, measure_configuration

    channels, heads = job.options.get("channels", 1), job.options.get("heads", 4)
    config = job.configuration(job.options["configuration"])
    gpu = CudaGpu() if torch.cuda.is_available() else Processor()
    measured = measure_configuration(config, channels, heads, gpu)
    estimate = estimate_cost(config, channels, heads).gpu_memory_gb
    used = measured.used_bytes / GIB
    return {
        "allocated_gib": measured.allocated_bytes / GIB,
        "reserved_gib": measured.reserved_bytes / GIB,
        "card_gib": used,
        "process_gib": memory_of_process(),
        "estimate_gib": [estimate.low, estimate.expected, estimate.high],
        "error": estimate.expected / used - 1,
        "step_s": measured.seconds_per_step,
    }


class Processor:
    """The CPU in place of a GPU, for a try at toy size."""

    name = "CPU"

    def __init__(self) -> None:
        import torch

        self.device = torch.device("cpu")

    def start(self) -> None:
        """Nothing can be forgotten."""

    def wait(self) -> None:
        """Nothing runs on."""

    def used(self) -> int:
        """The peak of this process."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    allocated = reserved = used


def measure_profile(job: Job) -> dict[str, Any]:
    """The kernels of 20 training steps, and how often the host waits for the device."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from resenc_plans import Trainer

    trainer = Trainer(
        job.configuration(), job.dataset(), 0, job.settings(), on_progress=lambda _: None
    )
    batches = trainer.training_batches.stream(0)
    step, on_gpu = trainer.step, torch.cuda.is_available()
    steps = 2 if job.toy else PROFILED_STEPS
    step.train()
    for _ in range(2 if job.toy else WARM_UP):
        batch = next(batches)
        step(batch)
    chosen = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    begun = time.perf_counter()
    with profile(activities=chosen) as profiler:
        for _ in range(steps):
            batch = next(batches)
            step(batch)
    seconds = time.perf_counter() - begun
    rows = [row for row in profiler.key_averages() if not _is_annotation(row)]

    def own(row: Any) -> float:
        """Microseconds on the device that counts, without what a row contains."""
        if not on_gpu:
            return float(row.self_cpu_time_total)
        is_kernel = "CUDA" in str(row.device_type)
        return float(row.self_device_time_total) if is_kernel else 0.0

    def calls(*names: str) -> float:
        return float(sum(row.count for row in rows if row.key in names)) / steps

    total = sum(map(own, rows)) or 1.0
    layouts = sum(
        own(row)
        for row in rows
        if "nchwtonhwc" in row.key.lower() or "nhwctonchw" in row.key.lower()
    )
    return {
        "steps": steps,
        "step_s": seconds / steps,
        "synchronisations": calls(
            "cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"
        ),
        "copies": calls("cudaMemcpyAsync"),
        "item_calls": calls("aten::item"),
        "bytes_per_batch": batch.nbytes,
        "layout_share": layouts / total,
        "kernels": [
            {
                "name": row.key[:90],
                "calls": row.count / steps,
                "ms": own(row) / steps / 1000,
                "share": own(row) / total,
            }
            for row in sorted(rows, key=own, reverse=True)[:15]
        ],
    }


def _is_annotation(row: Any) -> bool:
    """Whether a row of the profile names a span of other rows, such as a step of the optimizer."""
    return bool(getattr(row, "is_user_annotation", False)) or "#" in row.key


KINDS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "data": make_data,
    "training": measure_training,
    "nnunet": measure_nnunet,
    "resume": measure_resume,
    "labels": measure_labels,
    "memory": measure_memory,
    "profile": measure_profile,
}


def main(arguments: Iterable[str]) -> None:
    [text] = arguments
    options = json.loads(text)
    job = Job(options["kind"], Path(options["data"]), options["toy"], options)
    values: dict[str, Any] = {}
    error = None
    try:
        values = KINDS[job.kind](job)
    except SystemExit as end:
        error = str(end)
    except Exception as fault:  # whatever it is, it belongs into the row
        error = f"{type(fault).__name__}: {str(fault).partition(chr(10))[0]}"
        if "result" not in options:
            raise
    if error is None or not Path(options.get("result", "")).is_file():  # keep what is written
        job.write(values, error)


if __name__ == "__main__":
    main(sys.argv[1:])
