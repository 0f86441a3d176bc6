"""dataset.json: what a dataset says about itself."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AliasChoices,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
)

from resenc_plans.datasets.bounds import MAX_CASES, MAX_LABEL
from resenc_plans.datasets.checked_model import CheckedModel
from resenc_plans.datasets.document import Document
from resenc_plans.datasets.document_kind import DATASET, kind_of
from resenc_plans.datasets.model_faults import sentences
from resenc_plans.errors import DatasetError, ResencPlansError, shown
from resenc_plans.files import read_json
from resenc_plans.reprs import card, listed


def _label_value(value: Any) -> Any:
    """The integer, or the tuple of integers, that `value` stands for."""
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("a region needs at least one label value")
        return tuple(_integer(item) for item in value)
    return _integer(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError(f"a label value is an integer, not {shown(value)}")
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"a label value is an integer, not {shown(value)}") from None
    if isinstance(value, float) and number != value:
        raise ValueError(f"a label value is an integer, not {shown(value)}")
    if abs(number) > MAX_LABEL:
        raise ValueError(f"a label value is at most {MAX_LABEL}, not {shown(value)}")
    return number


LabelValue = Annotated[int | tuple[int, ...], BeforeValidator(_label_value)]


class CaseFiles(CheckedModel):
    """The files of one case, where dataset.json lists them itself."""

    model_config = ConfigDict(extra="allow", title="Files of a case")

    images: tuple[str, ...] = Field(
        min_length=1,
        description="One path per channel, in channel order, relative to the dataset's folder "
        "or absolute; environment variables are expanded.",
    )
    label: str = Field(description="Path of the reference segmentation.")


class DatasetJson(Document):
    """dataset.json, in nnU-Net v2's form; `to_dict` gives back the document as it was read."""

    model_config = ConfigDict(
        title="nnU-Net dataset.json",
        json_schema_extra={
            "examples": [
                {
                    "channel_names": {"0": "MRI"},
                    "labels": {"background": 0, "Anterior": 1, "Posterior": 2},
                    "numTraining": 200,
                    "file_ending": ".nii.gz",
                }
            ]
        },
    )

    channel_names: Mapping[str, str] = Field(
        validation_alias=AliasChoices("channel_names", "modality"),
        min_length=1,
        description='Channel number to name, in order; the name "CT" selects CT normalisation. '
        "Older files call it modality.",
        examples=[{"0": "T1", "1": "FLAIR"}],
    )
    labels: Mapping[str, LabelValue] = Field(
        description="Label name to value; a list of values makes a region. background is 0; "
        "ignore, if there, is the highest value.",
        examples=[{"background": 0, "whole tumor": [1, 2], "core": 2, "ignore": 3}],
    )
    file_ending: str = Field(
        min_length=1,
        description="Ending of all image and label files, with the dot.",
        examples=[".nii.gz"],
    )
    num_training: int | None = Field(
        None,
        ge=0,
        le=MAX_CASES,
        validation_alias="numTraining",
        description="Number of training cases.",
    )
    regions_class_order: tuple[int, ...] | None = Field(
        None,
        description="With regions: the label value that each region in turn paints on export.",
    )
    overwrite_image_reader_writer: str | None = Field(
        None,
        description="Class that reads the images, where the file ending must not decide.",
        examples=["SimpleITKIO"],
    )
    dataset: Mapping[str, CaseFiles] | None = Field(
        None, description="Case name to its files, instead of imagesTr and labelsTr."
    )

    _error: ClassVar[type[ResencPlansError]] = DatasetError
    _source: str = PrivateAttr("dataset.json")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a dataset.json.

        Raises
        ------
        FileError
            The file cannot be read or is not JSON.
        DatasetError
            A key is missing or has a value of the wrong kind.
        """
        return cls.from_dict(read_json(path), source=os.fspath(path))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], source: str = "dataset.json") -> Self:
        """Check a document; `source` names it in error messages.

        Raises
        ------
        DatasetError
            A key is missing or has a value of the wrong kind.
        """
        if not isinstance(document, Mapping):
            raise DatasetError(
                f"{source}: a dataset.json is a JSON object, this is a {type(document).__name__}."
            )
        fault = _fault_of_another_format(document)
        if fault:
            raise DatasetError(f"{source}: {fault}")
        try:
            model = cls.model_validate(document)
        except ValidationError as error:
            raise DatasetError(f"{source}: {'; '.join(sentences(error))}.") from None
        model._source = source
        return model

    @property
    def source(self) -> str:
        """Where the document came from, for error messages."""
        return self._source

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, in the order of the images' first axis."""
        return tuple(self.channel_names.values())

    def __repr__(self) -> str:
        return card(
            f"DatasetJson {self.source}",
            {
                "channels": listed(self.channels),
                "labels": listed(f"{name} {value}" for name, value in self.labels.items()),
                "file_ending": self.file_ending,
                "training cases": self.num_training,
            },
        )


def _fault_of_another_format(document: Mapping[str, Any]) -> str | None:
    """What to say about files that are no nnU-Net v2 dataset.json but look like one."""
    labels = document.get("labels")
    if isinstance(labels, Mapping) and "background" in labels.values():
        return (
            "labels maps numbers to names, which is the form of the Medical Segmentation Decathlon "
            'and of nnU-Net v1. Turn it round ("background": 0), give file_ending, '
            "and name the image files CASE_0000 and so on "
            "(`resenc-plans convert-msd` does all of it, `convert-old` for nnU-Net v1)."
        )
    kind = kind_of(document)
    return None if kind in (None, DATASET) else f"this is a {kind}, not a dataset.json."
