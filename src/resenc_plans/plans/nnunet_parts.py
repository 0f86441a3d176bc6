"""The parts of nnU-Net that plans name, beside networks: which there are, without their code.

A name that is not among them may be that of an nnU-Net which somebody has extended. Such plans are
read and kept, but nothing is preprocessed or predicted with them.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from resenc_plans.datasets.images.readers import READERS
from resenc_plans.errors import ConfigurationError, shown
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.header import PlansHeader
from resenc_plans.words import meant

Purpose = Literal["data", "seg", "probabilities"]
"""What a resampling function is for: images, segmentations, predictions."""

PURPOSES: tuple[Purpose, ...] = ("data", "seg", "probabilities")

PREPROCESSORS = ("DefaultPreprocessor",)
LABEL_MANAGERS = ("LabelManager",)
CT_NORMALIZATION = "CTNormalization"
"""The one that uses the intensities of the dataset's foreground."""
NORMALIZATIONS = (
    CT_NORMALIZATION,
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
    "ZScoreNormalization",
)

ANISOTROPY_THRESHOLD = 3
"""A largest spacing of more than this many times the smallest makes an axis a coarse one."""

MAX_SPLINE_ORDER = 5

_OF_TORCH = ("is_seg", "num_threads", "device", "memefficient_seg_resampling")
RESAMPLING_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "resample_data_or_seg_to_shape": (
        *("is_seg", "order", "order_z", "force_separate_z"),
        "separate_z_anisotropy_threshold",
    ),
    "resample_torch_fornnunet": (
        *_OF_TORCH,
        *("force_separate_z", "separate_z_anisotropy_threshold", "mode", "aniso_axis_mode"),
    ),
    "resample_torch_simple": _OF_TORCH,
    "no_resampling_hack": (),
}
"""The resampling functions, and the arguments that plans may give them."""


def name_fault(name: str, known: Iterable[str]) -> str | None:
    """What is wrong with the name of a part, as the end of a sentence; None for a known one.

    >>> name_fault("LabelManger", LABEL_MANAGERS)
    "is 'LabelManger' (did you mean LabelManager?), none of nnU-Net's: LabelManager."
    """
    names = sorted(known)
    if name in names:
        return None
    return f"is {name!r}{meant(name, names)}, none of nnU-Net's: {', '.join(names)}."


def reader_of(plans: PlansHeader) -> str | None:
    """The reader of images that plans name; None where they do not say.

    Raises
    ------
    ConfigurationError
        It is none of nnU-Net's.
    """
    name = plans.image_reader_writer
    fault = None if name is None else name_fault(name, READERS)
    if fault is not None:
        raise ConfigurationError(f"{plans.source}: image_reader_writer {fault}")
    return name


def refuse_other_parts(config: ResolvedConfiguration) -> None:
    """Refuse a preprocessor or a label manager that is none of nnU-Net's.

    Raises
    ------
    ConfigurationError
        The message names the key, and the nearest name.
    """
    fault = name_fault(config.preprocessor_name, PREPROCESSORS)
    if fault is not None:
        raise config.error(f"preprocessor_name {fault}")
    manager = config.plans.label_manager
    fault = None if manager is None else name_fault(manager, LABEL_MANAGERS)
    if fault is not None:
        raise ConfigurationError(f"{config.plans.source}: label_manager {fault}")


def argument_faults(config: ResolvedConfiguration, purpose: Purpose) -> Iterator[tuple[str, str]]:
    """Arguments with which a resampling function does not do its work: the key, and what is wrong.

    nnU-Net calls the function with all of them, so one that it does not know ends the run. What an
    unknown function takes is not known.
    """
    function = getattr(config, f"resampling_fn_{purpose}")
    if function not in RESAMPLING_ARGUMENTS:
        return
    known, inside = RESAMPLING_ARGUMENTS[function], f"resampling_fn_{purpose}_kwargs"
    values = getattr(config, inside).model_dump(exclude_unset=True)
    for key in values:
        if key not in known:
            yield (
                f"{inside}.{key}",
                f"is no argument of {function}{meant(key, known)}. It takes "
                f"{', '.join(known) or 'none'}.",
            )
    for key in [key for key in ("order", "order_z") if key in known and key in values]:
        if values[key] is None or not 0 <= values[key] <= MAX_SPLINE_ORDER:
            yield (
                f"{inside}.{key}",
                f"must be from 0 to {MAX_SPLINE_ORDER}, not {shown(values[key])}.",
            )
    threshold = values.get("separate_z_anisotropy_threshold", ANISOTROPY_THRESHOLD)
    if threshold != ANISOTROPY_THRESHOLD:
        yield (
            f"{inside}.separate_z_anisotropy_threshold",
            f"is {shown(threshold)}, but only nnU-Net's {ANISOTROPY_THRESHOLD} is supported.",
        )
    is_seg = purpose == "seg"
    if "is_seg" in known and bool(values.get("is_seg")) is not is_seg:
        state = "is" if "is_seg" in values else "is missing, which stands for"
        consequence = (
            "labels would be interpolated" if is_seg else "values would be taken for labels"
        )
        yield (
            f"{inside}.is_seg",
            f"{state} {str(not is_seg).lower()}: {consequence}. Write {str(is_seg).lower()}.",
        )
