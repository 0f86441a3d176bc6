from typing import Any

import pytest

from resenc_plans.planning.baselines.networks import segresnet, stunet, stunet_weights
from resenc_plans.planning.baselines.sizes import Sizes
from resenc_plans.planning.fitting import planned_network
from resenc_plans.planning.presets import find_preset


def sizes(patch: tuple[int, ...], spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Sizes:
    planned = planned_network(spacing, patch, find_preset("default"))
    return Sizes(spacing, planned.patch_size, 2, planned.unet)


@pytest.mark.parametrize(
    ("patch", "strides", "weights"),
    [
        ((128, 128, 128), [[2, 2, 2]] * 5, None),
        ((32, 32, 32), [[2, 2, 2]] * 3 + [[1, 1, 1]] * 2, (2 / 3, 1 / 3, 0, 0, 0)),
        ((256, 256, 256), [[2, 2, 2]] * 5, tuple(size / 31 for size in (16, 8, 4, 2, 1))),
    ],
)
def test_stunet_takes_five_poolings_of_the_plan_and_nnunet_s_weights_of_them(
    patch: tuple[int, ...], strides: Any, weights: Any
) -> None:
    arguments = stunet("B")(sizes(patch))["arch_kwargs"]
    assert arguments["strides"] == [[1, 1, 1], *strides]
    assert stunet_weights(sizes(patch)) == (weights and pytest.approx(weights))


def test_segresnet_is_told_of_a_spacing_that_is_anisotropic() -> None:
    assert "resolution" not in segresnet(sizes((64, 64, 64), (1.5, 1.0, 1.0)))["arch_kwargs"]
    told = segresnet(sizes((64, 64, 64), (5.0, 0.8, 0.8)))["arch_kwargs"]
    assert told["resolution"] == [5.0, 0.8, 0.8]
