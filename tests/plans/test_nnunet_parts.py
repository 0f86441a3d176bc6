import re
from typing import Any

import pytest

from resenc_plans.plans.nnunet_parts import argument_faults
from tests.preprocessing.datasets import plan

SPLINES = "resample_data_or_seg_to_shape"


@pytest.mark.parametrize(
    ("purpose", "function", "settings", "key", "words"),
    [
        ("data", SPLINES, {"ordr": 3}, "ordr", "did you mean order"),
        ("data", SPLINES, {"num_threads": 3}, "num_threads", "It takes is_seg, order"),
        ("data", SPLINES, {"order": 6}, "order", "must be from 0 to 5, not 6"),
        ("data", SPLINES, {"order_z": None}, "order_z", "must be from 0 to 5, not None"),
        ("data", SPLINES, {"is_seg": True}, "is_seg", "is true: .* Write false"),
        ("probabilities", SPLINES, {"is_seg": True}, "is_seg", "Write false"),
        ("seg", SPLINES, {"is_seg": False}, "is_seg", "is false: labels would be interpolated"),
        ("seg", SPLINES, {}, "is_seg", "is missing, which stands for false"),
        (
            "data",
            "resample_torch_fornnunet",
            {"separate_z_anisotropy_threshold": 4},
            "separate_z_anisotropy_threshold",
            "only nnU-Net's 3 is supported",
        ),
        ("seg", "no_resampling_hack", {"is_seg": True}, "is_seg", "It takes none"),
    ],
)
def test_arguments_that_spoil_the_resampling_are_named(
    purpose: Any, function: str, settings: dict[str, Any], key: str, words: str
) -> None:
    name = f"resampling_fn_{purpose}"
    changes = {name: function, f"{name}_kwargs": settings}
    [(place, fault)] = argument_faults(plan(**changes).resolve("3d_fullres"), purpose)
    assert place == f"{name}_kwargs.{key}"
    assert re.search(words, fault)


def test_what_planners_write_and_unknown_functions_have_no_fault() -> None:
    config = plan(resampling_fn_data="mine", resampling_fn_data_kwargs={"odd": 1}).resolve(
        "3d_fullres"
    )
    for purpose in ("data", "seg", "probabilities"):
        assert list(argument_faults(config, purpose)) == []
