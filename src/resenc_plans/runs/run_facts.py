"""What is known of how a fold was trained and validated, whoever wrote its folder."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from resenc_plans.datasets.dataset import case_of_file, file_names
from resenc_plans.datasets.dataset_json import DatasetJson, LabelValue
from resenc_plans.errors import FileError, PlansError
from resenc_plans.files import read_json
from resenc_plans.folders import DATASET_JSON, SUMMARY_JSON
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import NAMES_OF_NNUNET
from resenc_plans.runs.folds import FoldCases
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_folder import DEBUG_JSON, RunFolder
from resenc_plans.runs.run_record import OwnCode, RunRecord
from resenc_plans.runs.validation_record import ValidationRecord

_LONGEST_SETTING = 200
"""Characters of a value in debug.json; Python's parser may crash on longer ones."""
_MIRRORING_OF_NNUNET = "inference_allowed_mirroring_axes"

ReferenceVoxels = Mapping[str, Mapping[str, int]]
"""By case and label, the voxels of the reference."""


@dataclass(frozen=True, kw_only=True)
class FoldFacts:
    """What is known of a fold. None stands for what is not recorded."""

    settings: Mapping[str, Any]
    """Those of `TrainingSettings` that are known, by dotted keys."""
    precision: str | None
    code: Mapping[str, OwnCode] | None
    """Parts that were not nnU-Net's."""
    changes: tuple[str, ...] | None
    """What was changed while it was trained."""
    configuration: Mapping[str, Any] | None
    """The resolved configuration."""
    train: frozenset[str] | None
    held_out: frozenset[str] | None
    missing: frozenset[str] | None
    """Cases of the fold that were left out, since they were not stored."""
    unnamed: int
    """How many more were left out, of unknown names."""
    scored: frozenset[str] | None
    """Cases that the validation has predicted."""
    references: ReferenceVoxels | None
    mirroring: str | None
    """The axes that the validation averages over, in words."""
    step_size: float | None
    postprocessing: tuple[Any, ...] | None

    @classmethod
    def of(
        cls, run: RunFolder, configuration: Mapping[str, Any] | None, ending: str | None
    ) -> Self:
        """Read a fold's folder.

        Parameters
        ----------
        run
            The folder, written by us or by nnU-Net.
        configuration
            What the model's plans say of it; a record of the training takes precedence.
        ending
            That of segmentations.

        Raises
        ------
        FileError
            A record that we write is damaged.
        """
        record, cases = RunRecord.load(run.path), FoldCases.load(run.path)
        validation = ValidationRecord.load(run.validation)
        debug = {} if record is not None else _document(run.path / DEBUG_JSON)
        configuration = record.configuration if record is not None else configuration
        references = _references(run.validation)
        scored = _scored(run.validation, ending, references)
        axes = validation.mirror_axes if validation is not None else _nnunet_axes(debug)
        patch = (configuration or {}).get("patch_size")
        dim = len(patch) if isinstance(patch, list | tuple) and patch else None
        is_nnunets = _MIRRORING_OF_NNUNET in debug
        return cls(
            settings=record.flat_settings if record is not None else _nnunet_settings(debug),
            precision=None if record is None else record.precision,
            code=None if record is None else record.code,
            changes=None if record is None else tuple(map(str, record.changes)),
            configuration=configuration,
            train=None if cases is None else frozenset(cases.train),
            held_out=scored if cases is None else frozenset(cases.val),
            missing=None if cases is None else frozenset(cases.missing),
            unnamed=0 if cases is None else cases.unnamed,
            scored=scored,
            references=references,
            mirroring=None if axes is None else _mirroring(axes, dim),
            step_size=validation.step_size if validation else 0.5 if is_nnunets else None,
            postprocessing=validation.postprocessing if validation else () if is_nnunets else None,
        )


@dataclass(frozen=True)
class ModelFacts:
    """What is known of the folds of a model."""

    model: ModelFolder
    folds: Mapping[str, FoldFacts]
    labels: Mapping[str, LabelValue] | None
    """Those of its dataset.json, by name."""

    @classmethod
    def of(cls, model: ModelFolder, folds: Sequence[str]) -> Self:
        """Read the folders of some folds.

        Raises
        ------
        FileError
            A record that we write is damaged.
        """
        configuration, dataset = _planned(model), _dataset_json(model)
        ending = None if dataset is None else dataset.file_ending
        return cls(
            model,
            {fold: FoldFacts.of(model.run(fold), configuration, ending) for fold in folds},
            None if dataset is None else dataset.labels,
        )


def _planned(model: ModelFolder) -> Mapping[str, Any] | None:
    try:
        return Plans.load(model.plans_json).resolve(model.configuration).to_dict()
    except (FileError, PlansError):
        return None


def _dataset_json(model: ModelFolder) -> DatasetJson | None:
    path = model.folder / DATASET_JSON
    return DatasetJson.load(path) if path.is_file() else None


def _document(path: Path) -> dict[str, Any]:
    """A JSON object that is for information only; empty where there is none that can be read."""
    try:
        document = read_json(path)
    except FileError:
        return {}
    return document if isinstance(document, dict) else {}


def _nnunet_settings(debug: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: _value(debug.get(name)) for key, name in NAMES_OF_NNUNET.items()}
    return {key: value for key, value in values.items() if value is not None}


def _nnunet_axes(debug: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The axes that nnU-Net's own validation mirrors; it writes None for none."""
    if _MIRRORING_OF_NNUNET not in debug:
        return None
    axes = _value(debug[_MIRRORING_OF_NNUNET])
    return tuple(axes) if isinstance(axes, tuple | list) else ()


def _value(text: Any) -> Any:
    """What a string of debug.json stands for; None where that is no plain value."""
    try:
        written = str(text)
        return ast.literal_eval(written) if len(written) <= _LONGEST_SETTING else None
    except (ValueError, SyntaxError):
        return None


def _mirroring(axes: Sequence[int], dim: int | None) -> str | None:
    """Axes in words, so that two and three dimensions compare; None where that cannot be told."""
    if not axes:
        return "no axis"
    if dim is None:
        return None
    return "all axes" if len(axes) == dim else f"axes {', '.join(map(str, axes))} of {dim}"


def _references(validation: Path) -> ReferenceVoxels | None:
    document = _document(validation / SUMMARY_JSON)
    try:
        return {
            case_of_file(Path(entry["prediction_file"]).name): {
                label: int(metrics["n_ref"]) for label, metrics in entry["metrics"].items()
            }
            for entry in document["metric_per_case"]
        }
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None


def _scored(
    validation: Path, ending: str | None, references: ReferenceVoxels | None
) -> frozenset[str] | None:
    files = file_names(validation, ending) if ending is not None else []
    if files and ending is not None:
        return frozenset(name.removesuffix(ending) for name in files)
    return None if references is None else frozenset(references)
