from typing import Any

import pytest

from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.planning.baselines.sizes import SizesRecipe
from tests.planning.requests import fingerprint

AUTO3DSEG = SizesRecipe(spacing="median or 1 mm", patch=(96, 96, 96), multiple=32, batch=2)


@pytest.mark.parametrize(
    ("recipe", "spacing", "target"),
    [
        (SizesRecipe(), (3.0, 0.8, 0.8), None),
        (SizesRecipe(spacing=(1.0, 1.0, 1.0)), (3.0, 0.8, 0.8), (1, 1, 1)),
        (AUTO3DSEG, (3.0, 0.8, 0.8), (1, 1, 1)),
        (AUTO3DSEG, (3.0, 1.5, 1.5), (3, 1.5, 1.5)),
        (SizesRecipe(spacing="through-plane"), (0.8, 0.8, 3.0), (0.8, 0.8, 3.0)),
    ],
)
def test_a_target_spacing_is_fixed_planned_or_follows_a_rule(
    recipe: SizesRecipe, spacing: tuple[float, ...], target: Any
) -> None:
    data = Fingerprint.from_dict(fingerprint(spacing=spacing))
    assert recipe.target_spacing(data) == target


def test_the_through_plane_spacing_is_a_tenth_percentile_no_finer_than_in_plane() -> None:
    recipe = SizesRecipe(spacing="through-plane")
    document = fingerprint(cases=11)
    document["spacings"] = [[float(case), 3.0, 3.0] for case in range(1, 12)]
    assert recipe.target_spacing(Fingerprint.from_dict(document)) == (3, 3, 3)
    document["spacings"] = [[float(case), 0.5, 0.5] for case in range(1, 12)]
    assert recipe.target_spacing(Fingerprint.from_dict(document)) == (2, 0.5, 0.5)


@pytest.mark.parametrize(
    ("recipe", "patch"),
    [
        (SizesRecipe(), None),
        (SizesRecipe(multiple=32), (64, 128, 96)),
        (SizesRecipe(patch=(64, 128, 128)), (64, 128, 128)),
        (AUTO3DSEG, (32, 96, 64)),
    ],
)
def test_a_patch_is_fixed_planned_rounded_up_or_cut_to_the_image(
    recipe: SizesRecipe, patch: Any
) -> None:
    assert recipe.patch_size((40, 112, 80), (20.0, 200.0, 95.5)) == patch


def test_a_recipe_says_what_it_does() -> None:
    assert str(AUTO3DSEG).endswith(
        "patch: 96x96x96, where the median image is smaller cut to multiples of 32; batch: 2"
    )
    assert str(SizesRecipe("L")) == ("spacing: of preset L; patch: of preset L; batch: of preset L")
