"""Charts -> SVG, drawn by matplotlib.

Text stays text: the fonts of the reader's system draw it, so that Chinese is legible: matplotlib's own has none.
Ink is `currentColor`, which the page or the picture sets for light and dark paper; marks have Okabe and Ito's colours.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import warnings
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from medrega_bench.reports.charts import RADIUS, Chart, Mark
from medrega_bench.reports.curves import draw_curves
from medrega_bench.reports.model import Drawn
from medrega_bench.result_files import to_json_values
from medrega_edge.evaluation.bootstrap import FloatArray
from medrega_edge.io.safe_text import printable
from medrega_edge.output.overlay import COLOURS

WIDTH, HEIGHT = 640, 340  # of a chart of points, in units of the SVG
BAR = 26  # height of a bar with its space
LEFT, RIGHT, TOP, BOTTOM = 72, 20, 16, 48  # margins
STYLE = 1  # add one when charts look otherwise: committed pictures are then out of date
_INK = "#57606a"  # stands for `currentColor`, which matplotlib does not know
_RC = {
    "svg.fonttype": "none",  # text
    "svg.hashsalt": "medrega",  # the same names of paths in every run
    "font.size": 12,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_ALONE = """
svg { color: #57606a; font-family: system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
@media (prefers-color-scheme: dark) { svg { color: #adbac7; } }
"""


def svg(drawn: Drawn, alone: bool = False) -> str:
    """Draw a chart as an element of a page, or `alone` as a file that is legible on light and dark paper."""
    chart, buffer = drawn.chart, io.StringIO()
    height = TOP + BOTTOM + BAR * _last(chart) if chart.kind == "bars" else HEIGHT
    with style.context(["default", _RC]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's fonts have it
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        figure.patch.set_visible(False)
        inner = ((WIDTH - LEFT - RIGHT) / WIDTH, (height - TOP - BOTTOM) / height)
        axes = figure.add_axes((LEFT / WIDTH, BOTTOM / height, *inner))
        _style(axes, drawn)
        _draw(axes, chart)
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return _element(buffer.getvalue(), drawn, (WIDTH, height), alone)


def fingerprint(drawn: Drawn) -> str:
    """Return a hash of what a chart shows: equal where two versions of matplotlib write the same chart in other bytes."""
    content = json.dumps([STYLE, to_json_values(drawn)], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def fingerprint_in(text: str) -> str | None:
    """Return the hash of what a picture shows, None for a text that is no picture of ours."""
    found = re.match(r'<svg [^>]*\bdata-shows="([0-9a-f]{16})"', text)
    return found[1] if found else None


def _last(chart: Chart) -> int:
    return int(max(mark.y for mark in chart.marks))


def _style(axes: Axes, drawn: Drawn) -> None:
    axes.patch.set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="x" if drawn.chart.kind == "bars" else "both", color=_INK, alpha=0.25, linewidth=0.8)
    axes.tick_params(length=0, pad=6)
    axes.set_xlabel(drawn.across, parse_math=False)
    axes.set_ylabel(drawn.up, parse_math=False)
    position = axes.get_position()
    axes.yaxis.set_label_coords(18 / WIDTH, position.y0 + position.height / 2, transform=axes.figure.transFigure)


def _draw(axes: Axes, chart: Chart) -> None:
    if chart.kind == "bars":
        _draw_bars(axes, chart.marks)
        return
    if chart.kind == "curves":
        draw_curves(axes, chart.marks)
        return
    if chart.kind == "shares":
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (5, 4)))
    else:
        axes.set_xlim(_covering([value for mark in chart.marks for value in mark.x_range]))
        axes.set_ylim(_covering([value for mark in chart.marks for value in mark.y_range]))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    for number, mark in enumerate(chart.marks, 1):
        _draw_point(axes, number, mark, is_numbered=chart.kind == "points")
    if chart.kind == "points":
        _number(axes, chart.marks)


def _draw_point(axes: Axes, number: int, mark: Mark, is_numbered: bool) -> None:
    whisker: dict[str, Any] = {"color": _INK, "linewidth": 1.2, "zorder": 2}
    if is_numbered:
        axes.plot(mark.x_range, (mark.y, mark.y), **whisker)
        axes.plot((mark.x, mark.x), mark.y_range, **whisker)
    colour = "#777777" if mark.is_reference else COLOURS[(number - 1) % len(COLOURS) if is_numbered else 0]
    axes.scatter(
        [mark.x],
        [mark.y],
        s=(2 * mark.radius) ** 2,
        c=colour,
        alpha=0.85,
        marker="s" if mark.is_reference else "o",
        edgecolors="#333333",
        zorder=3,
        gid=f"mark-{number}",
    )


def _number(axes: Axes, marks: Sequence[Mark]) -> None:
    """Write each number at the corner of its mark that is farthest from other marks and numbers."""
    taken = [axes.transData.transform((mark.x, mark.y)) for mark in marks]
    for number, mark in enumerate(marks, 1):
        here, out = taken[number - 1], mark.radius + 5
        corners = [(x * out, y * out) for x, y in ((1, 1), (-1, 1), (1, -1), (-1, -1))]

        def room(corner: tuple[float, float], here: FloatArray = here, own: int = number - 1) -> float:
            others = [place for at, place in enumerate(taken) if at != own]
            return min((math.dist(here + corner, place) for place in others), default=0.0)

        best = max(corners, key=lambda corner: min(room(corner), 3 * RADIUS))  # the first where all have room
        taken.append(here + best)
        axes.annotate(str(number), (mark.x, mark.y), best, textcoords="offset points", ha="center", va="center", zorder=4)


def _draw_bars(axes: Axes, marks: Sequence[Mark]) -> None:
    most = max(mark.x for mark in marks)
    axes.set_xlim(0, 1.12 * most or 1.0)
    axes.set_ylim(max(mark.y for mark in marks) + 0.5, 0.5)  # the first on top
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(FixedLocator([mark.y for mark in marks]))
    axes.yaxis.set_major_formatter("{x:.0f}")
    for number, mark in enumerate(marks, 1):
        axes.barh(mark.y, mark.x, 0.66, color=COLOURS[4], gid=f"mark-{number}")
        axes.annotate(f"{mark.x:.4g}", (mark.x, mark.y), (6, 0), textcoords="offset points", va="center")


def _covering(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that holds all values and zero, with some room."""
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.08 * (high - low) or 1.0
    return (low - room if low < 0 else 0.0), high + room


def _element(text: str, drawn: Drawn, size: tuple[int, int], alone: bool) -> str:
    """Turn matplotlib's file into an element: of our size and fonts, without its names, each mark with its words."""
    root = ElementTree.fromstring(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    used = {link for element in root.iter() if (link := _link(element)) is not None}
    for element in root.iter():
        number = element.get("id", "").partition("mark-")[2]
        if number:
            title = ElementTree.Element("title")
            title.text = printable(drawn.chart.marks[int(number) - 1].text)
            element.insert(0, title)
            element.set("class", "mark")
        element.attrib.pop("clip-path", None)  # marks at the end of an axis are whole
        if f"#{element.get('id')}" not in used:
            element.attrib.pop("id", None)
        if "style" in element.attrib:
            look = re.sub(r" *font-family:[^;]*;", "", element.attrib["style"])
            element.set("style", look.replace(_INK, "currentColor"))
    root[:] = [element for element in root if element.tag == "g"]
    if alone:
        rules = ElementTree.Element("style")
        rules.text = _ALONE
        root.insert(0, rules)
    root.attrib.clear()
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "data-shows": fingerprint(drawn)} if alone else {}
    width, height = map(str, size)
    root.attrib |= {"class": "chart", "viewBox": f"0 0 {width} {height}", "width": width, "height": height}
    root.attrib |= {"stroke-linejoin": "round", "role": "img", "aria-label": f"{drawn.up}, {drawn.across}".strip(", ")}
    ElementTree.indent(root, "")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _link(element: ElementTree.Element) -> str | None:
    """The name that an element refers to; kept as `href`, which needs no second namespace."""
    link = element.attrib.pop("{http://www.w3.org/1999/xlink}href", None)
    if link is not None:
        element.set("href", link)
    return link
