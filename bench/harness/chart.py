"""Charts as SVG, written by hand: nothing but a file, readable on light and on dark pages.

Coordinates are pixels from the top left corner. Texts are escaped here; callers pass plain strings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

# Of a middle lightness, so that they stand out from white and from black.
COLOURS = ("#3b82f6", "#e07b39", "#12a37f", "#bf5ac8", "#d64550", "#8a8f98")
STYLE = """
.page { fill: #ffffff } .text { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d1d9e0 } .axis { stroke: #818b98 }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117 } .text { fill: #f0f6fc } .faint { fill: #9198a1 } .grid { stroke: #2b323b } .axis { stroke: #656c76 }
}
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
.title { font-size: 14px; font-weight: 600 }
"""
LINE_HEIGHT = 15


@dataclass
class Drawing:
    """An SVG document."""

    width: int
    height: int
    description: str
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, anchor: str = "start", kind: str = "text", colour: str = "") -> None:
        """Words whose base line begins, ends or is centred there."""
        fill = f' style="fill:{colour}"' if colour else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"{fill}>{escape(words)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A thin line."""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def bar(self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1) -> None:
        """A filled rectangle."""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" fill="{colour}" '
            f'fill-opacity="{opacity}"/>'
        )

    def curve(self, points: Sequence[tuple[float, float]], colour: str, dashed: bool = False) -> None:
        """Points joined by lines, each marked."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]

    def svg(self) -> str:
        """The document."""
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self.description)}">',
            f"<title>{escape(self.description)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{self.width}" height="{self.height}"/>',
            *self.parts, "</svg>", "",
        ])


def ceiling(value: float) -> tuple[float, float]:
    """The end of an axis from 0 that `value` fits on, and the distance of its ticks: four to six of them."""
    if value <= 0:
        return 1, 0.25
    step = 10 ** math.floor(math.log10(value / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if value / (step * factor) <= 5.5)
    return math.ceil(value / step) * step, step


def short(value: float) -> str:
    """A tick's label: 1,000 and 2.5."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


@dataclass(frozen=True)
class Line:
    """A line of a chart: its name, and its points (x, y). A line without a name gets no label."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Box:
    """Where a chart's axes are."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height


def lines(
    drawing: Drawing, box: Box, title: str, x_title: str, series: Sequence[Line],
    tick: Callable[[float], str] = short,
) -> None:
    """A chart of lines over a logarithmic x axis with a tick at each x that occurs; names stand at their ends."""
    xs = sorted({x for line in series for x, _ in line.points})
    top, step = ceiling(max(y for line in series for _, y in line.points))
    low, high = math.log10(xs[0]), math.log10(xs[-1])

    def at(x: float, y: float) -> tuple[float, float]:
        along = (math.log10(x) - low) / (high - low or 1)
        return box.left + along * box.width, box.bottom - y / top * box.height

    drawing.text(box.left - 8, box.top - 14, title, kind="text title")
    for number in range(round(top / step) + 1):
        _, y = at(xs[0], number * step)
        drawing.line(box.left, y, box.right, y, "grid")
        drawing.text(box.left - 8, y + 4, tick(number * step), "end", "faint")
    for x in xs:
        drawing.text(at(x, 0)[0], box.bottom + 17, short(x), "middle", "faint")
    drawing.text(box.left + box.width / 2, box.bottom + 34, x_title, "middle", "faint")
    for line in series:
        drawing.curve([at(x, y) for x, y in line.points], line.colour, line.dashed)
    label_ends(drawing, box, [(at(*line.points[-1])[1], line) for line in series if line.name])


def label_ends(drawing: Drawing, box: Box, ends: list[tuple[float, Line]]) -> None:
    """Names at the right, moved apart where lines end close together."""
    ends = sorted(ends, key=lambda end: end[0])
    places = [y for y, _ in ends]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + LINE_HEIGHT)
    # Pushed down beyond the axis, the whole column moves up.
    over = max(0.0, places[-1] - box.bottom) if places else 0.0
    for place, (_, line) in zip(places, ends):
        drawing.text(box.right + 10, place - over + 4, line.name, colour=line.colour)


@dataclass(frozen=True)
class Bars:
    """A group of bars: its name, and of each bar the length, what is written behind it, and colour."""

    name: str
    bars: Sequence[tuple[float, str, str]]


def bars(drawing: Drawing, box: Box, title: str, groups: Sequence[Bars], thickness: float = 13) -> None:
    """Horizontal bars in groups, each with its figure behind it."""
    longest = max(length for group in groups for length, _, _ in group.bars)
    drawing.text(box.left - 8, box.top - 14, title, kind="text title")
    space = box.height / len(groups)
    for index, group in enumerate(groups):
        y = box.top + index * space + (space - thickness * len(group.bars)) / 2
        drawing.text(box.left - 10, y + thickness * len(group.bars) / 2 + 4, group.name, "end")
        for length, words, colour in group.bars:
            drawing.bar(box.left, y, length / longest * box.width, thickness - 2, colour)
            drawing.text(box.left + length / longest * box.width + 6, y + thickness - 3, words, kind="faint")
            y += thickness
    drawing.line(box.left, box.top, box.left, box.bottom, "axis")


def legend(drawing: Drawing, x: float, y: float, entries: Sequence[tuple[str, str]], width: float) -> None:
    """Colours and what they mean, beside each other."""
    for words, colour in entries:
        drawing.bar(x, y - 9, 11, 11, colour)
        drawing.text(x + 16, y, words)
        x += width
