"""The command that segments images: predict."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import (
    AllowImportOption,
    DeviceOption,
    dask_option,
    option_names,
    output_option,
    parse_folds,
    refuse_one_gpu_for_several,
    with_options,
)
from resenc_plans.cli.progress import case_progress, prediction_progress
from resenc_plans.cli.render import end_with, note, say
from resenc_plans.cli.stopping import resumable
from resenc_plans.errors import FileError, ModelError, UsageError
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.inference.folder import PredictionJob, PredictionReport


def predict(
    context: typer.Context,
    inputs: Annotated[
        Path,
        typer.Option(
            "-i", "--input", metavar="FOLDER", help="Folder of images.", show_default=False
        ),
    ],
    output: Annotated[Path, output_option("FOLDER", "Folder for the segmentations.")],
    model: Annotated[
        Path | None,
        typer.Option(
            "-m",
            "--model",
            metavar="FOLDER",
            help="Folder of the trained model, instead of -d, -c, -p and -tr.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "-d",
            "--dataset",
            metavar="DATASET",
            help="Dataset by id or name in nnUNet_results, instead of -m.",
            show_default=False,
        ),
    ] = None,
    configuration: Annotated[
        str | None,
        typer.Option(
            "-c",
            "--configuration",
            metavar="CONFIGURATION",
            help="With -d: configuration by name. Default: the only one that is trained.",
            show_default=False,
        ),
    ] = None,
    plans: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--plans",
            metavar="PLANS",
            help="With -d: plans by name. Default: the only ones that are trained.",
            show_default=False,
        ),
    ] = None,
    trainer: Annotated[
        str | None,
        typer.Option(
            "-tr",
            "--trainer",
            metavar="TRAINER",
            help="With -d: trainer by name. Default: nnUNetTrainer, or the only one.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--folds",
            metavar="FOLDS",
            help="Folds to average, such as 0,1,2 or all. Default: all that are trained.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint", "-chk", metavar="FILE", help="Checkpoint in each fold's folder."
        ),
    ] = "checkpoint_final.pth",
    device: DeviceOption = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="fp16|bf16|fp32",
            help="Precision of the network. Default: fp16 on a GPU, on a CPU the fastest.",
            show_default=False,
        ),
    ] = None,
    no_mirroring: Annotated[
        bool,
        typer.Option("--no-mirroring", "--disable_tta", help="Do not average over mirrored axes."),
    ] = False,
    step_size: Annotated[
        float,
        typer.Option(
            "--step-size",
            "-step_size",
            metavar="SHARE",
            help="Distance between tiles, as a share of the patch.",
        ),
    ] = 0.5,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", "--save_probabilities", help="Write probabilities (npz) too."
        ),
    ] = False,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network: pays for many cases on a GPU.")
    ] = False,
    previous_stage: Annotated[
        Path | None,
        typer.Option(
            "--previous",
            "-prev_stage_predictions",
            metavar="FOLDER",
            help="For a cascade's second stage: folder of the first stage's segmentations.",
            show_default=False,
        ),
    ] = None,
    part: Annotated[
        str, typer.Option(metavar="K/N", help="Every N-th case from the K-th only, K from 1.")
    ] = "1/1",
    skip_existing: Annotated[
        bool,
        typer.Option("--continue", "--continue_prediction", help="Keep cases that already exist."),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            "-np",
            metavar="N",
            min=1,
            help="Threads that read cases, and as many that write.",
        ),
    ] = 1,
    gpus: Annotated[
        int,
        typer.Option(
            "--gpus", metavar="N", min=1, help="GPUs of this machine that share the cases."
        ),
    ] = 1,
    dask: Annotated[
        str | None,
        dask_option("Scheduler of a Dask cluster whose workers share the cases (extra dask)."),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for a picture of each case: three planes with outlines.",
            show_default=False,
        ),
    ] = None,
    allow_import: AllowImportOption = None,
) -> None:
    """Segment a folder of images with a trained model, as nnUNetv2_predict does.

    The model was trained by nnU-Net 2 or by train. Exit code 1 if a case failed, 75 if the run was
    stopped; --continue does the rest.
    Example: resenc-plans predict -i imagesTs -o predicted -d 4 -c 3d_fullres -f 0,1,2
    """
    from resenc_plans.inference.folder import PredictionJob, predict_folder
    from resenc_plans.inference.predictor import Predictor
    from resenc_plans.inference.settings import PredictionSettings

    if model is not None and (dataset or configuration or plans or trainer):
        raise UsageError("-m names the model's folder; omit -d, -c, -p and -tr.")
    folder = model if model is not None else _find_model(dataset, configuration, plans, trainer)
    fold_names = parse_folds(folds) or None
    if overlay is not None and overlay.exists() and not overlay.is_dir():
        raise FileError(f"{overlay}: is a file. --overlay names a folder for the pictures.")
    settings = PredictionSettings(
        checkpoint=checkpoint,
        device=device,
        precision=precision,
        mirroring=not no_mirroring,
        step_size=step_size,
        compile=compile,
        allow_import=tuple(allow_import or ()),
        probabilities=probabilities,
        skip_existing=skip_existing,
        workers=workers,
    )
    with resumable("Cases that are written stay. With --continue, the others are predicted."):
        if dask is not None or gpus > 1:
            if _part(part) != (1, 1):
                option = "--gpus" if dask is None else "--dask"
                raise UsageError(f"{option} shares the cases itself; omit --part.")
            if dask is not None and gpus > 1:
                raise UsageError("--dask and --gpus contradict each other: give one.")
            refuse_one_gpu_for_several(gpus, device)
            job = PredictionJob(
                folder.absolute(),
                inputs.absolute(),
                output.absolute(),
                folds=fold_names,
                settings=settings,
                previous_stage=None if previous_stage is None else previous_stage.absolute(),
            )
            report = _predict_on_gpus(gpus, job) if dask is None else _predict_on_cluster(dask, job)
        else:
            predictor = Predictor.from_folder(folder, fold_names, settings=settings)
            if fold_names is None and len(predictor.model.weights) > 1:
                note(
                    f"Averages {counted(len(predictor.model.weights), 'fold')}; -f chooses among "
                    "them."
                )
            with prediction_progress() as on_progress:
                report = predict_folder(
                    predictor,
                    inputs,
                    output,
                    previous_stage=previous_stage,
                    part=_part(part),
                    on_progress=on_progress,
                )
    if overlay is not None:
        _draw_overlays(folder, inputs, output, overlay, [*report.written, *report.skipped])
    _finish(report, output, option_names(context.command.params))


def _finish(report: "PredictionReport", output: Path, options: dict[str, str]) -> None:
    """Print the result of the cases; exit code 1 if one failed."""
    for remark in report.remarks:
        note(remark)
    existing = f", {len(report.skipped)} already existed" if report.skipped else ""
    say(
        f"{counted(len(report.written), 'case')} written to {output}{existing}, "
        f"{len(report.problems)} failed."
    )
    end_with([replace(one, reason=with_options(one.reason, options)) for one in report.problems])


def _predict_on_cluster(address: str, job: "PredictionJob") -> "PredictionReport":
    from resenc_plans.execution.dask import dask_executor, worker_count
    from resenc_plans.inference.folder import predict_on

    with dask_executor(address) as executor:
        return predict_on(executor, job, worker_count(executor))


def _predict_on_gpus(gpus: int, job: "PredictionJob") -> "PredictionReport":
    from resenc_plans.execution.cpus import usable_cpus
    from resenc_plans.execution.processes import LocalWorkers
    from resenc_plans.inference.folder import predict_on
    from resenc_plans.networks.device import devices_of_processes

    devices = devices_of_processes(gpus, job.settings.device)
    workers = LocalWorkers(gpus, threads=max(1, usable_cpus() // gpus))
    try:
        return predict_on(workers, replace(job, devices=devices), gpus)
    finally:
        workers.kill()


def _draw_overlays(
    model: Path, inputs: Path, output: Path, target: Path, cases: Sequence[str]
) -> None:
    from resenc_plans.datasets.dataset_json import DatasetJson
    from resenc_plans.datasets.images.segmentation_files import segmentation_file
    from resenc_plans.folders import DATASET_JSON
    from resenc_plans.visualization.overlay import draw_overlays

    dataset = DatasetJson.load(model / DATASET_JSON)
    names = {value: name for name, value in dataset.labels.items() if isinstance(value, int)}
    segmentations = [segmentation_file(output, case, dataset.file_ending) for case in cases]
    try:
        with case_progress("Drawing", len(cases)) as on_case:
            problems = draw_overlays(segmentations, inputs, target, names=names, on_case=on_case)
    except FileError as error:
        note(f"{error} No case is drawn.")
        return
    for problem in problems:
        note(f"{problem.case}: is not drawn. {problem.reason}")


def _find_model(
    dataset: str | None, configuration: str | None, plans: str | None, trainer: str | None
) -> Path:
    """The folder TRAINER__PLANS__CONFIGURATION of a dataset that fits the options."""
    from resenc_plans.runs.find_model import find_model

    if dataset is None:
        raise UsageError(
            "No model was named. Name its folder with -m, or choose it with -d and -c."
        )
    try:
        return find_model(dataset, configuration, plans=plans, trainer=trainer).folder
    except ModelError as error:
        raise ModelError(
            f"{error} Choose with -c, -p and -tr, or give the folder with -m."
        ) from None


def _part(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal()):
        raise UsageError(f"--part {text!r}: write K/N, such as 1/4 for the first of four.")
    return int(number), int(parts)
