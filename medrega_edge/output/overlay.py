"""Answer -> terminal text, marked picture, JSON. Knows how to show; knows nothing of how answers come about.

Boxes differ by colour (Okabe-Ito, safe for colour-blind eyes), by dash pattern and by number, so that no information
hangs on colour alone. Every output carries the notice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medrega_edge.answer import Answer, Region
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.errors import UsageError
from medrega_edge.i18n.translate import said
from medrega_edge.images.reader import MedicalImage
from medrega_edge.io.atomic import atomic_write, check_output_path
from medrega_edge.io.safe_text import json_text, printable

FONT = Path(__file__).parents[1] / "fonts" / "labels.ttf"
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")  # Okabe-Ito
DASHES: tuple[tuple[int, int], ...] = ((1, 0), (12, 5), (4, 4), (18, 4), (8, 8))  # on, off, in line widths
WIDEST = 1000  # columns; to measure how wide a table would like to be
MIN_PICTURE = 640  # a small scan is enlarged to this, so that names stay legible
NOTICES = {"en": NOTICE, "zh": NOTICE_ZH}

_WORDS = {
    "en": {
        "region": "region",
        "box": "box in pixels (x1, y1, x2, y2)",
        "sure": "score",
        "warning": "warning",
        "size": "size in mm",
        "window": "window (centre, width)",
        "certified": "certified",
        "right": "of {0.answers} answers like this {0.right:.0%} were right",
    },
    "zh": {
        "region": "区域",
        "box": "方框像素坐标 (x1, y1, x2, y2)",
        "sure": "得分",
        "warning": "警告",
        "size": "大小（毫米）",
        "window": "窗（窗位，窗宽）",
        "certified": "认证",
        "right": "{0.answers} 个同类回答中 {0.right:.0%} 正确",
    },
}
_COLONS = {"en": ": ", "zh": "："}


def to_json(answer: Answer, include_identifiers: bool = False) -> str:
    """The answer as one line of JSON, schema 1."""
    return json_text(answer.to_dict(include_identifiers))


def show(answer: Answer, console: Console) -> None:
    """Print text, regions and notice to the terminal."""
    console.print(Text(printable(answer.text)), soft_wrap=True)
    if answer.regions:
        table = _table(answer)
        narrow = console.measure(table, options=console.options.update(width=WIDEST)).maximum > console.width
        console.print(Text("\n").join(_listed(answer)) if narrow else table, soft_wrap=narrow)
    if answer.labels and answer.labels[0].confidence is not None:
        _print_line(console, "sure", f"{answer.labels[0].confidence:.2f}", answer.language)  # one for all of them together
    if known := answer.model.certified:
        _print_line(console, "certified", _WORDS[answer.language]["right"].format(known), answer.language)
    if answer.image.window:
        centre, width = answer.image.window
        _print_line(console, "window", f"{centre:g}, {width:g}", answer.language)
    for warning in answer.warnings:
        _print_line(console, "warning", said(warning, Language(answer.language)), answer.language, "yellow")
    console.print(Text(NOTICES[answer.language], style="dim"), soft_wrap=True)


def _rows(answer: Answer) -> Iterator[tuple[Text, Text, list[tuple[str, str]]]]:
    """For each region its number, its name, and its figures, each beside what it is called."""
    words = _WORDS[answer.language]
    scored = any(region.confidence is not None for region in answer.regions)
    for number, region in enumerate(answer.regions):
        figures = [(words["box"], ", ".join(f"{value:.0f}" for value in region.box))]
        if answer.image.spacing_mm is not None:
            x1, y1, x2, y2 = answer.image.in_millimetres(region.box) or (0, 0, 0, 0)
            figures.append((words["size"], f"{x2 - x1:.0f} x {y2 - y1:.0f}" if x2 else ""))
        if scored:
            figures.append((words["sure"], "" if region.confidence is None else f"{region.confidence:.2f}"))
        yield Text(f"[{number + 1}]", style=COLOURS[number % len(COLOURS)]), Text(printable(region.label)), figures


def _table(answer: Answer) -> Table:
    words = _WORDS[answer.language]
    rows = list(_rows(answer))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", words["region"], *(name for name, _ in rows[0][2])):
        table.add_column(name, justify="right" if name in ("", words["sure"]) else "left", no_wrap=True)
    for number, label, figures in rows:
        table.add_row(number, label, *(figure for _, figure in figures))
    return table


def _listed(answer: Answer) -> Iterator[Text]:
    """The same in lines, for a terminal that the table does not fit into."""
    for number, label, figures in _rows(answer):
        yield Text(" ").join([number, label])
        yield from (Text(f"    {name}{_COLONS[answer.language]}{figure}") for name, figure in figures if figure)


def _print_line(console: Console, word: str, told: str, language: str, style: str = "dim") -> None:
    console.print(Text(f"{_WORDS[language][word]}{_COLONS[language]}{printable(told)}", style=style), soft_wrap=True)


def marked(image: MedicalImage, answer: Answer) -> Image.Image:
    """The image with its regions drawn, numbered and named, and the notice below; enlarged when small."""
    scale = max(1.0, MIN_PICTURE / max(image.width, image.height))
    size = (round(image.width * scale), round(image.height * scale))
    picture = Image.fromarray(image.pixels).resize(size, Image.Resampling.LANCZOS)
    letter = min(40, max(14, round(max(size) / 40)))
    font = ImageFont.truetype(str(FONT), letter)
    notice = NOTICES[answer.language]
    # A narrow picture gets a margin on its right, so that the notice and the names find room.
    wide = max(size[0], letter + math.ceil(font.getlength(notice)))
    canvas = Image.new("RGB", (wide, size[1] + 2 * letter), "black")
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    width = max(2, round(max(size) / 320))
    _draw_sides(draw, font, image, size)
    taken: list[tuple[float, float, float, float]] = []
    for number, region in enumerate(answer.regions):
        box = tuple(value * scale for value in region.box)
        colour = COLOURS[number % len(COLOURS)]
        _draw_box(draw, box, "black", width + 2, (1, 0))
        _draw_box(draw, box, colour, width, DASHES[number % len(DASHES)])
    for number, region in enumerate(answer.regions):
        taken.append(_draw_name(draw, font, number, region, scale, (wide, size[1]), taken))
    draw.text((letter // 2, size[1] + letter // 3), notice, fill="white", font=font)
    return canvas


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG as a whole or not at all; raises UsageError when the place cannot be written."""
    check_picture_place(path)
    with atomic_write(path) as file:
        picture.save(file, format="PNG")


def check_picture_place(path: Path, *inputs: Path) -> None:
    """Refuse, before any work, a place for the marked picture that will not do; raises UsageError."""
    if path.suffix.lower() != ".png":
        raise UsageError("The marked picture is written as PNG; name it with .png at the end.")
    check_output_path(path, *inputs)


def _draw_box(draw: ImageDraw.ImageDraw, box: tuple[float, ...], colour: str, width: int, dash: tuple[int, int]) -> None:
    x1, y1, x2, y2 = box
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
    if dash[1] == 0:
        draw.line(corners, fill=colour, width=width, joint="curve")
        return
    on, off = dash[0] * width, dash[1] * width
    for (ax, ay), (bx, by) in pairwise(corners):
        length = max(abs(bx - ax), abs(by - ay))
        dx, dy = ((bx - ax) / length, (by - ay) / length) if length else (0.0, 0.0)
        at = 0.0
        while at < length:
            end = min(at + on, length)
            draw.line([(ax + dx * at, ay + dy * at), (ax + dx * end, ay + dy * end)], fill=colour, width=width)
            at += on + off


def _draw_sides(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, image: MedicalImage, size: tuple[int, int]) -> None:
    """Write the patient's directions at the middle of each side, where the file says them."""
    places = (((0, 0.5), "lm"), ((0.5, 0), "ma"), ((1, 0.5), "rm"), ((0.5, 1), "md"))
    for side, ((x, y), anchor) in zip(image.sides or (), places, strict=False):
        at = (4 + x * (size[0] - 8), 4 + y * (size[1] - 8))
        draw.text(at, side, fill="white", font=font, anchor=anchor, stroke_width=2, stroke_fill="black")


def _draw_name(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    number: int,
    region: Region,
    scale: float,
    size: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    """Write a region's number and name beside its box, where no other name stands; return the place it took."""
    text = f"{number + 1} {printable(region.label)}"
    if region.confidence is not None:
        text += f" {region.confidence:.2f}"
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    wide, high = right - left + 6, bottom - top + 6
    x1, y1, _, y2 = (value * scale for value in region.box)
    x = min(max(0.0, x1), max(0.0, size[0] - wide))
    place = (x, 0.0, x + wide, high)
    for y in (y1 - high, y2, y1, *(y2 + high * step for step in range(1, 12))):
        y = min(max(0.0, y), size[1] - high)
        place = (x, y, x + wide, y + high)
        if not any(place[0] < t[2] and t[0] < place[2] and place[1] < t[3] and t[1] < place[3] for t in taken):
            break
    draw.rectangle(place, fill="black", outline=COLOURS[number % len(COLOURS)])
    draw.text((place[0] + 3 - left, place[1] + 3 - top), text, fill="white", font=font)
    return place
