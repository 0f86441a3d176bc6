"""SVG drawings with axes, in the colours of the page that they are part of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, log10

WIDTH = 380
"""Of every drawing, in pixels: that of a narrow phone."""
MAX_NAME = 18
"""Characters of a method's name that every drawing has room for."""


@dataclass(frozen=True)
class Axis:
    """Where values lie in pixels."""

    low: float
    high: float
    start: float
    """The pixel of `low`."""
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (
            (log10(self.low), log10(self.high), log10(value))
            if self.is_log
            else (self.low, self.high, value)
        )
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """About five round values.

        >>> Axis(0.81, 0.94, 0, 100).ticks()
        [0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94]
        """
        if self.is_log:
            decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            values = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
            shown = [value for value in values if self.low <= value <= self.high]
            return shown if len(shown) > 1 else Axis(self.low, self.high, 0, 1).ticks()
        rough = (self.high - self.low) / 5
        decade = 10.0 ** floor(log10(rough))
        step = next(size * decade for size in (1, 2, 5, 10) if size * decade >= rough * 0.7)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


def padded_axis(
    values: list[float], start: float, end: float, *, is_log: bool = False, pad: float = 0.06
) -> Axis:
    """An axis that holds all values, with some room."""
    low, high = min(values), max(values)
    if is_log:
        return Axis(low / 1.4, high * 1.4, start, end, is_log=True)
    room = (high - low) * pad or abs(high) * 0.05 or 0.05
    return Axis(low - room, high + room, start, end)


@dataclass
class Drawing:
    """Elements of an SVG of the common width."""

    height: float
    label: str
    """What it shows, for those who cannot see it."""
    elements: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str = "axis") -> None:
        """A line; `style` is a class of the page's style sheet."""
        self.elements.append(
            f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )

    def text(
        self, x: float, y: float, text: str, style: str = "", *, anchor: str = "start"
    ) -> None:
        """A text at its baseline."""
        self.elements.append(
            f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def rectangle(
        self, x: float, y: float, width: float, height: float, style: str, title: str = ""
    ) -> None:
        """A filled rectangle, with a title that appears under the pointer."""
        self.elements.append(
            f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" '
            f'height="{height:.1f}">{_title(title)}</rect>'
        )

    def dot(
        self,
        x: float,
        y: float,
        style: str,
        title: str = "",
        *,
        radius: float = 3.5,
        link: str = "",
    ) -> None:
        """A point, which may be a link."""
        dot = (
            f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">'
            f"{_title(title)}</circle>"
        )
        self.elements.append(f'<a href="{escape(link)}">{dot}</a>' if link else dot)

    def polyline(self, points: list[tuple[float, float]], style: str) -> None:
        """Lines from point to point."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.elements.append(f'<polyline class="{style}" points="{path}"/>')

    def bottom_axis(self, axis: Axis, y: float, title: str) -> None:
        """A horizontal axis with ticks at `y`."""
        self.line(axis.start, y, axis.end, y)
        for tick in spread_out(axis.ticks(), axis, 34):
            self.line(axis(tick), y, axis(tick), y + 4)
            self.text(axis(tick), y + 16, f"{tick:g}", "tick", anchor="middle")
        self.text((axis.start + axis.end) / 2, y + 32, title, "title", anchor="middle")

    def left_axis(self, axis: Axis, x: float, title: str) -> None:
        """A vertical axis with ticks at `x`, its title above it."""
        self.line(x, axis.start, x, axis.end)
        for tick in spread_out(axis.ticks(), axis, 16):
            self.line(x - 4, axis(tick), x, axis(tick))
            self.text(x - 6, axis(tick) + 4, f"{tick:g}", "tick", anchor="end")
        self.text(2, min(axis.start, axis.end) - 8, title, "title")

    def svg(self) -> str:
        """The whole drawing."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height:.0f}" role="img" '
            f'aria-label="{escape(self.label)}">' + "".join(self.elements) + "</svg>"
        )


def spread_out(ticks: list[float], axis: Axis, room: float) -> list[float]:
    """Every so many ticks that they are at least `room` pixels apart."""
    chosen: list[float] = []
    for tick in ticks:
        if not chosen or abs(axis(tick) - axis(chosen[-1])) >= room:
            chosen.append(tick)
    return chosen


def shortened(text: str, characters: int) -> str:
    """A text of at most so many characters, cut in the middle.

    >>> shortened("nnUNetTrainer__nnUNetPlans__2d", 12)
    'nnUNe…ans__2d'
    """
    if len(text) <= characters + 1:
        return text
    head = characters // 2 - 1
    return f"{text[:head]}…{text[len(text) - (characters - head) :]}"


def plot_names(names: Sequence[str]) -> dict[str, str]:
    """What to call methods where there is little room: long names without what all share.

    >>> plot_names(["trainer_small_3d_fullres", "trainer_large_3d_fullres"])
    {'trainer_small_3d_fullres': '…small…', 'trainer_large_3d_fullres': '…large…'}
    """
    if max(map(len, names)) <= MAX_NAME or len(names) < 2:
        return {name: name for name in names}
    start = _shared(names)
    end = _shared([name[start:][::-1] for name in names])
    short = {}
    for name in names:
        middle = name[start : len(name) - end]
        short[name] = f"{'…' if start else ''}{middle}{'…' if end else ''}" if middle else name
    return short


def _shared(names: Sequence[str]) -> int:
    """How many characters all names begin with, up to a whole word."""
    columns = list(zip(*names, strict=False))
    same = next((n for n, column in enumerate(columns) if len({*column}) > 1), len(columns))
    return max(names[0][:same].rfind(character) for character in "_-/ .") + 1


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""
