"""A picture of an evaluation: for each label the distribution of Dice and sizes over the cases."""

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resenc_plans.datasets.labels import Region
from resenc_plans.errors import FileError
from resenc_plans.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ENDINGS = (".png", ".pdf", ".svg")
_DICE, _PREDICTED, _REFERENCE = "#2f6f9f", "#d9822b", "#7d8790"


@dataclass(frozen=True)
class LabelDistribution:
    """The values of one label or region, a row of the picture."""

    region: Region
    name: str | None
    dice: Sequence[tuple[str, float]]
    """Each case and its Dice, NaN where neither map has the label."""
    predicted: Sequence[float]
    """Voxels of the label in each prediction."""
    reference: Sequence[float]
    """Voxels of the label in each reference."""

    @property
    def title(self) -> str:
        """Its name and value, as in `liver (1)`, or the value alone."""
        if self.name is None:
            return str(self.region)
        value = str(self.region) if isinstance(self.region, tuple) else f"({self.region})"
        return f"{self.name} {value}"


def draw_distributions(
    labels: Sequence[LabelDistribution],
    path: str | os.PathLike[str],
    *,
    mean_dice: float,
    title: str | None = None,
) -> None:
    """Write a picture with a row per label: Dice of every case on the left, voxels on the right.

    A point is a case; the box holds the middle half of them with the median as a line, the whiskers
    reach to the last case within 1.5 box lengths; the case with the lowest Dice is named. Cases in
    which Dice is not defined are omitted on the left, cases without the label on the right. The
    file ending decides the format (.png, .pdf, .svg). `mean_dice` is written in the heading.

    Raises
    ------
    FileError
        The file cannot be written, or its ending is none of the three.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    if path.suffix not in _ENDINGS:
        raise FileError(f"{path}: a picture is written to one of {', '.join(_ENDINGS)}.")
    rows = len(labels)
    figure = Figure(figsize=(11, 1.5 + 0.75 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for row, label in enumerate(labels):
        scored = [(dice, case) for case, dice in label.dice if not math.isnan(dice)]
        _spread(left, row, [dice for dice, _ in scored], _DICE, 0.5)
        if scored:
            worst, worst_case = min(scored)
            case_name = left.annotate(
                worst_case, (worst, row + 0.28), ha="left" if worst < 0.8 else "right",
                va="top", fontsize=7.5, color="#555555",
            )  # fmt: skip
            case_name.set_in_layout(False)  # a long one would squeeze the axes
            median = float(np.median([dice for dice, _ in scored]))
            left.annotate(
                f"{median:.3f}", (median, row - 0.27), ha="center", va="bottom", fontsize=9
            )
        for offset, sizes, colour in (
            (-0.18, label.reference, _REFERENCE),
            (0.18, label.predicted, _PREDICTED),
        ):
            _spread(right, row + offset, [size for size in sizes if size > 0], colour, 0.26)
    left.set_yticks(range(rows), [label.title for label in labels])
    left.set_ylim(rows - 0.4, -0.6)
    cases = len(labels[0].dice)
    left.set_title(f"{cases} case{'s' * (cases != 1)}, mean Dice {mean_dice:.4f}", fontsize=10)
    _finish(figure, left, right)
    if title:
        figure.suptitle(title)
    with replace_file(path) as stream, warnings.catch_warnings():
        # Names may be in scripts that the font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(stream, format=path.suffix[1:], dpi=130)


def _spread(axes: "Axes", row: float, values: Sequence[float], colour: str, height: float) -> None:
    """A box with the cases as points in it."""
    if not values:
        axes.text(0.5, row, "no case", transform=axes.get_yaxis_transform(), va="center")
        return
    if len(values) > 1:
        axes.boxplot(
            values, positions=[row], orientation="horizontal", widths=height, showfliers=False,
            manage_ticks=False, patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.22, "edgecolor": colour},
            medianprops={"color": "black", "linewidth": 1.4},
            whiskerprops={"color": colour}, capprops={"color": colour},
        )  # fmt: skip
    jitter = np.random.default_rng(0).uniform(-0.28, 0.28, len(values)) * height
    axes.scatter(values, row + jitter, s=13, color=colour, alpha=0.75, linewidths=0, zorder=3)


def _finish(figure: "Figure", left: "Axes", right: "Axes") -> None:
    """Scales, legend and grid."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    left.set_xlim(-0.02, 1.02)
    left.set_xlabel("Dice (the number is the median, the name the lowest case)")
    right.set_xscale("log")
    right.set_xlabel("voxels")
    right.set_title("size (cases without the label omitted)", fontsize=10)
    low, high = right.get_xlim()
    steps = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
    right.xaxis.set_major_locator(LogLocator(subs=steps))
    right.xaxis.set_major_formatter(EngFormatter(sep=""))
    right.xaxis.set_minor_formatter(NullFormatter())
    handles = [
        Line2D([], [], marker="o", linestyle="", color=_REFERENCE, label="reference"),
        Line2D([], [], marker="o", linestyle="", color=_PREDICTED, label="prediction"),
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=2, frameon=False, fontsize=9)
    for axes in (left, right):
        axes.grid(axis="x", color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
