"""Trained models as zip archives, in nnU-Net's layout: made, and installed with care.

The archive holds paths relative to the results folder: `DatasetXXX_Name/TRAINER__PLANS__CONFIG/…`.
`nnUNetv2_install_pretrained_model_from_zip` unpacks ours, and we unpack nnU-Net's. An archive may
come from anywhere, so nothing in it is taken on trust: see `archive_check`.
"""

import os
import shutil
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from resenc_plans.errors import FileError, ModelError, first_line
from resenc_plans.execution.unfinished import remove_unfinished, unfinished_folder
from resenc_plans.files import inside, open_regular, put_in_place, replace_file, why_not_written
from resenc_plans.folders import (
    DATASET_JSON,
    ENSEMBLES,
    FINAL_CHECKPOINT,
    FINGERPRINT_JSON,
    INFERENCE_INFORMATION,
    INFERENCE_INSTRUCTIONS,
    PLANS_JSON,
    POSTPROCESSING_JSON,
    POSTPROCESSING_PKL,
    SUMMARY_JSON,
)
from resenc_plans.runs.archive_check import check_contents, checked_entries
from resenc_plans.runs.find_model import common_folds
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_folder import DEBUG_JSON, PROGRESS_PNG
from resenc_plans.runs.run_record import RUN_JSON

MAX_BYTES = 100 * 1024**3
"""Unpacked size up to which an archive is installed."""

_STORED = (".pth", ".png", ".gz", ".pdf")
"""What does not get smaller by being deflated, or hardly so."""
_MODEL_FILES = (PLANS_JSON, FINGERPRINT_JSON, DATASET_JSON)
_FOLD_FILES = (DEBUG_JSON, RUN_JSON, PROGRESS_PNG, "network_architecture.pdf")
_RESULT_FILES = (SUMMARY_JSON, POSTPROCESSING_PKL, POSTPROCESSING_JSON)
_DATASET_FILES = (INFERENCE_INFORMATION, INFERENCE_INSTRUCTIONS)


@dataclass(frozen=True)
class ExportRequest:
    """What goes into an archive beside the descriptions of the model."""

    folds: tuple[str, ...] = ()
    """By default those that all of the models have."""
    checkpoints: tuple[str, ...] = (FINAL_CHECKPOINT,)
    predictions: bool = False
    """Whether the segmentations of the cross-validation are put in too."""


def export_model(
    model_folders: Sequence[str | os.PathLike[str]],
    archive: str | os.PathLike[str],
    request: ExportRequest | None = None,
    *,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write trained models of one dataset into a zip archive, whole or not at all.

    `model_folders` are folders such as `results/Dataset004_Hippocampus/nnUNetTrainer__…`. Ensembles
    of just these models, and the instructions for inference, are put in as well. Returns the names
    in the archive.

    Raises
    ------
    ModelError
        A fold, a checkpoint, plans.json or dataset.json is missing.
    FileError
        The archive cannot be written, or already exists and `overwrite` is not set.
    """
    if not overwrite and Path(archive).exists():
        raise FileError(f"{os.fspath(archive)}: already exists. Use `overwrite=` to replace it.")
    request = request or ExportRequest()
    models = [ModelFolder(Path(folder).resolve()) for folder in model_folders]
    if not models:
        raise ModelError("There is no model to export.")
    if len({model.folder.parent for model in models}) > 1:
        raise ModelError("The models belong to several datasets. Export one dataset at a time.")
    request = replace(request, folds=request.folds or common_folds(models))
    root = models[0].folder.parent.parent
    files = [path for model in models for path in _model_files(model, request)]
    files += _dataset_files(models, request)
    names = []
    with replace_file(archive) as stream, _new_archive(stream) as target:
        for path in dict.fromkeys(files):
            names.append(path.relative_to(root).as_posix())
            kind = zipfile.ZIP_STORED if path.suffix in _STORED else zipfile.ZIP_DEFLATED
            target.write(path, names[-1], kind)
    return tuple(names)


def import_model(
    archive: str | os.PathLike[str],
    results: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    max_bytes: int = MAX_BYTES,
) -> tuple[Path, ...]:
    """Install the models of an archive in the results folder; returns their folders.

    Files about a whole dataset, such as which configuration is best, are kept where they exist.
    With `overwrite`, files of the archive replace those of the same name, and no others.

    Everything is unpacked to a hidden folder first, checked there, and then renamed, so that an
    archive that is refused leaves nothing behind. Checked are all paths, that no entry is a link,
    the size, that plans.json and dataset.json are that, and that checkpoints and pickles hold plain
    data only.

    Raises
    ------
    ModelError
        The archive is damaged, refused (the message says what and why), or a model of this name
        already exists and `overwrite` is not set.
    FileError
        The results folder cannot be written to.
    """
    results = Path(results)
    if not results.is_dir():
        raise ModelError(f"{results}: no such folder; it is where the models would be installed.")
    try:
        with unfinished_folder(results) as unpacked:
            _unpack(Path(archive), unpacked, max_bytes)
            models = check_contents(unpacked, os.fspath(archive))
            _install(list(_parts(unpacked)), unpacked, results, overwrite)
    except OSError as error:
        raise FileError(
            f"{os.fspath(archive)}: not installed. {why_not_written(results, error)}"
        ) from error
    return tuple(results / model for model in models)


def _new_archive(stream: BinaryIO) -> zipfile.ZipFile:
    """An archive in which files older than 1980, for which zip has no date, count as from then."""
    return zipfile.ZipFile(stream, "w", strict_timestamps=False)


def _model_files(model: ModelFolder, request: ExportRequest) -> Iterator[Path]:
    folder = model.folder
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder, so there is no trained model to export.")
    for fold in request.folds:
        run = model.run(fold)
        if not run.path.is_dir():
            trained = ", ".join(model.folds()) or "none"
            raise ModelError(
                f"{folder}: fold {fold} does not exist (trained: {trained}). Train it, or name the "
                "folds to export."
            )
        for name in request.checkpoints:
            if not run.checkpoint(name).is_file():
                raise ModelError(f"{run.checkpoint(name)}: no such file; is the training finished?")
            yield run.checkpoint(name)
        yield from _existing(run.path, _FOLD_FILES)
        yield from _results(run.validation, request)
    yield from _results(model.cross_validation(request.folds), request)
    for name in (PLANS_JSON, DATASET_JSON):
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name}: no such file, so this is not a trained model.")
    yield from _existing(folder, _MODEL_FILES)


def _dataset_files(models: Sequence[ModelFolder], request: ExportRequest) -> Iterator[Path]:
    dataset = models[0].folder.parent
    identifiers = {model.identifier for model in models}
    for ensemble in sorted((dataset / ENSEMBLES).glob("ensemble___*")):
        if identifiers.issuperset(ensemble.name.split("___")[1:-1]):
            yield from _results(ensemble, request)
    yield from _existing(dataset, _DATASET_FILES)


def _results(folder: Path, request: ExportRequest) -> Iterator[Path]:
    return _predictions(folder) if request.predictions else _existing(folder, _RESULT_FILES)


def _existing(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    return (folder / name for name in names if (folder / name).is_file())


def _predictions(folder: Path) -> Iterator[Path]:
    """The files of a folder of predictions without the probabilities, as nnU-Net exports it."""
    for path in sorted(folder.glob("*")):
        if path.is_file() and (path.suffix not in (".npz", ".pkl") or path.name in _RESULT_FILES):
            yield path


def _unpack(archive: Path, target: Path, max_bytes: int) -> None:
    try:
        with open_regular(archive) as stream, zipfile.ZipFile(stream) as source:
            for entry, path in checked_entries(source, archive, max_bytes):
                destination = target / path
                destination.parent.mkdir(parents=True, exist_ok=True)
                with source.open(entry) as packed, destination.open("xb") as plain:
                    shutil.copyfileobj(packed, plain, 1 << 20)
    except FileError as error:
        raise ModelError(str(error)) from None
    except (ModelError, OSError):
        raise
    except Exception as error:  # zipfile raises anything on damaged bytes
        raise ModelError(
            f"{archive}: damaged, or not a zip archive ({first_line(error)})."
        ) from None


def _parts(unpacked: Path) -> Iterator[Path]:
    """What is renamed as a whole: model folders, ensembles, and files beside them."""
    for dataset in unpacked.iterdir():
        for part in dataset.iterdir():
            yield from part.iterdir() if part.name == ENSEMBLES else (part,)


def _install(parts: Sequence[Path], unpacked: Path, results: Path, overwrite: bool) -> None:
    targets = {part: results / part.relative_to(unpacked) for part in parts}
    for part, target in targets.items():
        inside(results / part.relative_to(unpacked).parts[0], target.parent)
        remove_unfinished(target.parent)
    models = [(part, target) for part, target in targets.items() if part.is_dir()]
    existing = [target for _, target in models if target.exists()]
    if existing and not overwrite:
        raise ModelError(
            f"{existing[0]}: already exists. Nothing was installed; use `overwrite=` to "
            "replace the files that the archive holds."
        )
    installed = [ModelFolder(target) for target in existing]
    runs = [model.run(fold) for model in installed for fold in model.folds()]
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(run.locked())
        for part, target in models:
            _keep_others(target, part, without=[run.lock_file for run in runs])
        for part, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            if overwrite or not target.exists():
                put_in_place(part, target)


def _keep_others(old: Path, new: Path, without: Collection[Path]) -> None:
    """Put what only the old model has, such as its validation, beside the new files."""
    for path in old.rglob("*"):
        copy = new / path.relative_to(old)
        if path in without:
            continue
        if path.is_symlink():
            if copy.is_dir():
                raise ModelError(
                    f"{path}: is a link, and the archive has a folder of that name. Nothing was "
                    "installed; put the folder in the link's place first."
                )
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.symlink_to(path.readlink())
        elif path.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
