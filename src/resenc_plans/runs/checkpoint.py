"""nnU-Net's checkpoint format, read without running code from it, written whole or not at all.

A checkpoint is a zip archive with a pickle, and a pickle can name any function to be called. Only
tensors, plain containers, numbers and numpy's scalars and arrays are let through; a file that names
anything else is refused.
"""

import math
import os
import pickle
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from resenc_plans.errors import FileError, ModelError, first_line
from resenc_plans.files import check_regular, is_zip, replace_file
from resenc_plans.safe_pickle import NUMPY_GLOBALS

OWN_KEY = "resenc_plans"
"""The key of a checkpoint that holds what nnU-Net does not know."""


@dataclass(frozen=True)
class Checkpoint:
    """What nnU-Net's trainer saves, under its keys.

    `network_weights` is a state dict; `logging` holds the curves, one list per quantity;
    `init_args` holds plans, configuration, fold and dataset.json as JSON objects; `best_ema` (in
    the file `_best_ema`) is the best smoothed pseudo Dice so far. Keys that nnU-Net does not know
    are in `extra`; it ignores them.
    """

    network_weights: Mapping[str, Tensor]
    optimizer_state: Mapping[str, Any] | None
    grad_scaler_state: Mapping[str, Any] | None
    logging: Mapping[str, Any]
    best_ema: float | None
    current_epoch: int
    init_args: Mapping[str, Any]
    trainer_name: str
    inference_allowed_mirroring_axes: tuple[int, ...] | None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def progress(self) -> tuple[float, int, int]:
        """When the run began, epochs, and batches of the next one: the greater, the further.

        Of two runs in one folder, which nnU-Net leaves, the later one counts. A checkpoint of the
        first epoch does not say when it began.
        """
        starts, own = self.logging.get("epoch_start_timestamps"), self.extra.get(OWN_KEY)
        begun = starts[0] if isinstance(starts, list) and starts else -math.inf
        iteration = own.get("iteration", 0) if isinstance(own, Mapping) else 0
        return float(begun), int(self.current_epoch), int(iteration)


_KEYS = {
    "network_weights": "network_weights",
    "optimizer_state": "optimizer_state",
    "grad_scaler_state": "grad_scaler_state",
    "logging": "logging",
    "_best_ema": "best_ema",
    "current_epoch": "current_epoch",
    "init_args": "init_args",
    "trainer_name": "trainer_name",
    "inference_allowed_mirroring_axes": "inference_allowed_mirroring_axes",
}
"""Keys of the file in nnU-Net's order, and the fields that hold them."""


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(weight, Tensor) and weight.layout == torch.strided
        for name, weight in value.items()
    )


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "network_weights": _is_weights,
    "optimizer_state": lambda value: value is None or isinstance(value, Mapping),
    "grad_scaler_state": lambda value: value is None or isinstance(value, Mapping),
    "logging": lambda value: isinstance(value, Mapping),
    "_best_ema": lambda value: value is None or isinstance(value, int | float | np.number),
    "current_epoch": lambda value: _is_integer(value) and 0 <= value < MAX_EPOCH,
    "init_args": lambda value: isinstance(value, Mapping),
    "inference_allowed_mirroring_axes": lambda value: (
        value is None
        or (
            isinstance(value, list | tuple)
            and all(_is_integer(axis) and 0 <= axis < 3 for axis in value)
        )
    ),
}
"""Of keys of the file: whether a value is of the kind that nnU-Net saves."""

MAX_EPOCH = 1_000_000_000

_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile put before a parameter's name."""


_ALLOWED_GLOBALS: list[Any] = [
    (value, f"{module}.{name}") for (module, name), value in NUMPY_GLOBALS.items()
]
"""Beside torch's own: NumPy's numbers and arrays, in the form of `torch.serialization`."""


def load_checkpoint(
    path: str | os.PathLike[str], device: str | torch.device = "cpu", *, mapped: bool = False
) -> Checkpoint:
    """Read a checkpoint of nnU-Net or of ours, its tensors onto `device`.

    Where it is `mapped`, tensors are read when they are used.

    Raises
    ------
    ModelError
        There is no such file, it is damaged, it is not a checkpoint of nnU-Net 2, or it names
        functions or classes that loading would call; these are listed.
    """
    path = Path(path)
    try:
        check_regular(path)
    except FileError as error:
        raise ModelError(str(error)) from None
    if not is_zip(path):
        raise ModelError(f"{path}: damaged, or not a checkpoint (not a zip archive).")
    try:
        with safe_globals(_ALLOWED_GLOBALS):
            document = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        names = _refused(path)
        if not names:
            raise ModelError(
                f"{path}: damaged, or not a checkpoint ({first_line(error)})."
            ) from None
        raise ModelError(
            f"{path}: not loaded, since it would call {', '.join(names)}. A checkpoint holds "
            "tensors, numbers and plain containers only; do not trust this file."
        ) from None
    except Exception as error:  # torch's reader raises anything on damaged bytes
        raise ModelError(f"{path}: damaged, or not a checkpoint ({first_line(error)}).") from None
    missing = [key for key in _KEYS if key not in document] if isinstance(document, dict) else []
    if not isinstance(document, dict) or missing:
        raise ModelError(
            f"{path}: not a checkpoint of nnU-Net 2"
            + (f", it has no {', '.join(missing)}." if missing else ".")
        )
    wrong = [key for key, fits in _KINDS.items() if not fits(document[key])]
    if wrong:
        raise ModelError(
            f"{path}: not a checkpoint of nnU-Net 2: the kind of {', '.join(wrong)} is not what it "
            "saves."
        )
    fields = {attribute: document.pop(key) for key, attribute in _KEYS.items()}
    axes = fields["inference_allowed_mirroring_axes"]
    fields["inference_allowed_mirroring_axes"] = None if axes is None else tuple(axes)
    best = fields["best_ema"]
    fields["best_ema"] = None if best is None else float(best)
    return Checkpoint(**fields, extra=document)


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint that nnU-Net reads; the old file stays until the new one is proven whole.

    Raises
    ------
    FileError
        The file cannot be written; what was there before is unchanged.
    """
    document = {key: getattr(checkpoint, attribute) for key, attribute in _KEYS.items()}
    with replace_file(path) as stream:
        try:
            torch.save(document | dict(checkpoint.extra), stream)
        except RuntimeError as error:
            raise FileError(f"{path}: not written: {first_line(error)}.") from error
        stream.flush()
        with zipfile.ZipFile(stream.name) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise FileError(f"{path}: not written, {damaged} came out damaged. Check the disk.")


@runtime_checkable
class KnowsItsVariants(Protocol):
    """A network that recognises the weights of its other variants."""

    def other_variant(self, names: Collection[str]) -> str | None:
        """Of which variant weights of these names are, as a clause; None where it is not known."""


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put a checkpoint's weights into a network, which has to have exactly these parameters.

    Prefixes that distributed training and compilation add to names do not matter. `source` names
    the checkpoint in messages.

    Raises
    ------
    ModelError
        Names or shapes differ: the checkpoint belongs to another architecture. Or weights are of
        another kind, such as complex numbers, or not finite.
    """
    bare = bare_weights(weights)
    own = network.state_dict()
    missing = [name for name in own if name not in bare]
    foreign = [name for name in bare if name not in own]
    reshaped = [
        f"{name} ({_shape(value)}, here {_shape(own[name])})"
        for name, value in bare.items()
        if name in own and value.shape != own[name].shape
    ]
    faults = [
        f"{what} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if names[3:] else "")
        for what, names in (
            ("it lacks", missing),
            ("it has in addition", foreign),
            ("of another shape are", reshaped),
        )
        if names
    ]
    if faults:
        if isinstance(network, KnowsItsVariants):
            faults[:0] = filter(None, [network.other_variant(bare)])
        raise ModelError(
            f"{source}: belongs to another architecture than the configuration's: "
            f"{'; '.join(faults)}. Use the plans that it was trained with."
        )
    for name, value in bare.items():
        if not _is_of_kind(value, own[name]):
            raise ModelError(
                f"{source}: {name} holds {_type(value)}, where the network has {_type(own[name])}. "
                "Do not trust this file."
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ModelError(
                f"{source}: {name} has weights that are not finite, so the network predicts "
                "nothing. Did the training diverge? Use an earlier checkpoint."
            )
    network.load_state_dict(bare)


def _is_of_kind(value: Tensor, own: Tensor) -> bool:
    """Whether numbers can stand in for the network's: both fractions, or both integers or truth."""
    if own.is_floating_point():
        return value.is_floating_point()
    return value.dtype == own.dtype


def bare_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights without the prefixes that distributed training and compilation add to names."""
    return {_unwrapped(name): value for name, value in weights.items()}


def _unwrapped(name: str) -> str:
    for prefix in _WRAPPERS:
        name = name.removeprefix(prefix)
    return name


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "one number"


def _refused(path: Path) -> list[str]:
    try:
        with safe_globals(_ALLOWED_GLOBALS):
            return sorted(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # as in loading
        return []
