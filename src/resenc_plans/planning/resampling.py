"""How planned configurations resample: nnU-Net's functions and their settings, in words."""

from typing import Any, Literal, get_args

from resenc_plans.errors import PlanningError, expect_type
from resenc_plans.planning.spacing import ANISOTROPY_THRESHOLD
from resenc_plans.words import suggestion

Resampling = Literal["spline", "torch", "torch-separate-z", "none"]
"""By splines, as nnU-Net's default; linearly with torch, all axes together or a coarse one apart;
or not at all, so that every image keeps its own grid."""

RESAMPLINGS: tuple[Resampling, ...] = get_args(Resampling)

_KINDS = ("data", "seg", "probabilities")
_SPLINE_ORDERS = {"data": 3, "seg": 1, "probabilities": 1}
_FUNCTIONS: dict[Resampling, str] = {
    "spline": "resample_data_or_seg_to_shape",
    "torch": "resample_torch_fornnunet",
    "torch-separate-z": "resample_torch_fornnunet",
    "none": "no_resampling_hack",
}


def checked_resampling(resampling: object) -> Resampling:
    """A kind of resampling that is known.

    Raises
    ------
    PlanningError
        It is not; the message lists all and suggests the nearest.
    UsageError
        It is no name.
    """
    expect_type(resampling, str, "resampling", "a name, such as 'torch'")
    for known in RESAMPLINGS:
        if known == resampling:
            return known
    raise PlanningError(
        f"There is no resampling {resampling!r}. It is one of {', '.join(RESAMPLINGS)}."
        f"{suggestion(str(resampling), RESAMPLINGS)}"
    )


def resampling_document(resampling: Resampling) -> dict[str, Any]:
    """The keys of a configuration that say how it resamples, in nnU-Net's order.

    >>> list(resampling_document("none").values())
    ['no_resampling_hack', 'no_resampling_hack', {}, {}, 'no_resampling_hack', {}]
    """
    function = _FUNCTIONS[resampling]
    settings = {kind: _settings(resampling, kind) for kind in _KINDS}
    return {
        "resampling_fn_data": function,
        "resampling_fn_seg": function,
        "resampling_fn_data_kwargs": settings["data"],
        "resampling_fn_seg_kwargs": settings["seg"],
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": settings["probabilities"],
    }


def _settings(resampling: Resampling, kind: str) -> dict[str, Any]:
    if resampling == "none":
        return {}
    is_seg = {"is_seg": kind == "seg"}
    if resampling == "spline":
        order = {"order": _SPLINE_ORDERS[kind], "order_z": 0}
        return is_seg | order | {"force_separate_z": None}
    if resampling == "torch":
        return is_seg | {"force_separate_z": False, "memefficient_seg_resampling": False}
    return is_seg | {
        "force_separate_z": None,
        "memefficient_seg_resampling": False,
        "separate_z_anisotropy_threshold": ANISOTROPY_THRESHOLD,
    }
