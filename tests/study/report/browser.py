"""Debian's Chromium, headless: what it draws of a page, measured without a driver."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

_MEASURE = """
const rect = e => { const {left, right, top, bottom} = e.getBoundingClientRect();
  return {left, right, top, bottom}; };
const boxes = (svg, which) => [...svg.querySelectorAll(which)].map(rect);
const plot = svg => ({label: svg.getAttribute("aria-label"), box: rect(svg),
  texts: [...svg.querySelectorAll("text:not(.in)")].map(t => [t.textContent, rect(t)]),
  dots: boxes(svg, "circle"), lines: boxes(svg, "line.whisker"), bars: boxes(svg, "rect.rank")});
const page = frame => { const doc = frame.contentDocument;
  doc.querySelectorAll("details").forEach(one => one.open = true);
  return {width: Number(frame.width), scheme: frame.style.colorScheme,
    scroll_width: doc.documentElement.scrollWidth,
    paper: getComputedStyle(doc.body).backgroundColor,
    plots: [...doc.querySelectorAll("figure svg")].map(plot)}; };
addEventListener("load", () => {
  const found = JSON.stringify([...document.querySelectorAll("iframe")].map(page));
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = found; });
"""


@dataclass(frozen=True)
class Box:
    """Where something is drawn, in pixels of its page."""

    left: float
    right: float
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        """Half of its height."""
        return (self.top + self.bottom) / 2

    def overlaps(self, other: "Box") -> bool:
        """Whether the two share more than a pixel's edge."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > 1 and down > 1


@dataclass(frozen=True)
class Plot:
    """A drawing with an accessible label."""

    label: str
    box: Box
    texts: list[tuple[str, Box]]
    """Without those in bars, which are of them."""
    dots: list[Box]
    marks: list[Box]
    """Dots, whiskers and bars."""


@dataclass(frozen=True)
class Page:
    """A page in a frame of some width, light or dark."""

    width: int
    scheme: str
    scroll_width: int
    paper: str
    plots: list[Plot]


@dataclass(frozen=True)
class Shown:
    """What was drawn, and what the browser said of it."""

    pages: list[Page]
    console: list[str]


def show(page: str, folder: Path, widths: tuple[int, ...]) -> Shown:
    """Draw a page in frames of these widths, light and dark; skip the test without Chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (Debian: chromium)")
    frames = "".join(
        f'<iframe width="{width}" height="900" style="color-scheme:{scheme};border:0" '
        f'srcdoc="{escape(page)}"></iframe>'
        for width in widths
        for scheme in ("light", "dark")
    )
    (folder / "frames.html").write_text(
        f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body>{frames}'
        f"<script>{_MEASURE}</script>"
    )
    command = [
        *(program, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *(f"--user-data-dir={folder}/profile", "--dump-dom", (folder / "frames.html").as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    [text] = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    return Shown(
        [_page(one) for one in json.loads(unescape(text))],
        [line for line in done.stderr.splitlines() if "CONSOLE" in line],
    )


def _page(found: dict[str, Any]) -> Page:
    return Page(**{**found, "plots": [_plot(one) for one in found["plots"]]})


def _plot(found: dict[str, Any]) -> Plot:
    dots, lines, bars = ([Box(**one) for one in found[key]] for key in ("dots", "lines", "bars"))
    texts = [(text, Box(**box)) for text, box in found["texts"]]
    return Plot(found["label"], Box(**found["box"]), texts, dots, [*dots, *lines, *bars])
