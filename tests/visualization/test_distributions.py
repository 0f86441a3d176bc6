"""The picture of a distribution."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resenc_plans.datasets.labels import Region
from resenc_plans.errors import FileError
from resenc_plans.visualization.distributions import LabelDistribution, draw_distributions


def distributions(cases: int, regions: tuple[Region, ...]) -> list[LabelDistribution]:
    rng = np.random.default_rng(0)
    return [
        LabelDistribution(
            region,
            "Größe" if region == 1 else None,
            [(f"case_{number}", float(rng.random())) for number in range(cases)],
            rng.integers(0, 900, cases).tolist(),
            rng.integers(0, 900, cases).tolist(),
        )
        for region in regions
    ]


@pytest.mark.parametrize(("cases", "regions"), [(12, (1, (1, 2))), (1, (1,)), (2, (1,))])
def test_any_number_of_cases_is_drawn(
    cases: int, regions: tuple[Region, ...], tmp_path: Path
) -> None:
    labels = distributions(cases, regions)
    draw_distributions(labels, tmp_path / "a.png", mean_dice=0.5, title="t")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 1000


def test_a_label_that_no_case_has_is_drawn_empty(tmp_path: Path) -> None:
    empty = LabelDistribution(1, None, [("p", math.nan)], [0], [0])
    draw_distributions([empty], tmp_path / "a.svg", mean_dice=math.nan)
    assert "no case" in (tmp_path / "a.svg").read_text()


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"one of \.png, \.pdf, \.svg"):
        draw_distributions(distributions(2, (1,)), tmp_path / "a.txt", mean_dice=0.5)
