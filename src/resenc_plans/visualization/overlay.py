"""A picture of a case: three planes through it with the outlines of a segmentation."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.dataset import case_of_file
from resenc_plans.datasets.images.geometry import checked_spacing
from resenc_plans.datasets.images.images import check_same_grid, read_image, read_label
from resenc_plans.errors import DatasetError
from resenc_plans.execution.cases import CaseProblem, each_case, separate
from resenc_plans.files import make_folder, part_of_path, replace_file
from resenc_plans.visualization.viewing import (
    SIDES,
    ViewOrientation,
    grey_window,
    locate_foreground,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
Images = str | os.PathLike[str] | Mapping[str, Path]
"""A folder of images, CASE_0000 with the ending of the segmentations, or the image by case."""

COLOURS = (
    *("#ff5d5d", "#35c4f0", "#ffd23f", "#7ee06b", "#d58bff"),
    *("#ff9f45", "#5f8dff", "#ff6fb5", "#b8f2e6", "#e8e2c8"),
)
"""Colours of the outlines, distinct on grey; they repeat after ten labels."""

_MAX_LISTED_LABELS = 15
_LEGEND_COLUMNS = 4


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

    Each panel shows the plane with the most labels, the nearest of these to the segmentation's
    centre, or the middle plane without foreground; an image of one plane has one panel. Grey values
    are windowed by percentiles of the voxels near the segmentation. All panels have the same scale,
    in mm.

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
        oriented so that the patient faces the viewer and stands upright, and the sides are named.
        Without it the array's order is shown, the first plane at the bottom.
    title
        A line above, such as the case's name; the file's title too.

    Raises
    ------
    DatasetError
        The label maps do not have the image's shape.
    FileError
        The file cannot be written.
    """
    for name, array in (("labels", labels), ("reference", reference)):
        if array is not None and array.shape != image.shape:
            raise DatasetError(
                f"`{name}=` has the shape {array.shape}, but the image has {image.shape} (z, y, x)."
            )
    orientation = ViewOrientation.of(direction)
    volume = np.nan_to_num(orientation.apply(image).astype(np.float32, copy=False))
    size = orientation.spacing(checked_spacing(spacing))
    labels = orientation.apply(labels)
    reference = None if reference is None else orientation.apply(reference)
    foreground = locate_foreground(labels)
    in_reference = None if reference is None else locate_foreground(reference)
    centre = foreground if foreground.sizes or in_reference is None else in_reference
    low, high = grey_window(volume, labels, size)
    planes = [p for p in _PLANES if min(volume.shape[p.rows], volume.shape[p.columns]) > 1]
    planes = planes or [_PLANES[0]]
    extents = [_extent(plane, volume.shape, size) for plane in planes]
    present = sorted({*foreground.sizes, *(in_reference.sizes if in_reference else ())})
    entries = max(1, min(len(present), _MAX_LISTED_LABELS + 1)) + (reference is not None)
    figure, axes = _panels(extents, legend_lines=-(-entries // _LEGEND_COLUMNS), title=title)
    colours = {value: COLOURS[i % len(COLOURS)] for i, value in enumerate(present)}
    for panel, plane, extent in zip(axes, planes, extents, strict=True):
        place = centre.planes[plane.across]
        panel.imshow(
            volume.take(place, plane.across),
            cmap="gray", vmin=low, vmax=high, interpolation="bilinear",
            extent=(0, extent[0], extent[1], 0),
        )  # fmt: skip
        for array, style, width in ((reference, "dashed", 1.1), (labels, "solid", 1.3)):
            if array is not None:
                section = array.take(place, plane.across)
                _outline(panel, section, extent, colours, style=style, width=width)
        count = volume.shape[plane.across]
        number = place if not orientation.flips[plane.across] else count - 1 - place
        name = plane.name if direction is not None else "zyx"[plane.across]
        _annotate(panel, plane, f"{name}  {number + 1}/{count}", oriented=direction is not None)
    _scale_bar(axes[0], extents[0][0])
    flat = len(planes) == 1
    volumes = (
        {} if flat else {value: _volume(foreground.sizes.get(value, 0), size) for value in present}
    )
    _legend(figure, colours, names or {}, volumes, has_reference=reference is not None)
    with replace_file(Path(path)) as stream, warnings.catch_warnings():
        # Names may be in scripts that the font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        metadata = {"Title": title} if title else None
        figure.savefig(stream, format="png", dpi=110, facecolor="black", metadata=metadata)


def draw_overlays(
    segmentations: Sequence[str | os.PathLike[str]],
    images: Images,
    target: str | os.PathLike[str],
    *,
    references: str | os.PathLike[str] | None = None,
    reader: str | None = None,
    names: Mapping[int, str] | None = None,
    titles: Mapping[str, str] | None = None,
    on_case: Callable[[str], object] | None = None,
) -> tuple[CaseProblem, ...]:
    """Draw a picture for each segmentation; returns the cases that could not be drawn.

    Parameters
    ----------
    segmentations
        Their files, CASE with a file ending.
    images
        The folder of the images; the first channel, CASE_0000 with the same ending, is shown. Or
        the image to show, by case.
    target
        The folder for the pictures, CASE.png; it is made if it does not exist.
    references
        A folder of other segmentations with the same file names, drawn dashed.
    reader
        nnU-Net's reader for the files; by default the file ending decides.
    names
        What to call the labels in the legend.
    titles
        The line above, by case; by default the case's name.
    on_case
        Called with the name of each finished case.

    Raises
    ------
    FileError
        The folder for the pictures cannot be made.
    """
    target = Path(target)
    make_folder(target)

    def draw(file: Path) -> None:
        case = case_of_file(file.name)
        source = _image_of(case, file, images)
        image = read_image([source], reader)
        labels = read_label(file, reader)
        check_same_grid([image, labels], [source.name, file])
        reference = None if references is None else read_label(Path(references) / file.name, reader)
        picture = target / part_of_path(case, "case", ending=".png")
        draw_overlay(
            image.array[0], labels.array[0], image.spacing, picture,
            names=names, reference=None if reference is None else reference.array[0],
            title=(titles or {}).get(case, case),
            direction=image.properties.get("sitk_stuff", {}).get("direction"),
        )  # fmt: skip

    results = each_case(
        draw, [Path(file) for file in segmentations], name=lambda file: case_of_file(file.name),
        workers=1, on_case=on_case,
    )  # fmt: skip
    return separate(results)[1]


def _image_of(case: str, segmentation: Path, images: Images) -> Path:
    if not isinstance(images, Mapping):
        return Path(images) / f"{case}_0000{segmentation.name.removeprefix(case)}"
    if case not in images:
        raise DatasetError(f"{case}: has no image.")
    return images[case]


def _extent(plane: _Plane, shape: Sequence[int], size: Sequence[float]) -> tuple[float, float]:
    """Width and height of a plane in mm."""
    return shape[plane.columns] * size[plane.columns], shape[plane.rows] * size[plane.rows]


def _volume(voxels: int, size: Sequence[float]) -> str:
    """A label's volume in the legend."""
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
    *,
    style: str,
    width: float,
) -> None:
    """The border of every label, half way between voxel centres, in mm.

    Gaps of dashed borders are black: a label around this one would else show its colour in them.
    """
    padded = np.pad(plane, 1)
    steps = extent[0] / plane.shape[1], extent[1] / plane.shape[0]
    x = (np.arange(padded.shape[1]) - 0.5) * steps[0]
    y = (np.arange(padded.shape[0]) - 0.5) * steps[1]
    for value in np.unique(plane):
        if value == 0:
            continue
        gaps = [("black", "solid")] if style == "dashed" else []
        for colour, line in (*gaps, (colours[int(value)], style)):
            panel.contour(
                x, y, padded == value, levels=[0.5],
                colors=[colour], linewidths=width, linestyles=line,
            )  # fmt: skip
    panel.set_xlim(0, extent[0])
    panel.set_ylim(extent[1], 0)


def _annotate(panel: "Axes", plane: _Plane, text: str, *, oriented: bool) -> None:
    from matplotlib.patheffects import withStroke

    def write(x: float, y: float, words: str, align: tuple[str, str], colour: str) -> None:
        panel.text(
            x, y, words, color=colour, size=9, ha=align[0], va=align[1], transform=panel.transAxes,
            path_effects=[withStroke(linewidth=2, foreground="black")],
        )  # fmt: skip

    write(0.015, 0.985, text, ("left", "top"), "white")
    if oriented:
        above, below = SIDES[plane.rows]
        left, right = SIDES[plane.columns]
        write(0.5, 0.985, above, ("center", "top"), "#ffd98a")
        write(0.5, 0.015, below, ("center", "bottom"), "#ffd98a")
        write(0.015, 0.5, left, ("left", "center"), "#ffd98a")
        write(0.985, 0.5, right, ("right", "center"), "#ffd98a")


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
    *,
    has_reference: bool,
) -> None:
    from matplotlib.lines import Line2D

    entries = [
        (Line2D([], [], color=colour, linewidth=2), f"{names.get(v, v)}{volumes.get(v, '')}")
        for v, colour in list(colours.items())[:_MAX_LISTED_LABELS]
    ]
    if len(colours) > _MAX_LISTED_LABELS:
        entries.append((Line2D([], []), f"and {len(colours) - _MAX_LISTED_LABELS} more"))
    if has_reference:
        entries.append((Line2D([], [], color="white", linestyle="dashed"), "reference"))
    if not colours:
        entries.insert(0, (Line2D([], [], alpha=0), "no foreground"))
    figure.legend(
        *zip(*entries, strict=True),
        loc="lower center", ncols=_LEGEND_COLUMNS,
        frameon=False, labelcolor="white", fontsize=10,
    )  # fmt: skip
