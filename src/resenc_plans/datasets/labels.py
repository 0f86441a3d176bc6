"""Labels, regions and the ignore label of a dataset."""

from dataclasses import dataclass
from typing import Self

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import DatasetError
from resenc_plans.words import counted

IGNORE = "ignore"
BACKGROUND = "background"

Region = int | tuple[int, ...]


@dataclass(frozen=True)
class Labels:
    """The values of a segmentation and their meaning, as nnU-Net's `LabelManager` has them."""

    all_labels: tuple[int, ...]
    """Every label value in rising order, background included, the ignore label not."""
    regions: tuple[Region, ...] | None
    """Foreground regions in the order of dataset.json; None without regions."""
    regions_class_order: tuple[int, ...] | None
    """The label value that each region paints, later ones over earlier; None without regions."""
    ignore_label: int | None
    """The value of voxels without annotation."""

    @classmethod
    def from_dataset(cls, dataset_json: DatasetJson) -> Self:
        """Interpret the labels of a dataset.json.

        Raises
        ------
        DatasetError
            There is no background with value 0, the ignore label is not the highest value, or
            regions_class_order is missing, or its length is not the number of regions.
        """
        source = dataset_json.source
        labels = dict(dataset_json.labels)
        _check_background(labels, source)
        ignore = labels.pop(IGNORE, None)
        if isinstance(ignore, tuple):
            raise DatasetError(
                f"{source}, labels.{IGNORE}: must be one integer, not the region {ignore}."
            )
        values = [v if isinstance(v, tuple) else (v,) for v in labels.values()]
        all_labels = tuple(sorted({v for region in values for v in region}))
        if ignore is not None and ignore != all_labels[-1] + 1:
            raise DatasetError(
                f"{source}, labels.{IGNORE}: is {ignore}, but must be the highest label value "
                f"plus one, {all_labels[-1] + 1}."
            )
        regions = None
        if any(len(region) > 1 for region in values):
            regions = tuple(v for v in labels.values() if not _is_background(v))
            _check_class_order(dataset_json.regions_class_order, regions, source)
        return cls(
            all_labels=all_labels,
            regions=regions,
            regions_class_order=dataset_json.regions_class_order if regions else None,
            ignore_label=ignore,
        )

    @property
    def has_regions(self) -> bool:
        """Whether outputs are overlapping regions (sigmoid) and not exclusive labels (softmax)."""
        return self.regions is not None

    @property
    def foreground_labels(self) -> tuple[int, ...]:
        """Label values without background and ignore label."""
        return tuple(label for label in self.all_labels if label != 0)

    @property
    def num_heads(self) -> int:
        """Number of network outputs: one per region, or one per label with background."""
        return len(self.all_labels) if self.regions is None else len(self.regions)


def _check_background(labels: dict[str, Region], source: str) -> None:
    if BACKGROUND not in labels:
        raise DatasetError(f'{source}, labels: "{BACKGROUND}": 0 is missing. Add it.')
    if labels[BACKGROUND] != 0:
        raise DatasetError(
            f"{source}, labels.{BACKGROUND}: is {labels[BACKGROUND]}, but must be 0."
        )


def _is_background(region: Region) -> bool:
    return set(region) == {0} if isinstance(region, tuple) else region == 0


def _check_class_order(
    order: tuple[int, ...] | None, regions: tuple[Region, ...], source: str
) -> None:
    if order is None:
        raise DatasetError(
            f"{source}: labels has regions (lists of values), so the key regions_class_order must "
            f"give the label value that each of the {counted(len(regions), 'region')} paints."
        )
    if len(order) != len(regions):
        raise DatasetError(
            f"{source}, regions_class_order: has {counted(len(order), 'value')}, but labels has "
            f"{counted(len(regions), 'foreground region')}. Give one value per region."
        )
