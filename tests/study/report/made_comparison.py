"""A comparison of methods with awkward names, for tests of reports."""

from pathlib import Path

from resenc_plans.study.compare import compare
from resenc_plans.study.comparison import Comparison
from tests.study.made_results import dice_like, write_summary

NAMES = {"large_50%": 0.03, "small & <plain>": 0.0, "a|b": 0.03}


def made_comparison(folder: Path, **options: object) -> Comparison:
    """Three methods, two of them nearly alike."""
    sources = []
    for number, (name, shift) in enumerate(NAMES.items()):
        scores = dice_like(30, shift=shift)
        scores[0, 1] = float("nan")
        sources.append(f"{name}={write_summary(folder / str(number), scores)}")
    return compare(*sources, draws=200, **options)  # type: ignore[arg-type]
