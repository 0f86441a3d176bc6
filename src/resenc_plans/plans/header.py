"""What a plans file says for all of its configurations, as a value that cannot change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.fingerprint import IntensityProperties
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError, PlansError
from resenc_plans.folders import DATASET_JSON
from resenc_plans.plans.frozen import FrozenDict, thaw
from resenc_plans.plans.legacy import INTENSITIES


@dataclass(frozen=True)
class PlansHeader:
    """The plans of a resolved configuration, as they were when it was resolved.

    Headers are equal if they say the same, wherever they come from and whatever other
    configurations stand beside them.
    """

    name: str
    """`plans_name`, or the file's stem where the file does not say."""
    dataset_name: str | None
    image_reader_writer: str | None
    label_manager: str | None
    transpose_forward: tuple[int, ...]
    """Order of the image's axes in the plans; (0, 1, 2) where the file does not say."""
    original_median_shape_after_transp: tuple[int | float, ...] | None
    """Median shape of the dataset in voxels, axes transposed."""
    intensities: FrozenDict | None
    """Intensity statistics by channel number, as written; see `intensity_properties`."""
    source: str = field(compare=False)
    """What messages call the plans: their file, if they have one."""
    path: Path | None = field(compare=False)
    """The file that they were loaded from or saved to last; None before either."""
    _document: Mapping[str, Any] = field(compare=False, repr=False)

    @cached_property
    def document(self) -> FrozenDict:
        """The whole file."""
        return FrozenDict(self._document)

    @property
    def folder(self) -> Path:
        """The folder of the plans file, where the dataset's stored cases lie too.

        Raises
        ------
        PlansError
            The plans were neither loaded from a file nor saved.
        """
        if self.path is None:
            raise PlansError(
                f"{self.source}: these plans are in no file, so where the dataset's preprocessed "
                "cases are is unknown. Save the plans into the folder of the preprocessed dataset."
            )
        return self.path.parent

    @property
    def intensity_properties(self) -> tuple[IntensityProperties, ...]:
        """Foreground intensity statistics, one per channel; the old key's name counts too.

        Raises
        ------
        PlansError
            The file has none, or a key is not a channel number.
        """
        if self.intensities is None:
            raise PlansError(f"{self.source}: has no {INTENSITIES}.")
        for key in self.intensities:
            if not key.isdigit():
                raise PlansError(
                    f"{self.source}: {INTENSITIES}: the key {key!r} is not a channel number."
                )
        return tuple(
            IntensityProperties.model_validate(thaw(self.intensities[key]))
            for key in sorted(self.intensities, key=int)
        )

    def dataset(self) -> DatasetJson | None:
        """The dataset.json beside the plans, None where there is none.

        Raises
        ------
        DatasetError, FileError
            It cannot be used.
        """
        path = None if self.path is None else self.path.parent / DATASET_JSON
        return DatasetJson.load(path) if path is not None and path.is_file() else None

    def labels(self) -> Labels:
        """The labels that the dataset.json beside the plans names.

        Raises
        ------
        PlansError
            The plans were neither loaded from a file nor saved.
        DatasetError
            There is no dataset.json beside them, or its labels contradict each other.
        """
        dataset = self.dataset() if self.folder else None
        if dataset is None:
            raise DatasetError(
                f"{self.source}: has no {DATASET_JSON} beside it, so the number of labels is not "
                "known."
            )
        return Labels.from_dataset(dataset)

    def to_dict(self) -> dict[str, Any]:
        """The whole file as JSON."""
        return dict(thaw(self._document))
