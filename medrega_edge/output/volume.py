"""The answer about a volume -> a table for a terminal, and a montage of the slices that show each object."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medrega_edge.domain import NOTICES
from medrega_edge.i18n.message import Message
from medrega_edge.io.safe_text import printable
from medrega_edge.output.overlay import COLOURS, FONT, draw_regions
from medrega_edge.volumes.answer import ShownSlice, VolumeAnswer, VolumeRegion

TILE = 480  # pixels of the longer side of a slice in a montage
_FONT_SIZE = 18
_MOST_COLUMNS = 4
_STRIP = 24  # pixels of an object's name above its strip, and of the strip
WIDEST = 200  # columns of a table: a narrower terminal wraps its lines, no cell is cut
_HEADINGS = (
    Message("output.region"),
    Message("output.slices"),
    Message("output.key_slice"),
    Message("output.box_px"),
    Message("output.size_3d"),
    Message("output.millilitres"),
    Message("output.score"),
)


def print_volume_answer(answer: VolumeAnswer, console: Console) -> None:
    """Print text, a table of the objects, warnings and the notice."""
    language = answer.language
    console.print(Text(printable(answer.text)), soft_wrap=True)
    if answer.regions:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("", justify="right", no_wrap=True)
        rows = [_cells(answer, region) for region in answer.regions]
        told = [place for place in range(len(_HEADINGS)) if any(row[place] for row in rows)]  # no volume without masks
        for place in told:
            table.add_column(_HEADINGS[place].text(language), no_wrap=True)
        for number, row in enumerate(rows):
            mark = Text(f"[{number + 1}]", style=COLOURS[number % len(COLOURS)])
            table.add_row(mark, *(Text(row[place]) for place in told))
        console.print(table, width=WIDEST, crop=False)
    for warning in answer.warnings:
        text = Message("output.warning", warning=warning).text(language)
        console.print(Text(printable(text), style="yellow"), soft_wrap=True)
    console.print(Text(NOTICES[language], style="dim"), soft_wrap=True)


def _cells(answer: VolumeAnswer, region: VolumeRegion) -> list[str]:
    """Return what stands under each heading; nothing for what is not known."""
    size = answer.size_mm(region)
    return [
        printable(region.label),
        f"{region.first}-{region.last}",
        str(region.key_slice),
        ", ".join(f"{value:.0f}" for value in region.box),
        "" if size is None else " x ".join(f"{value:.0f}" for value in size),
        "" if region.millilitres is None else f"{region.millilitres:.0f}",
        f"{region.confidence:.2f}",
    ]


def montage(slices: Sequence[ShownSlice], answer: VolumeAnswer) -> Image.Image:
    """Draw slices with their boxes side by side, each under its number; RGB.

    Below stands a strip for each object: a bar over all slices, filled in those that show it, higher where it is surer.
    """
    language = answer.language
    columns = min(_MOST_COLUMNS, len(slices)) or 1
    font = ImageFont.truetype(str(FONT), _FONT_SIZE)
    tiles = []
    for one in slices:
        tile = draw_regions(one.image, one.regions, language)
        tile.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
        tiles.append(tile)
    width = max((tile.width for tile in tiles), default=TILE)
    height = max((tile.height for tile in tiles), default=0) + 2 * _FONT_SIZE
    rows = max(1, math.ceil(len(tiles) / columns)) * height
    sheet = Image.new("RGB", (columns * width, rows + 2 * _STRIP * len(answer.regions)), "black")
    draw = ImageDraw.Draw(sheet)
    for place, (tile, one) in enumerate(zip(tiles, slices, strict=True)):
        x, y = place % columns * width, place // columns * height
        text = Message("output.slice_number", number=one.number).text(language)
        draw.text((x + _FONT_SIZE // 2, y + _FONT_SIZE // 3), text, fill="white", font=font)
        sheet.paste(tile, (x, y + 2 * _FONT_SIZE))
    for number, region in enumerate(answer.regions):
        _draw_strip(draw, font, number, region, answer, rows + 2 * _STRIP * number, sheet.width)
    return sheet


def _draw_strip(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    number: int,
    region: VolumeRegion,
    answer: VolumeAnswer,
    top: int,
    width: int,
) -> None:
    """Draw the strip of an object under its name, from the first slice of the volume to the last."""
    slices = Message("output.slice_range", first=region.first, last=region.last, count=answer.count).text(answer.language)
    name = f"{number + 1} {printable(region.label)} {region.confidence:.2f}, {slices}"
    draw.text((_FONT_SIZE // 2, top), name, fill="white", font=font)
    bottom = top + 2 * _STRIP - 4
    left, right = _FONT_SIZE // 2, width - _FONT_SIZE // 2
    draw.line([(left, bottom), (right, bottom)], fill="grey")
    across = (right - left) / answer.count
    for one in region.boxes:
        x = left + one.slice * across
        box = (x, bottom - max(2, round(one.confidence * (_STRIP - 4))), max(x + 1, x + across - 1), bottom)
        draw.rectangle(box, fill=COLOURS[number % len(COLOURS)])
