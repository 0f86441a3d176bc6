"""A picture of an evaluation: for each label how Dice and sizes are spread over the cases."""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resenc_plans.datasets.labels import Region
from resenc_plans.errors import FileError
from resenc_plans.evaluation.summary import Summary
from resenc_plans.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ENDINGS = (".png", ".pdf", ".svg")
_DICE, _PREDICTED, _REFERENCE = "#2f6f9f", "#d9822b", "#7d8790"


def draw_distribution(
    summary: Summary,
    path: str | os.PathLike[str],
    *,
    names: Mapping[Region, str] | None = None,
    title: str | None = None,
) -> None:
    """Write a picture with a row per label: Dice of every case on the left, voxels on the right.

    A point is a case; the box holds the middle half of them with the median as a line, the whiskers
    reach to the last case within 1.5 box lengths; the case with the lowest Dice is named. Cases in
    which Dice is not defined (the label is in neither map) are left out on the left. The file
    ending decides the format (.png, .pdf, .svg).

    Raises
    ------
    FileError
        The file cannot be written, or its ending is not a picture's.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    if path.suffix not in _ENDINGS:
        raise FileError(f"{path}: a picture is written to one of {', '.join(_ENDINGS)}.")
    rows = len(summary.regions)
    figure = Figure(figsize=(11, 1.5 + 0.75 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for row, region in enumerate(summary.regions):
        scored = [
            (case.metrics[region]["Dice"], case.name)
            for case in summary.cases
            if not math.isnan(case.metrics[region]["Dice"])
        ]
        _spread(left, row, [dice for dice, _ in scored], _DICE, 0.5)
        if scored:
            worst, case_name = min(scored)
            left.annotate(
                _stem(case_name), (worst, row + 0.28), ha="left" if worst < 0.8 else "right",
                va="top", fontsize=7.5, color="#555555",
            )  # fmt: skip
            median = float(np.median([dice for dice, _ in scored]))
            left.annotate(
                f"{median:.3f}", (median, row - 0.27), ha="center", va="bottom", fontsize=9
            )
        for offset, key, colour in ((-0.18, "n_ref", _REFERENCE), (0.18, "n_pred", _PREDICTED)):
            sizes = [case.metrics[region][key] for case in summary.cases]
            _spread(right, row + offset, [size for size in sizes if size > 0], colour, 0.26)
    _finish(figure, left, right, summary, names or {})
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


def _finish(
    figure: "Figure", left: "Axes", right: "Axes", summary: Summary, names: Mapping[Region, str]
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    left.set_yticks(
        range(len(summary.regions)),
        [f"{names[r]} {_bracketed(r)}" if r in names else str(r) for r in summary.regions],
    )
    left.set_ylim(len(summary.regions) - 0.4, -0.6)
    left.set_xlim(-0.02, 1.02)
    left.set_xlabel("Dice (the number is the median, the name the lowest case)")
    mean = summary.foreground_mean["Dice"]
    cases = len(summary.cases)
    left.set_title(f"{cases} case{'s' * (cases != 1)}, mean Dice {mean:.4f}", fontsize=10)
    right.set_xscale("log")
    right.set_xlabel("voxels")
    right.set_title("size (cases without the label left out)", fontsize=10)
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


def _stem(name: str) -> str:
    return name.partition(".")[0]


def _bracketed(region: Region) -> str:
    return str(region) if isinstance(region, tuple) else f"({region})"
