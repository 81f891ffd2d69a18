"""Curves of a chart: one for each series, with its name at its end."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from medrega_bench.reports.charts import Mark
from medrega_edge.output.overlay import COLOURS

_INK = "#57606a"
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))  # of the curves that share a colour
_LINE = 15  # of text, in units of the SVG
_NAMES = 0.36  # of the length of the curves, for their names


def draw_curves(axes: Axes, marks: Sequence[Mark]) -> None:
    """Draw the marks of each series in their order; that of the reference is thick, with its intervals."""
    series: dict[str, list[tuple[int, Mark]]] = {}
    for number, mark in enumerate(marks, 1):
        series.setdefault(mark.series or "", []).append((number, mark))
    places = sorted({mark.x for mark in marks})
    first, last = places[0], places[-1]
    low = min(0.0, *(mark.y for mark in marks), *(mark.y_range[0] for mark in marks if mark.is_reference))
    high = max(0.0, *(mark.y for mark in marks), *(mark.y_range[1] for mark in marks if mark.is_reference))
    room = 0.06 * (high - low) or 1.0
    axes.set(xlim=(first - 0.08, last + _NAMES * (last - first)), ylim=(low - room, high + room))
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    colours = {name: _INK if own[0][1].is_reference else "" for name, own in series.items()}
    plain = [name for name, colour in colours.items() if not colour]
    colours |= {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(plain)}
    dashes = {name: _DASHES[plain.index(name) // len(COLOURS) % len(_DASHES)] if name in plain else "-" for name in series}
    for name, own in series.items():
        is_reference = own[0][1].is_reference
        xs, ys = [mark.x for _, mark in own], [mark.y for _, mark in own]
        axes.plot(xs, ys, color=colours[name], linewidth=3 if is_reference else 1.6, linestyle=dashes[name], zorder=3)
        for number, mark in own:
            if is_reference:
                axes.plot((mark.x, mark.x), mark.y_range, color=_INK, linewidth=1.2, zorder=2)
            axes.scatter([mark.x], [mark.y], s=30, c=colours[name], edgecolors="#333333", zorder=4, gid=f"mark-{number}")
    ends = {name: own[-1][1] for name, own in series.items()}
    for name, y in apart({name: float(axes.transData.transform((0, mark.y))[1]) for name, mark in ends.items()}).items():
        here = axes.transData.transform((ends[name].x, ends[name].y))
        axes.annotate(
            name,
            (ends[name].x, ends[name].y),
            (22, y - float(here[1])),
            textcoords="offset points",
            va="center",
            color=colours[name] if ends[name].is_reference else None,
            arrowprops={
                "arrowstyle": "-",
                "color": colours[name],
                "linewidth": 0.8,
                "shrinkA": 1,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
            weight="bold" if ends[name].is_reference else "normal",
        )


def apart(heights: dict[str, float]) -> dict[str, float]:
    """Move names so far apart that no two lie over each other, in their order, about where they belong."""
    order = sorted(heights, key=lambda name: heights[name])
    placed = [heights[name] for name in order]
    for _ in range(200):
        for low in range(len(placed) - 1):
            lacking = _LINE - (placed[low + 1] - placed[low])
            if lacking > 0:
                placed[low] -= lacking / 2
                placed[low + 1] += lacking / 2
    return dict(zip(order, placed, strict=True))
