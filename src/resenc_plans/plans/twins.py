"""Configurations of other plans that train the same network in the same way."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resenc_plans.errors import FileError, PlansError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.diff import FREE_KEYS
from resenc_plans.plans.plans import Plans, plans_files


@dataclass(frozen=True)
class Twin:
    """Configurations that equal those of the same names in other plans."""

    configurations: tuple[str, ...]
    plans: str

    def __str__(self) -> str:
        names = ", ".join(self.configurations)
        one = len(self.configurations) == 1
        return (
            f"{names} {'equals that' if one else 'equal those'} of {self.plans}: trained again, "
            f"{'it gives' if one else 'they give'} the same {'model' if one else 'models'}."
        )


def twins(plans: Plans, path: Path) -> Iterator[Twin]:
    """The twins of plans that are to be written to `path`, in other files of its folder.

    Configurations are equal if preprocessing and training find the same in them, whatever they and
    their data are called.
    """
    own = _signatures(plans)
    for file in plans_files(path.parent):
        if file.name == path.name:
            continue
        try:
            other = Plans.load(file)
        except (FileError, PlansError):
            continue
        theirs = _signatures(other)
        equal = tuple(name for name, signature in own.items() if theirs.get(name) == signature)
        if equal:
            yield Twin(equal, other.name)


def _signatures(plans: Plans) -> dict[str, Any]:
    signatures = {}
    for name in plans.configurations:
        try:
            signatures[name] = _signature(plans, plans.resolve(name))
        except PlansError:
            continue
    return signatures


def _signature(plans: Plans, config: ResolvedConfiguration) -> Any:
    values = {key: value for key, value in config.to_dict().items() if key not in FREE_KEYS}
    header = config.plans
    shared = header.transpose_forward, header.image_reader_writer, header.intensities
    previous = config.previous_stage
    before = None if previous is None else _signature(plans, plans.resolve(previous))
    return values, shared, before
