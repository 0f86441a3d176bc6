"""A dataset's fingerprint: the few numbers about its cases from which plans are made."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from resenc_plans.datasets.bounds import MAX_EDGE, MAX_SPACING, MIN_SPACING
from resenc_plans.datasets.checked_model import CheckedModel
from resenc_plans.datasets.document import Document
from resenc_plans.datasets.finding import Finding, by_rule
from resenc_plans.datasets.model_faults import sentences
from resenc_plans.errors import FingerprintError, ResencPlansError
from resenc_plans.files import read_json, write_json
from resenc_plans.reprs import card, listed, numbers, rounded
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.datasets.dataset import Dataset

logger = logging.getLogger(__name__)

Number = Annotated[float, Field(strict=True)]
Millimetres = Annotated[float, Field(strict=True, ge=MIN_SPACING, le=MAX_SPACING)]
Voxels = Annotated[int, Field(strict=True, gt=0, le=MAX_EDGE)]
Fraction = Annotated[float, Field(strict=True, gt=0, le=1)]


class IntensityProperties(CheckedModel):
    """Statistics of one channel over sampled foreground voxels; NaN without foreground."""

    model_config = ConfigDict(extra="allow", title="Intensities of a channel")

    max: Number
    mean: Number
    median: Number
    min: Number
    percentile_00_5: Number = Field(description="The 0.5th percentile.")
    percentile_99_5: Number = Field(description="The 99.5th percentile.")
    std: Number


class Fingerprint(Document):
    """nnU-Net's dataset_fingerprint.json; axes are in the order of the arrays, (z, y, x)."""

    model_config = ConfigDict(title="nnU-Net dataset fingerprint")

    spacings: tuple[tuple[Millimetres, Millimetres, Millimetres], ...] = Field(
        min_length=1,
        description="Voxel size in mm of each case; 999 for the missing axis of 2D images.",
        examples=[[[1.0, 0.7, 0.7]]],
    )
    shapes_after_crop: tuple[tuple[Voxels, Voxels, Voxels], ...] = Field(
        min_length=1,
        description="Shape in voxels of each case, cropped to its nonzero region.",
        examples=[[[120, 512, 512]]],
    )
    foreground_intensity_properties_per_channel: Mapping[str, IntensityProperties] = Field(
        description="Channel number to statistics of its foreground intensities."
    )
    median_relative_size_after_cropping: Fraction = Field(
        description="Median over the cases of the share of voxels that cropping leaves."
    )

    _error: ClassVar[type[ResencPlansError]] = FingerprintError

    @model_validator(mode="after")
    def _one_shape_per_spacing(self) -> Self:
        if len(self.spacings) != len(self.shapes_after_crop):
            raise ValueError(
                f"spacings has {counted(len(self.spacings), 'case')}, but shapes_after_crop has "
                f"{len(self.shapes_after_crop)}"
            )
        return self

    @classmethod
    def extract(
        cls,
        dataset: "Dataset",
        executor: Executor | None = None,
        on_case: Callable[[str], None] | None = None,
        on_finding: Callable[[Finding], None] | None = None,
    ) -> Self:
        """Compute the fingerprint of a dataset from its images, and check what is read for it.

        Parameters
        ----------
        dataset
            The dataset whose images are read.
        executor
            Where the cases are read; by default threads in this process.
        on_case
            Called in this thread with the name of each finished case.
        on_finding
            Called in the end with each finding that `verify_dataset` would return. Without it, they
            are logged as a warning, those of many cases as one.

        Raises
        ------
        FingerprintError
            The dataset has no cases, or some are damaged: the message lists every one of them.
        """
        from resenc_plans.datasets.extraction import extract_fingerprint

        extraction = extract_fingerprint(dataset, executor, on_case)
        if on_finding is not None:
            for finding in extraction.findings:
                on_finding(finding)
        elif extraction.findings:
            lines = "".join(
                f"\n  {line}" for line in by_rule(extraction.findings, len(dataset.cases))
            )
            logger.warning("%s: the dataset has faults:%s", dataset.folder, lines)
        return cls.from_dict(extraction.document, dataset.name)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a dataset_fingerprint.json.

        Raises
        ------
        FileError
            The file cannot be read or is not JSON.
        FingerprintError
            A key is missing or has an impossible value.
        """
        return cls.from_dict(read_json(path), source=os.fspath(path))

    @classmethod
    def from_dict(
        cls, document: Mapping[str, Any], source: str = "dataset_fingerprint.json"
    ) -> Self:
        """Check a document, which is kept unchanged; `source` names it in error messages.

        Raises
        ------
        FingerprintError
            A key is missing or has an impossible value.
        """
        if not isinstance(document, Mapping):
            raise FingerprintError(
                f"{source}: a fingerprint is a JSON object, this is a {type(document).__name__}."
            )
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise FingerprintError(f"{source}: {_describe(error)}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fingerprint as nnU-Net writes it, whole or not at all."""
        write_json(path, self._document)

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the content, whatever the formatting and key order."""
        canonical = json.dumps(self._document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def __repr__(self) -> str:
        channels = self.foreground_intensity_properties_per_channel
        means = (
            f"{key}: {rounded(c.mean, 4)} ({rounded(c.std, 4)})" for key, c in channels.items()
        )
        return card(
            f"Fingerprint of {counted(len(self.spacings), 'case')}",
            {
                "median shape": f"{numbers(_median(self.shapes_after_crop))} voxels after cropping",
                "median spacing": f"{numbers(_median(self.spacings), digits=4)} mm (z, y, x)",
                "left by cropping": f"{self.median_relative_size_after_cropping:.3g} of the voxels",
                "intensity (SD)": listed(means),
            },
        )


def _median(triples: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(median(values) for values in zip(*triples, strict=True))


def _describe(error: ValidationError) -> str:
    """The first few faults of a document, each with its key."""
    faults = sentences(error)
    more = f"; and {len(faults) - 3} more faults" if len(faults) > 3 else ""
    return f"{'; '.join(faults[:3])}{more}. Extract the fingerprint again."
