"""study.json: which methods are compared, on which datasets, folds and seeds, and by what."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from resenc_plans.datasets.bounds import MAX_SEED
from resenc_plans.datasets.checked_model import CheckedModel
from resenc_plans.datasets.model_faults import fault_texts, none_of, refused_inside, sentences
from resenc_plans.errors import PlanningError, ResencPlansError, StudyError, UsageError, shown
from resenc_plans.evaluation.known_metrics import KNOWN_METRICS, find_metrics
from resenc_plans.files import fault_of_part, read_json
from resenc_plans.planning.presets import find_preset, presets
from resenc_plans.plans.checks.keys import meant_key
from resenc_plans.plans.schema import DIALECT
from resenc_plans.plans.training_settings import TrainingSettings, in_words
from resenc_plans.study.scores import Missing, Undefined
from resenc_plans.words import meant

STUDY_JSON = "study.json"
OF_VOXELS = ("Dice", "IoU")
"""The metrics that every validation has; others are measured for the study."""

_METHOD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+-]*(_[A-Za-z0-9 .+-]+)*")
_SOURCES = ("preset", "baseline", "plans", "predictions")
_MAX_NAMED = 1000

Positive = Annotated[float, Field(gt=0, le=1e9)]
Fold = Annotated[int, Field(ge=0, le=_MAX_NAMED)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


def _metric_key(name: str) -> str:
    try:
        return find_metrics([name])[0].key
    except UsageError:
        raise none_of(KNOWN_METRICS) from None


def _preset_name(name: str) -> str:
    try:
        find_preset(name)
    except PlanningError:
        raise none_of(preset.key for preset in presets()) from None
    return name


MetricName = Annotated[str, AfterValidator(_metric_key)]
PresetName = Annotated[str, AfterValidator(_preset_name)]


class _Part(CheckedModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    _error: ClassVar[type[ResencPlansError]] = StudyError


class StudyDataset(_Part):
    """A dataset of a study."""

    dataset: str = Field(min_length=1)
    """Its path, its name such as Dataset004_Hippocampus, or its id."""
    splits: str | None = None
    """A splits_final.json. null: that of the preprocessed dataset, else nnU-Net's five folds."""
    patients: str | None = None
    """The patient of each case, for the statistics: a JSON or CSV file, or a regular expression."""


class StudyMethod(_Part):
    """A method: where its plans come from, and what is changed of them; or its predictions."""

    preset: PresetName | None = None
    """Plans of this preset: M, L, XL, resenc or default (the original nnU-Net)."""
    gpu_memory_gb: Positive | None = None
    """With `preset`: the GPU memory target instead of the preset's own."""
    baseline: str | None = None
    """Plans of this baseline, such as mednext-l-k3."""
    plans: str | None = None
    """A plans file; {dataset} stands for the dataset's name."""
    predictions: str | None = None
    """A folder of predictions made elsewhere; {dataset} stands for the dataset's name."""
    configuration: str = "3d_fullres"
    """The configuration that is trained."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """What is changed of the configuration, as `derive` takes it."""
    network: str | None = None
    """The import path of a network of your own, called with input channels and output heads."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the training that are this method's own."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        named = [key for key in _SOURCES if getattr(self, key) is not None]
        if len(named) != 1:
            what = f"has {' and '.join(named)}" if named else "has none"
            raise ValueError(f"it {what}, one of {', '.join(_SOURCES)} is needed")
        if self.predictions is not None and self.model_fields_set - {"predictions"}:
            raise ValueError("predictions that exist take no other key")
        if self.gpu_memory_gb is not None and self.preset is None:
            raise ValueError("gpu_memory_gb needs a preset")
        return self

    @field_validator("changes")
    @classmethod
    def _are_no_slips(cls, values: dict[str, Any]) -> dict[str, Any]:
        slips = {key: meant_key(key) for key in values}
        texts = {key: f"is unknown (did you mean {one}?)" for key, one in slips.items() if one}
        if texts:
            raise refused_inside(texts)
        return values

    @field_validator("settings")
    @classmethod
    def _are_settings(cls, values: dict[str, Any]) -> dict[str, Any]:
        return _checked_settings(values)

    @property
    def is_trained(self) -> bool:
        """Whether the study trains it."""
        return self.predictions is None


class StudyBudget(_Part):
    """What the study may take. null: no limit."""

    gpu_hours: Positive | None = None
    """Of all trainings together."""
    gigabytes: Positive | None = None
    """Of GPU memory, of each training."""


class Bootstrap(_Part):
    """How intervals are drawn."""

    draws: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Of cases, or of patients."""
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Of intervals."""
    seed: Seed = 12345
    """Of the draws."""


class StudyFile(_Part):
    """A study: methods, each trained on every dataset, fold and seed, and compared."""

    name: str = "Comparison of methods"
    """The title of the report."""
    datasets: tuple[StudyDataset, ...] = Field(min_length=1, max_length=_MAX_NAMED)
    """The datasets."""
    methods: dict[str, StudyMethod] = Field(min_length=2, max_length=_MAX_NAMED)
    """The methods by name; the names are those of folders."""
    folds: tuple[Fold, ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
    """The folds of the cross-validation."""
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    """Each training is done with each of them."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Settings of all trainings, such as epochs: the same for every method."""
    metrics: tuple[MetricName, ...] = ("Dice",)
    """What methods are compared by."""
    primary: str | None = None
    """The metric that counts most. null: the first of `metrics`."""
    margin: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Differences of means of shares up to here do not matter."""
    missing: Missing = "omit"
    """Whether cases that a method lacks are left out, or count as 0."""
    undefined: Undefined = "omit"
    """Whether scores of labels that neither segmentation has are left out, or count as 1."""
    budget: StudyBudget = StudyBudget()
    """What the study may take."""
    bootstrap: Bootstrap = Bootstrap()
    """How intervals are drawn."""
    expected_spread: Positive = 0.05
    """The standard deviation of the differences of two methods in a case, until it is measured."""
    existing: tuple[str, ...] = ()
    """Folders of results, or models, in which finished runs are looked for, to be taken over."""

    @field_validator("datasets", mode="before")
    @classmethod
    def _from_names(cls, values: Any) -> Any:
        if not isinstance(values, list | tuple):
            return values
        return [{"dataset": one} if isinstance(one, str) else one for one in values]

    @field_validator("folds", "seeds")
    @classmethod
    def _are_distinct(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(values)) < len(values):
            raise ValueError("a number is named twice")
        return values

    @field_validator("training")
    @classmethod
    def _are_settings(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "seed" in values:
            raise ValueError("the seeds are those of `seeds`")
        return _checked_settings(values)

    @field_validator("methods")
    @classmethod
    def _have_names_of_folders(cls, values: dict[str, StudyMethod]) -> dict[str, StudyMethod]:
        for name in values:
            fault = fault_of_part(name)
            if fault is None and not _METHOD_NAME.fullmatch(name):
                fault = "letters, digits, blanks and . + - _ are allowed, one _ at a time"
            if fault is not None:
                raise ValueError(f"the method {name[:80]!r} cannot have this name: {fault}")
        folded = [name.lower() for name in values]
        if len(set(folded)) < len(folded):
            raise ValueError("two methods differ only in the case of letters")
        return values

    @field_validator("metrics")
    @classmethod
    def _are_distinct_metrics(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values))

    @model_validator(mode="after")
    def _primary_is_measured(self) -> Self:
        if not self.metrics:
            raise ValueError("metrics names none")
        if self.primary is not None and self.primary not in self.metrics:
            close = meant(self.primary, self.metrics) or meant(self.primary, KNOWN_METRICS)
            raise ValueError(f"primary {shown(self.primary)} is none of metrics{close}")
        return self

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a study.json.

        Raises
        ------
        FileError
            It cannot be read or is not JSON.
        StudyError
            A key is unknown, or a value is impossible; all are listed.
        """
        document = read_json(path)
        if isinstance(document, dict):
            document.pop("$schema", None)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            faults = "; ".join(sentences(error, cls))
            raise StudyError(f"{Path(path)}: not a study: {faults}.") from None

    @property
    def ordered_metrics(self) -> tuple[str, ...]:
        """The metrics, the primary one first."""
        first = self.primary or self.metrics[0]
        return (first, *(key for key in self.metrics if key != first))

    @property
    def measured_metrics(self) -> tuple[str, ...]:
        """Those that a validation does not have."""
        return tuple(key for key in self.metrics if key not in OF_VOXELS)

    def settings_of(self, method: str, seed: int) -> TrainingSettings:
        """The settings of a method's training.

        Raises
        ------
        StudyError
            They contradict each other, or leave no model that could be compared.
        """
        own = self.methods[method].settings
        try:
            settings = TrainingSettings.model_validate({**self.training, **own, "seed": seed})
        except ValidationError as error:
            raise StudyError(f"methods.{method}: settings: {in_words(error)}.") from None
        if settings.noise or not settings.save_checkpoints:
            key = "noise true" if settings.noise else "save_checkpoints false"
            by = f" (of the trainer {settings.trainer})" if settings.trainer else ""
            raise StudyError(
                f"methods.{method}: settings: {key}{by} leaves no model that could be compared. "
                "Leave it out."
            )
        return settings


def study_schema() -> dict[str, Any]:
    """The JSON Schema of study.json."""
    schema = StudyFile.model_json_schema()
    datasets = schema["properties"]["datasets"]
    datasets["items"] = {"anyOf": [{"type": "string"}, datasets["items"]]}
    schema["properties"]["$schema"] = {"type": "string", "description": "This schema."}
    return {"$schema": DIALECT, **schema}


def _checked_settings(values: dict[str, Any]) -> dict[str, Any]:
    try:
        TrainingSettings.model_validate(values)
    except ValidationError as error:
        raise refused_inside(fault_texts(error, TrainingSettings)) from None
    return values
