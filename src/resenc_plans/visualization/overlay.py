"""A picture of a case for people who look before they read: three planes with outlines."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.images.images import check_same_grid, read_image
from resenc_plans.evaluation.evaluate import read_pair
from resenc_plans.evaluation.summary import CaseFigures
from resenc_plans.files import replace_file
from resenc_plans.visualization.viewing import SIDES, Turn, grey_window, survey

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]

COLOURS = (
    *("#ff5d5d", "#35c4f0", "#ffd23f", "#7ee06b", "#d58bff"),
    *("#ff9f45", "#5f8dff", "#ff6fb5", "#b8f2e6", "#e8e2c8"),
)
"""Colours of the outlines, told apart on grey; they repeat after ten labels."""

_NAMED, _COLUMNS = 15, 4
"""So many labels at most are listed, in so many columns."""


@dataclass(frozen=True)
class _Plane:
    """What one panel shows: a slice with its two axes, as rows and columns."""

    name: str
    across: int
    rows: int
    columns: int


_PLANES = (
    _Plane("axial", 0, 1, 2),
    _Plane("coronal", 1, 0, 2),
    _Plane("sagittal", 2, 0, 1),
)


def draw_overlay(
    image: Array,
    labels: Array,
    spacing: Sequence[float],
    path: str | os.PathLike[str],
    *,
    names: Mapping[int, str] | None = None,
    reference: Array | None = None,
    direction: Sequence[float] | None = None,
    title: str | None = None,
) -> None:
    """Write a PNG with the outline of each label over the image, in three orthogonal planes.

    Along each axis the plane is shown that has most labels, the nearest to the segmentation's
    centre, or the image's middle where there is no foreground; an image of one plane gets one
    panel. Grey values are windowed by percentiles of the voxels around the segmentation. All panels
    have one scale, in mm.

    Parameters
    ----------
    image
        One channel `(z, y, x)`.
    labels
        The segmentation on the same grid; background is 0.
    spacing
        Voxel size in mm along z, y, x.
    path
        The PNG file.
    names
        What to call the labels in the legend.
    reference
        Another segmentation on the same grid, drawn dashed.
    direction
        The nine direction cosines of the image's header, as SimpleITK gives them: the planes are
        turned so that the patient faces the viewer and stands upright, and the sides are named.
        Without it the array's order is shown as it is, the first plane at the bottom.
    title
        A line above, such as the case's name.

    Raises
    ------
    FileError
        The file cannot be written.
    """
    turn = Turn.of(direction)
    volume = np.nan_to_num(turn.apply(image).astype(np.float32, copy=False))
    size = turn.spacing(spacing)
    shown = turn.apply(labels)
    compared = None if reference is None else turn.apply(reference)
    seen = survey(shown)
    other = None if compared is None else survey(compared)
    centre = seen.planes if seen.sizes or other is None else other.planes
    low, high = grey_window(volume, shown, size)
    planes = [p for p in _PLANES if min(volume.shape[p.rows], volume.shape[p.columns]) > 1]
    planes = planes or [_PLANES[0]]
    extents = [_extent(plane, volume.shape, size) for plane in planes]
    present = sorted({*seen.sizes, *(other.sizes if other is not None else ())})
    entries = max(1, min(len(present), _NAMED + 1)) + (compared is not None)
    figure, axes = _panels(extents, legend_lines=-(-entries // _COLUMNS), title=title)
    colours = {value: COLOURS[i % len(COLOURS)] for i, value in enumerate(present)}
    for panel, plane, extent in zip(axes, planes, extents, strict=True):
        place = centre[plane.across]
        panel.imshow(
            volume.take(place, plane.across),
            cmap="gray", vmin=low, vmax=high, interpolation="bilinear",
            extent=(0, extent[0], extent[1], 0),
        )  # fmt: skip
        for array, style, width in ((compared, "dashed", 0.9), (shown, "solid", 1.3)):
            if array is not None:
                _outline(panel, array.take(place, plane.across), extent, colours, style, width)
        count = volume.shape[plane.across]
        number = place if not turn.flips[plane.across] else count - 1 - place
        name = plane.name if direction is not None else "zyx"[plane.across]
        _annotate(panel, plane, f"{name}  {number + 1}/{count}", direction is not None)
    _scale_bar(axes[0], extents[0][0])
    flat = len(planes) == 1
    volumes = {} if flat else {value: _volume(seen.sizes.get(value, 0), size) for value in present}
    _legend(figure, colours, names or {}, volumes, compared is not None)
    with replace_file(Path(path)) as stream, warnings.catch_warnings():
        # Names may be in scripts that the font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(stream, format="png", dpi=110, facecolor="black")


def draw_case(
    case: CaseFigures,
    images: str | os.PathLike[str],
    target: str | os.PathLike[str],
    reader: str | None = None,
    names: Mapping[int, str] | None = None,
) -> Path:
    """Draw an evaluated case, its reference dashed, over the first channel of its image.

    The image is CASE_0000 in the folder `images`; the picture is CASE.png in `target`.

    Raises
    ------
    DatasetError
        There is no such image, or it has another shape than the segmentation.
    FileError
        The picture cannot be written.
    """
    ending = (
        "".join(Path(case.name).suffixes[-2:])
        if case.name.endswith(".gz")
        else Path(case.name).suffix
    )
    stem = case.name.removesuffix(ending)
    image = read_image([Path(images) / f"{stem}_0000{ending}"], reader)
    prediction, reference = read_pair(case.prediction_file, case.reference_file, reader)
    check_same_grid([image, prediction], [f"{stem}_0000{ending}", case.prediction_file])
    path = Path(target) / f"{stem}.png"
    draw_overlay(
        image.array[0], prediction.array[0], image.spacing, path,
        names=names, reference=reference.array[0], title=stem,
        direction=image.properties.get("sitk_stuff", {}).get("direction"),
    )  # fmt: skip
    return path


def _extent(plane: _Plane, shape: Sequence[int], size: Sequence[float]) -> tuple[float, float]:
    """Width and height of a plane in mm."""
    return shape[plane.columns] * size[plane.columns], shape[plane.rows] * size[plane.rows]


def _volume(voxels: int, size: Sequence[float]) -> str:
    """What the legend says of a label's volume."""
    millilitres = float(voxels * np.prod(size) / 1000)
    return f"  {millilitres:.0f} ml" if millilitres >= 100 else f"  {millilitres:.3g} ml"


def _panels(
    extents: Sequence[tuple[float, float]], legend_lines: int, title: str | None
) -> "tuple[Figure, list[Axes]]":
    """Black panels side by side, to one scale, with room for the title and the legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    gap = 0.15
    wide, high = sum(width for width, _ in extents), max(height for _, height in extents)
    inches = min(13 / wide, 6.5 / high)
    top, bottom = (0.45 if title else 0.15), 0.2 + 0.27 * legend_lines
    width = max(wide * inches + gap * (len(extents) + 1), 5.0)
    height = high * inches + top + bottom
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = []
    left = (width - wide * inches - gap * (len(extents) - 1)) / 2
    for extent in extents:
        w, h = extent[0] * inches, extent[1] * inches
        axes.append(
            figure.add_axes(
                (left / width, (bottom + (high * inches - h) / 2) / height, w / width, h / height)
            )
        )
        left += w + gap
    for panel in axes:
        panel.set_axis_off()
    if title:
        figure.text(0.5, 1 - 0.2 / height, title, color="white", ha="center", va="center", size=12)
    return figure, axes


def _outline(
    panel: "Axes",
    plane: Array,
    extent: tuple[float, float],
    colours: Mapping[int, str],
    style: str,
    width: float,
) -> None:
    """The border of every label, half way between voxel centres, in mm."""
    padded = np.pad(plane, 1)
    steps = extent[0] / plane.shape[1], extent[1] / plane.shape[0]
    x = (np.arange(padded.shape[1]) - 0.5) * steps[0]
    y = (np.arange(padded.shape[0]) - 0.5) * steps[1]
    for value in np.unique(plane):
        if value != 0:
            panel.contour(
                x, y, padded == value, levels=[0.5],
                colors=[colours[int(value)]], linewidths=width, linestyles=style,
            )  # fmt: skip
    panel.set_xlim(0, extent[0])
    panel.set_ylim(extent[1], 0)


def _annotate(panel: "Axes", plane: _Plane, text: str, oriented: bool) -> None:
    from matplotlib.patheffects import withStroke

    def write(x: float, y: float, what: str, ha: str, va: str, colour: str = "white") -> None:
        panel.text(
            x, y, what, color=colour, size=9, ha=ha, va=va, transform=panel.transAxes,
            path_effects=[withStroke(linewidth=2, foreground="black")],
        )  # fmt: skip

    write(0.015, 0.985, text, "left", "top")
    if oriented:
        above, below = SIDES[plane.rows]
        left, right = SIDES[plane.columns]
        write(0.5, 0.985, above, "center", "top", "#ffd98a")
        write(0.5, 0.015, below, "center", "bottom", "#ffd98a")
        write(0.015, 0.5, left, "left", "center", "#ffd98a")
        write(0.985, 0.5, right, "right", "center", "#ffd98a")


def _scale_bar(panel: "Axes", width: float) -> None:
    """A bar of a round length, at most a third of the panel."""
    from matplotlib.patheffects import withStroke

    rounds = [r * 10**e for e in range(-2, 4) for r in (1, 2, 5)]
    length = max((r for r in rounds if r <= width / 3), default=rounds[0])
    text = f"{length / 10:g} cm" if length >= 10 else f"{length:g} mm"
    shadow = [withStroke(linewidth=3, foreground="black")]
    start, y = 0.02, 0.03
    panel.plot(
        [start, start + length / width], [y, y],
        color="white", linewidth=1.6, transform=panel.transAxes, path_effects=shadow,
    )  # fmt: skip
    panel.text(
        start, y + 0.012, text,
        color="white", size=8, va="bottom", transform=panel.transAxes, path_effects=shadow,
    )  # fmt: skip


def _legend(
    figure: "Figure",
    colours: Mapping[int, str],
    names: Mapping[int, str],
    volumes: Mapping[int, str],
    compared: bool,
) -> None:
    from matplotlib.lines import Line2D

    entries = [
        (Line2D([], [], color=colour, linewidth=2), f"{names.get(v, v)}{volumes.get(v, '')}")
        for v, colour in list(colours.items())[:_NAMED]
    ]
    if len(colours) > _NAMED:
        entries.append((Line2D([], []), f"and {len(colours) - _NAMED} more"))
    if compared:
        entries.append((Line2D([], [], color="white", linestyle="dashed"), "reference"))
    if not colours:
        entries.insert(0, (Line2D([], [], alpha=0), "no foreground"))
    figure.legend(
        *zip(*entries, strict=True),
        loc="lower center", ncols=_COLUMNS, frameon=False, labelcolor="white", fontsize=10,
    )  # fmt: skip
