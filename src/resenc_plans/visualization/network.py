"""A drawing of a configuration's U-Net for a paper; no torch."""

import os
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING

from resenc_plans.cost.stages import NetworkStage, network_stages
from resenc_plans.errors import FileError
from resenc_plans.files import replace_file
from resenc_plans.plans.architectures import ResidualEncoderUNetArchitecture
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("svg", "png")

_COLOURS = {
    "encoder": "#3b6ea5",
    "bottleneck": "#27445f",
    "decoder": "#c8793a",
    "head": "#3f8f5b",
    "stem": "#8fb3d9",
}
_TIMES = "\N{MULTIPLICATION SIGN}"
_LINE = "#555555"
_SKIP = "#a0a0a0"
_PITCH = 1.8
_GAP = 0.9
_STRIP = 0.13
_MIN_WIDTH = 17.0


@dataclass(frozen=True)
class _Box:
    """A stage on the page: its middle, width and height, in units of about a centimetre."""

    stage: NetworkStage
    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y - self.height / 2

    @property
    def top(self) -> float:
        return self.y + self.height / 2


def draw_network(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    path: str | os.PathLike[str],
) -> None:
    """Draw the U-Net of a configuration into `path`, as svg or png by its ending.

    Each stage is a box, higher for more voxels and wider for more features (both by their
    logarithm), with its features and its shape in voxels above and its depth inside.

    Raises
    ------
    ConfigurationError
        The network is none of nnU-Net's U-Nets, or its arguments do not fit.
    FileError
        The ending is another, or the file cannot be written.
    """
    ending = Path(path).suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise FileError(f"{path}: a drawing is written as {' or '.join(FORMATS)}.")
    stages = network_stages(config, input_channels, output_heads)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    encoder, decoder = _placed(stages)
    low, high = encoder[-1].bottom - 1.5, encoder[0].top + 1.35
    left, right = encoder[0].left - 1.1, decoder[-1].right + 1.3
    margin = max(0.0, _MIN_WIDTH - (right - left)) / 2
    left, right = left - margin, right + margin
    with mpl.rc_context({"svg.hashsalt": "resenc-plans", "font.family": "sans-serif"}):
        figure = Figure(figsize=((right - left) * 0.5, (high - low) * 0.5))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(left, right), ylim=(low, high))
        axes.set_axis_off()
        _draw_connections(axes, encoder, decoder)
        for box in (*encoder, *decoder):
            _draw_stage(axes, box)
        residual = isinstance(config.architecture, ResidualEncoderUNetArchitecture)
        if residual:
            _draw_strip(axes, encoder[0].left - _STRIP, encoder[0], 1.0, "stem")
        _draw_ends(axes, encoder[0], decoder[-1], input_channels, output_heads)
        _draw_legend(axes, residual=residual)
        axes.text(
            (left + right) / 2,
            high - 0.15,
            _title(config, stages),
            ha="center",
            va="top",
            fontsize=11,
        )
        with replace_file(path) as stream:
            figure.savefig(
                stream,
                format=ending,
                dpi=200,
                metadata={"Date": None} if ending == "svg" else None,
            )


def _placed(stages: tuple[NetworkStage, ...]) -> tuple[list[_Box], list[_Box]]:
    """Boxes of the encoder with the bottleneck, downwards, and of the decoder, upwards."""
    down = [stage for stage in stages if stage.part != "decoder"]
    widest = max(stage.features for stage in stages)
    tallest = log2(max(stages[0].shape)) or 1.0
    heights = [0.45 + 1.1 * log2(max(stage.shape)) / tallest for stage in down]
    middles: list[float] = []
    y = 0.0
    for height in heights:
        middles.append(y - height / 2)
        y -= height + _GAP
    last = len(down) - 1

    def box(stage: NetworkStage) -> _Box:
        column = stage.level if stage.part != "decoder" else 2 * last - stage.level
        width = 0.4 + 0.65 * log2(stage.features + 1) / log2(widest + 1)
        return _Box(stage, column * _PITCH, middles[stage.level], width, heights[stage.level])

    return [box(stage) for stage in down], [box(s) for s in stages if s.part == "decoder"]


def _draw_stage(axes: "Axes", box: _Box) -> None:
    from matplotlib.patches import Rectangle

    stage = box.stage
    colour = _COLOURS[stage.part]
    axes.add_patch(Rectangle((box.left, box.bottom), box.width, box.height, color=colour, lw=0))
    axes.text(
        box.x, box.y, f"{_TIMES}{stage.depth}", ha="center", va="center", color="white", fontsize=9
    )
    axes.text(
        box.x,
        box.top + 0.36,
        f"{stage.features}",
        ha="center",
        va="bottom",
        fontsize=9,
        fontweight="bold",
    )
    axes.text(box.x, box.top + 0.08, _size(stage.shape), ha="center", va="bottom", fontsize=7.5)
    if stage.part == "decoder":
        _draw_strip(axes, box.right, box, 0.4, "head")


def _draw_strip(axes: "Axes", left: float, box: _Box, share: float, kind: str) -> None:
    """A narrow box beside another, from its bottom up to a share of its height."""
    from matplotlib.patches import Rectangle

    height = box.height * share
    axes.add_patch(Rectangle((left, box.bottom), _STRIP, height, color=_COLOURS[kind], lw=0))


def _draw_connections(axes: "Axes", encoder: list[_Box], decoder: list[_Box]) -> None:
    for upper, lower in pairwise(encoder):
        _draw_elbow(axes, (upper.x, upper.bottom), (upper.x, lower.y), (lower.left, lower.y))
        _label_stride(axes, lower.stage, upper.x - 0.08, lower.y, "right")
    for lower, upper in pairwise([encoder[-1], *decoder]):
        y = lower.y + 0.1 * lower.height
        _draw_elbow(axes, (lower.right, y), (upper.x, y), (upper.x, upper.bottom))
        _label_stride(axes, upper.stage, upper.x + 0.08, y, "left")
    for upper, lower in zip(encoder, reversed(decoder), strict=False):
        axes.annotate(
            "",
            xy=(lower.left, lower.y),
            xytext=(upper.right, upper.y),
            arrowprops={"arrowstyle": "-|>", "color": _SKIP, "lw": 1.0, "ls": (0, (4, 2))},
        )


def _draw_elbow(
    axes: "Axes",
    start: tuple[float, float],
    corner: tuple[float, float],
    end: tuple[float, float],
) -> None:
    axes.plot(*zip(start, corner, strict=True), color=_LINE, lw=1.2, solid_capstyle="round")
    arrow = {"arrowstyle": "-|>", "color": _LINE, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=corner, arrowprops=arrow)


def _label_stride(axes: "Axes", stage: NetworkStage, x: float, y: float, side: str) -> None:
    """The stride beside its arrow, where it is not 2 along every axis."""
    if any(step != 2 for step in stage.stride):
        axes.text(x, y, _size(stage.stride), ha=side, va="center", fontsize=7, color=_LINE)


def _draw_ends(axes: "Axes", first: _Box, last: _Box, channels: int, heads: int) -> None:
    arrow = {"arrowstyle": "-|>", "color": _LINE, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    left = first.left - _STRIP
    axes.annotate("", (left, first.y), (left - 0.5, first.y), arrowprops=arrow)
    axes.text(
        left - 0.55,
        first.y,
        counted(channels, "channel"),
        ha="right",
        va="center",
        fontsize=8,
        rotation=90,
    )
    y = last.bottom + 0.2 * last.height
    axes.annotate("", (last.right + 0.6, y), (last.right + _STRIP, y), arrowprops=arrow)
    axes.text(
        last.right + 0.65,
        y,
        counted(heads, "output"),
        ha="left",
        va="center",
        fontsize=8,
        rotation=90,
    )


def _draw_legend(axes: "Axes", *, residual: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    unit = "residual blocks" if residual else "convolutions"
    labels = {
        "stem": "stem: one convolution",
        "encoder": f"encoder stage, {_TIMES} {unit}",
        "bottleneck": "bottleneck",
        "decoder": f"decoder stage, {_TIMES} convolutions",
        "head": "segmentation head",
    }
    if not residual:
        del labels["stem"]
    handles = [
        *(Patch(color=_COLOURS[kind], label=label) for kind, label in labels.items()),
        Line2D([], [], color=_LINE, label="stride 2 unless labelled"),
        Line2D([], [], color=_SKIP, ls=(0, (4, 2)), label="skip connection"),
    ]
    axes.legend(
        handles=handles,
        loc="lower center",
        ncols=4,
        fontsize=8,
        frameon=False,
        borderaxespad=0.4,
        columnspacing=1.6,
    )


def _title(config: ResolvedConfiguration, stages: tuple[NetworkStage, ...]) -> str:
    name = config.architecture.network_class_name.rpartition(".")[2]
    parameters = sum(stage.parameters for stage in stages)
    return (
        f"{name}, {config.name}: patch {_size(config.patch_size)}, "
        f"{parameters / 1e6:.1f} million parameters"
    )


def _size(values: tuple[int, ...]) -> str:
    return _TIMES.join(str(value) for value in values)
