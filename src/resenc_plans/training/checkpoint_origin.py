"""Whether a checkpoint belongs to the run that wants to go on from it."""

from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import FileError, ResencPlansError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.runs.checkpoint import Checkpoint

if TYPE_CHECKING:
    from resenc_plans.training.trainer import Trainer

OWN_KEY = "resenc_plans"
"""The key of a checkpoint that holds what nnU-Net does not know."""

_OF_THE_DATA = (
    *("patch_size", "spacing", "normalization_schemes", "use_mask_for_norm"),
    *("batch_dice", "previous_stage"),
)
"""Fields of a configuration that a run cannot change on its way, beside the network. It can change
the batch size, and what only planning or prediction use."""


def check_origin(path: Path, checkpoint: Checkpoint, trainer: "Trainer") -> None:
    """Compare what a checkpoint says of its run with the run that is to go on.

    Raises
    ------
    FileError
        It is of another configuration or fold, or its plans describe another network, patch or
        data under the same name, its dataset has other labels, or its settings other batches.
    """
    arguments = checkpoint.init_args
    for key, mine in (("configuration", trainer.config.name), ("fold", trainer.fold)):
        theirs = arguments.get(key)
        if str(theirs) != str(mine):
            raise FileError(
                f"{path}: is of {key} {theirs}, not {mine}. Use --pretrained to start from its "
                "weights, or name the right one."
            )
    found = _differences(arguments, trainer)
    if found:
        raise FileError(
            f"{path}: was trained with another {trainer.config.name}: {'; '.join(found)}. Use the "
            "plans and the dataset that it was trained with, or --pretrained to start from its "
            "weights."
        )
    before = checkpoint.extra.get(OWN_KEY, {}).get("settings", {})
    now = trainer.settings.model_dump()
    for key in ("iterations", "seed"):
        if key in before and before[key] != now[key]:
            raise FileError(
                f"{path}: was trained with {key} {before[key]}, not {now[key]}. A run goes on with "
                "the settings that it began with."
            )


def _differences(arguments: Mapping[str, Any], trainer: "Trainer") -> list[str]:
    found = []
    plans, dataset = arguments.get("plans"), arguments.get("dataset_json")
    try:
        if isinstance(plans, Mapping):
            before = Plans.from_dict(dict(plans)).resolve(trainer.config.name)
            found += _changes(_decisive(before), _decisive(trainer.config))
        if isinstance(dataset, Mapping):
            labels = Labels.from_dataset(DatasetJson.from_dict(dict(dataset)))
            found += _changes(vars(labels), vars(trainer.dataset.labels))
    except ResencPlansError as error:
        found.append(f"what it says of itself is not usable ({error})")
    return found


def _decisive(config: ResolvedConfiguration) -> dict[str, Any]:
    architecture = config.architecture
    arguments = architecture.arch_kwargs
    return {
        **{key: getattr(config, key) for key in _OF_THE_DATA},
        "network": architecture.network_class_name.rpartition(".")[2],
        **(dict(arguments) if isinstance(arguments, Mapping) else arguments.model_dump()),
    }


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys((*before, *now))
    return [
        f"{key} {_shown(before.get(key))}, now {_shown(now.get(key))}"
        for key in keys
        if not _equal(before.get(key), now.get(key))
    ]


def _equal(before: Any, now: Any) -> bool:
    """Whether two values are the same, but for the last digits of numbers and kinds of lists."""
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(map(_equal, before, now))
    if isinstance(before, float) and isinstance(now, int | float):
        return isclose(before, now, rel_tol=1e-6)
    return bool(before == now)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple) and value and not isinstance(value[0], str | list | tuple):
        return "x".join(f"{part:.6g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)
