"""The picture of a distribution."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resenc_plans.datasets.labels import Region
from resenc_plans.errors import FileError
from resenc_plans.evaluation.metrics import Counts
from resenc_plans.evaluation.summary import CaseFigures, Summary
from resenc_plans.visualization.distributions import draw_distribution


def summary(cases: int, regions: tuple[Region, ...]) -> Summary:
    rng = np.random.default_rng(0)
    return Summary(
        tuple(
            CaseFigures(
                f"pred/case_{number}.nii.gz",
                f"ref/case_{number}.nii.gz",
                {r: Counts(*(int(n) for n in rng.integers(0, 900, 4))).to_dict() for r in regions},
            )
            for number in range(cases)
        ),
        regions,
    )


@pytest.mark.parametrize(("cases", "regions"), [(12, (1, (1, 2))), (1, (1,)), (2, (1,))])
def test_any_number_of_cases_is_drawn(
    cases: int, regions: tuple[Region, ...], tmp_path: Path
) -> None:
    draw_distribution(summary(cases, regions), tmp_path / "a.png", names={1: "Größe"}, title="t")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 1000


def test_a_label_that_no_case_has_is_drawn_empty(tmp_path: Path) -> None:
    nothing = Summary((CaseFigures("p", "r", {1: Counts(0, 0, 0, 5).to_dict()}),), (1,))
    draw_distribution(nothing, tmp_path / "a.svg")
    assert "no case" in (tmp_path / "a.svg").read_text()


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"one of \.png, \.pdf, \.svg"):
        draw_distribution(summary(2, (1,)), tmp_path / "a.txt")
